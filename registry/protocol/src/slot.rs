//! A slot: what its owner wants of it, what it does, and why it takes no task.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AttemptId, DesiredState, JobId, JobStatus, SlotReason, SlotStatus, TaskId};

/// What the owner wants of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotDesired {
    pub slot: u32,
    pub desired: DesiredState,
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
