//! A slot: what its owner wants of it, what it does, and why it takes no task.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AttemptId, DesiredState, JobId, JobStatus, SlotStatus, TaskId};

/// What the owner wants of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotDesired {
    pub slot: u32,
    pub desired: DesiredState,
}

/// Why a slot takes no task now, and how many tasks that concerns.
///
/// `code` is one of [`SlotReason`]'s constants, which never change, or the words of an agent:
/// `health CHECK: what was found`, or why it refuses every task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotReason {
    pub code: String,
    pub count: Option<u64>,
}

impl SlotReason {
    /// No task of the network waits.
    pub const QUEUE_EMPTY: &str = "queue_empty";
    /// This worker failed these waiting tasks: others are asked first, for as long as a lease lasts.
    pub const FAILED_HERE: &str = "failed_here";
    /// These tasks wait and this slot may have them: it gets one when its agent next asks.
    pub const ABOUT_TO_START: &str = "about_to_start";
    /// The owner paused the slot, or the whole worker, in the console or through the API.
    pub const PAUSED_BY_CONSOLE: &str = "paused_by_console";
    /// As above: it finishes its task and takes no other.
    pub const DRAINED_BY_CONSOLE: &str = "drained_by_console";
    /// The machine's owner paused it there: the console cannot resume it.
    pub const PAUSED_HERE: &str = "paused_here";
    /// As above: it finishes its task and takes no other.
    pub const DRAINED_HERE: &str = "drained_here";
    /// It is wanted again, and its agent hears so with its next heartbeat.
    pub const ABOUT_TO_RESUME: &str = "about_to_resume";

    pub fn new(code: &str, count: Option<u64>) -> SlotReason {
        SlotReason { code: code.to_owned(), count }
    }

    /// What the console's pause of this kind is called; nothing for `active`.
    pub fn of_console(desired: DesiredState) -> Option<SlotReason> {
        match desired {
            DesiredState::Active => None,
            DesiredState::Paused => Some(SlotReason::new(SlotReason::PAUSED_BY_CONSOLE, None)),
            DesiredState::Draining => Some(SlotReason::new(SlotReason::DRAINED_BY_CONSOLE, None)),
        }
    }

    /// What a pause of this kind on the machine itself is called; nothing for `active`.
    pub fn of_machine(desired: DesiredState) -> Option<SlotReason> {
        match desired {
            DesiredState::Active => None,
            DesiredState::Paused => Some(SlotReason::new(SlotReason::PAUSED_HERE, None)),
            DesiredState::Draining => Some(SlotReason::new(SlotReason::DRAINED_HERE, None)),
        }
    }

    pub fn is_of_console(&self) -> bool {
        matches!(self.code.as_str(), SlotReason::PAUSED_BY_CONSOLE | SlotReason::DRAINED_BY_CONSOLE)
    }
}

/// One slot of a worker as `GET /v1/workers` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Slot {
    pub slot: u32,
    /// Null on the slot of a CPU.
    pub gpu_uuid: Option<String>,
    pub status: SlotStatus,
    /// What the owner wants of this slot, whatever is wanted of the whole worker.
    pub desired: DesiredState,
    /// Why it does not run, or soon will not.
    pub reasons: Vec<SlotReason>,
    pub attempt_id: Option<AttemptId>,
    pub job_id: Option<JobId>,
    pub job_status: Option<JobStatus>,
    pub task_id: Option<TaskId>,
    pub progress_ratio: Option<f64>,
    pub elapsed_seconds: Option<f64>,
    pub remaining_seconds: Option<f64>,
}
