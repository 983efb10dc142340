//! The agent of one worker: takes tasks, renders them in a sandbox, and exposes what the machine does.
//!
//! Its rooms, from top to bottom, stand in `agent/floors.txt`: each imports only those below it. [`assembly`] lists every
//! route and every loop.

pub mod app;
pub mod assembly;
pub mod cli;
pub mod clock;
pub mod collectors;
pub mod config;
pub mod connection;
pub mod counters;
pub mod data_folder;
pub mod desktop;
pub mod devices;
pub mod disk;
pub mod doctor;
pub mod economics;
pub mod electricity;
pub mod eta;
pub mod finding;
pub mod findings;
pub mod health;
pub mod heartbeat;
pub mod idle;
pub mod import;
pub mod machine;
pub mod outbox;
pub mod pause;
pub mod probe;
pub mod program;
pub mod readiness;
pub mod registry;
pub mod runner;
pub mod secret;
pub mod server;
#[cfg(windows)]
pub mod service;
pub mod settings;
pub mod slots;
pub mod task_log;
pub mod test_render;
pub mod update;
