//! What every test of real programs needs: start them, stop them with all that they started, and wait for what they do.
//!
//! Each wait ends as soon as there is what it waits for, and gives up after one patience, which is long: a machine that
//! runs tests may be busy with others. Whatever a test reads that another process writes, it reads through `until`.

mod poll;
mod process;
mod tree;

pub use poll::{PATIENCE, SOON, until, until_true};
pub use process::{Outcome, Process, built, command, free_port, installed, repository, run};
pub use tree::{Seen, all_gone, descendants};
