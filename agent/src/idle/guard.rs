//! `pictor-agent idle-guard`: the parent of the owner's program, that ends it with everything it started when the agent
//! says so, and also when the agent is gone: then the pipe from it closes.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

use std::{ffi::OsString, time::Duration};

#[cfg(target_os = "linux")]
pub use linux::guard;
#[cfg(windows)]
pub use windows::guard;

/// How long the program has to end by itself once it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(if cfg!(windows) { 0 } else { 5 });
/// As a shell says that a program cannot be started.
const CANNOT_START: u8 = 127;

#[derive(Debug, clap::Args)]
pub struct GuardArgs {
    /// The guard whose program this becomes
    #[arg(long, value_name = "PID")]
    of: Option<i32>,
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}
