//! What the agent's crates stand on, and what knows nothing of them: how systems end processes and keep files, and what
//! time it is.

pub mod backoff;
pub mod clock;
pub mod digest;
pub mod durable;
#[cfg(windows)]
pub mod job_object;
pub mod process;
