//! Sets of statuses, as statements name them. Each is computed from its enum: a new word is in one or the compiler asks.

use pictor_protocol::{AttemptStatus, JobStatus, TaskStatus};

use crate::sql::set;

/// Attempts that hold a lease.
pub const OPEN_ATTEMPTS: &str = set!(AttemptStatus, is_open_attempt);
/// Tasks of which something may still come.
pub const OPEN_TASKS: &str = set!(TaskStatus, is_open_task);
/// Jobs that go on, or may again.
pub const OPEN_JOBS: &str = set!(JobStatus, is_open_job);
/// Jobs whose tasks can be leased.
pub const LEASED_JOBS: &str = set!(JobStatus, is_leased_from);
/// Attempts that say how well a worker renders.
pub const RENDERED_ATTEMPTS: &str = set!(AttemptStatus, is_rendered);

const fn is_open_attempt(status: AttemptStatus) -> bool {
    !status.has_ended()
}

const fn is_open_task(status: TaskStatus) -> bool {
    !status.has_ended()
}

const fn is_open_job(status: JobStatus) -> bool {
    !status.has_ended()
}

const fn is_leased_from(status: JobStatus) -> bool {
    match status {
        JobStatus::Pending | JobStatus::Running => true,
        JobStatus::Paused | JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => false,
    }
}

const fn is_rendered(status: AttemptStatus) -> bool {
    match status {
        AttemptStatus::Completed | AttemptStatus::Failed => true,
        AttemptStatus::Pending
        | AttemptStatus::Running
        | AttemptStatus::Paused
        | AttemptStatus::Expired
        | AttemptStatus::Released
        | AttemptStatus::Cancelled => false,
    }
}
