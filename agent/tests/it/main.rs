//! The real agent and its parts, one module per feature.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in the parts that tests share too")]

mod agent;
mod configuration;
mod exposition;
mod gpus;
mod health;
mod idle;
mod measurements;
mod outbox;
mod registry;
mod settings;
mod tasks;
mod test_render;
mod update;
