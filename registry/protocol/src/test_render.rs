//! A scene of the agent's own on every slot of a worker, to see that it can render.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::status::words;
use crate::{TestRenderId, UnixMillis, UnknownWord};

words!(
    /// Where one slot's test render stands.
    TestRenderStatus {
        /// Its agent was not yet told, or the slot is not free.
        Pending = "pending",
        Running = "running",
        Completed = "completed",
        Failed = "failed",
    }
);

impl TestRenderStatus {
    /// Whether nothing more comes of it.
    pub const fn has_ended(self) -> bool {
        matches!(self, TestRenderStatus::Completed | TestRenderStatus::Failed)
    }
}

/// A scene of the agent's own, rendered once on every slot of a worker: unpaid, and in no statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestRender {
    pub id: TestRenderId,
    pub requested_at: UnixMillis,
    pub slots: Vec<TestRenderSlot>,
}

/// What a test render came to on one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestRenderSlot {
    pub slot: u32,
    pub gpu_uuid: Option<String>,
    pub status: TestRenderStatus,
    /// Of the frame.
    pub seconds: Option<f64>,
    /// What it was really rendered on, as Blender says.
    pub device: Option<String>,
    /// Null when it ended before it was measured.
    pub peak_memory_bytes: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// In the answer to a heartbeat: what is still to be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WantedTestRender {
    pub id: TestRenderId,
    pub slots: Vec<u32>,
}

/// `PUT /v1/agent/test-renders/{id}/slots/{slot}`: that it runs, or how it ended. The frame is sent before
/// `completed` is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRenderReport {
    pub status: TestRenderStatus,
    #[serde(default)]
    pub seconds: Option<f64>,
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    #[serde(default)]
    pub error: Option<String>,
}
