//! The registry's tests on the real thing: its store on SQLite and on PostgreSQL, its API through a
//! served port. A module per feature.

#![allow(clippy::unwrap_used)]

#[macro_use]
mod database;
mod browser;
mod network;
mod registry;

mod access;
mod account;
mod admin;
mod attempts;
mod backup;
mod discovery;
mod earnings;
mod electricity;
mod enrolments;
mod job_frames;
mod jobs;
mod lease;
mod ledger;
mod metrics;
mod monitor;
mod notifications;
mod oidc;
mod openapi;
mod payouts;
mod releases;
mod sessions;
mod slots;
mod statuses;
mod summary;
mod tasks;
mod tenant;
mod test_render;
mod workers;
mod workers_bulk;
