//! Attempts: as rows of a worker's history, and one opened.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AttemptId, AttemptStatus, JobId, Micros, RewardStatus, TaskId, UnixMillis, WorkerId};

/// One attempt in a worker's task history (`GET /v1/attempts`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryRow {
    pub id: AttemptId,
    pub task_id: TaskId,
    pub job_id: JobId,
    pub worker_id: WorkerId,
    pub worker_name: String,
    /// The frames of the task.
    pub first_frame: i32,
    pub last_frame: i32,
    pub slot: u32,
    pub gpu_uuid: Option<String>,
    pub gpu_name: Option<String>,
    pub status: AttemptStatus,
    pub error: Option<String>,
    pub progress_ratio: Option<f64>,
    pub render_seconds: Option<f64>,
    pub currency: String,
    /// What the job pays for this task.
    pub cost_micros: Micros,
    /// What this attempt earned; null unless it completed.
    pub reward_micros: Option<Micros>,
    pub reward_status: Option<RewardStatus>,
    pub leased_at: UnixMillis,
    pub started_at: Option<UnixMillis>,
    pub completed_at: Option<UnixMillis>,
}

/// One attempt, opened (`GET /v1/attempts/{id}`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    #[serde(flatten)]
    pub row: HistoryRow,
    /// The frames that it has uploaded, in order.
    pub frames: Vec<i64>,
    /// Whether its agent has sent a log (`GET /v1/attempts/{id}/log`).
    pub has_log: bool,
}
