//! A job: what a creator asks, and how it stands, frame by frame.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{FrameRange, JobId, JobStatus, Micros, Sha256, TaskStatus, UnixMillis};

/// The `settings` part of `POST /v1/jobs`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    pub name: String,
    pub frames: FrameRange,
    /// How many frames one task renders.
    #[serde(default = "one")]
    pub frames_per_task: u32,
    /// What the job pays for one frame.
    pub frame_cost_micros: Micros,
    /// Both or neither; without them the scene's own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// How long one attempt may take, whatever its heartbeats say; by default an hour a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_timeout_seconds: Option<u32>,
    /// Names a scene that this account uploaded before, instead of the `scene` part; a text that is no
    /// SHA-256 names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene_sha256: Option<String>,
}

fn one() -> u32 {
    1
}

/// A job as its creator sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub id: JobId,
    pub name: String,
    pub status: JobStatus,
    /// Why it failed, in words for its creator.
    pub error: Option<String>,
    pub frames: FrameRange,
    pub frames_per_task: u32,
    pub frames_total: i64,
    /// Frames of completed tasks.
    pub frames_completed: i64,
    pub tasks_total: i64,
    pub tasks_completed: i64,
    pub tasks_failed: i64,
    pub tasks_running: i64,
    pub currency: String,
    /// What the whole job costs; what was not rendered comes back when it ends.
    pub cost_micros: Micros,
    /// What its completed tasks have cost.
    pub spent_micros: Micros,
    pub scene_sha256: Sha256,
    pub created_at: UnixMillis,
    pub completed_at: Option<UnixMillis>,
}

/// One frame of a job (`GET /v1/jobs/{id}/frames`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobFrame {
    pub frame: i32,
    /// Its task's: a frame can be had when the whole task has completed.
    pub status: TaskStatus,
    /// Of the picture; null until it can be had.
    pub sha256: Option<Sha256>,
    pub size_bytes: Option<i64>,
}

/// What an account has spent on jobs (`GET /v1/spending`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Spending {
    pub currency: String,
    pub balance_micros: Micros,
    /// Set aside for jobs that go on.
    pub escrow_micros: Micros,
    /// Paid for completed tasks, all time.
    pub spent_micros: Micros,
}
