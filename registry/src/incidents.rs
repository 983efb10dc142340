//! Incidents: what goes wrong with workers of accounts that want to hear of it, from beginning to end.

mod message;
mod store;
mod trouble;
mod watch;

pub use watch::{watch_loop, watch_once};
