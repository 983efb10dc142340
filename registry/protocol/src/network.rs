//! The whole network at a glance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{JobStatus, TaskStatus, WorkerStatus};

/// `GET /v1/network`: the whole network at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkOverview {
    pub accounts: i64,
    /// Every status is there, also those that nothing has.
    #[schema(value_type = BTreeMap<String, i64>)]
    pub workers: BTreeMap<WorkerStatus, i64>,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub jobs: BTreeMap<JobStatus, i64>,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub tasks: BTreeMap<TaskStatus, i64>,
    /// How long the first task of the queue has waited; null when none waits.
    pub oldest_pending_seconds: Option<f64>,
}
