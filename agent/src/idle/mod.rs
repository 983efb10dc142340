//! The idle workload: the owner's own program on GPUs that have no task.

mod guard;
mod settings;

pub use guard::{GuardArgs, guard};
pub use settings::{AFTER_SECONDS, AFTER_SECONDS_DEFAULT, Command, Gpu, Settings, Table};
