//! A worker: its name, its machine, and how it stands.

use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use crate::{
    DesiredState, HealthFinding, Micros, OfflineReason, Slot, SlotDesired, UnixMillis, WorkerId, WorkerStatus,
};

/// What an owner calls a worker: 1 to 64 characters that are printable and name one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerName(String);

/// Why a text cannot name a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a worker's name has 1 to 64 characters, no control characters and none of / and \\")]
pub struct WorkerNameError;

impl WorkerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of this worker's config file: `pictor-worker-NAME.toml`, safe on every file system.
    pub fn config_file_name(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        format!("pictor-worker-{}.toml", self.0.chars().map(safe).collect::<String>())
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WorkerName {
    type Err = WorkerNameError;

    fn from_str(text: &str) -> Result<WorkerName, WorkerNameError> {
        let name = text.trim();
        let refused = |c: char| c.is_control() || matches!(c, '/' | '\\');
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(refused) {
            return Err(WorkerNameError);
        }
        Ok(WorkerName(name.to_owned()))
    }
}

impl TryFrom<String> for WorkerName {
    type Error = WorkerNameError;

    fn try_from(text: String) -> Result<WorkerName, WorkerNameError> {
        text.parse()
    }
}

impl From<WorkerName> for String {
    fn from(name: WorkerName) -> String {
        name.0
    }
}

/// `POST /v1/workers`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorker {
    pub name: WorkerName,
}

/// `PATCH /v1/workers/{id}`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchWorker {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<WorkerName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredState>,
    /// Single slots; those not named stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<SlotDesired>>,
}

/// What a worker's config file says about the worker. The agent's own settings
/// stand beside these keys, in tables of their own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerConfig {
    #[schema(value_type = String)]
    pub registry: Url,
    pub worker_id: WorkerId,
    pub worker_name: WorkerName,
    pub wallet_address: Option<String>,
    pub token: String,
}

/// One Blender found on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlenderInstall {
    #[schema(value_type = String)]
    pub version: Version,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cpu {
    pub name: Option<String>,
    pub cores: Option<u32>,
    pub utilization_ratio: Option<f64>,
    pub temperature_celsius: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gpu {
    pub uuid: String,
    pub index: u32,
    pub name: Option<String>,
    pub driver_version: Option<String>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub utilization_ratio: Option<f64>,
    pub temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
}

/// A worker as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    pub id: WorkerId,
    pub name: WorkerName,
    pub status: WorkerStatus,
    pub offline_reason: Option<OfflineReason>,
    pub desired: DesiredState,
    pub tags: Vec<String>,
    pub created_at: UnixMillis,
    /// Moves with name, tags, hardware or version, not with a heartbeat.
    pub updated_at: UnixMillis,
    pub last_heartbeat_at: Option<UnixMillis>,
    /// Since the agent last came online; null when offline.
    pub uptime_seconds: Option<f64>,
    /// Time online over time since creation.
    pub availability_ratio: Option<f64>,
    pub os: Option<String>,
    /// As the registry sees it.
    pub ip: Option<String>,
    /// As the agent sees it.
    pub local_ip: Option<String>,
    pub agent_version: Option<String>,
    pub blender: Vec<BlenderInstall>,
    pub cpu: Option<Cpu>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub gpus: Vec<Gpu>,
    pub slots: Vec<Slot>,
    /// What its agent finds wrong with the machine.
    pub health: Vec<HealthFinding>,
    /// The first busy slot's task.
    pub task: Option<Slot>,
    /// Posted rewards of all time.
    pub earnings_micros: Micros,
    /// Of all time.
    pub points: i64,
}

/// `GET /v1/workers`: a page, and how many there are on all of them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    pub items: Vec<Worker>,
    pub next_cursor: Option<String>,
    pub total: u64,
}

/// What is done to many workers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    Pause,
    Resume,
    Drain,
    Tag,
    Untag,
    Delete,
}

impl BulkAction {
    pub fn needs_tag(self) -> bool {
        matches!(self, BulkAction::Tag | BulkAction::Untag)
    }
}

/// `POST /v1/workers/bulk`: either `ids`, or a `filter` as the list has it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    #[serde(default)]
    pub ids: Option<Vec<WorkerId>>,
    #[serde(default)]
    pub filter: Option<WorkerFilter>,
    pub action: BulkAction,
    /// Of `tag` and `untag`.
    #[serde(default)]
    pub tag: Option<String>,
    /// How many workers somebody confirmed this for: with another number of them nothing is done.
    #[serde(default)]
    pub expected: Option<u64>,
}

/// Which workers of a list are meant.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerFilter {
    #[serde(default)]
    pub search: Option<String>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub tag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkOutcome {
    Done,
    Refused,
}

/// What an action on many came to for one of them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkResult {
    pub id: WorkerId,
    /// Null where there is no such worker.
    pub name: Option<WorkerName>,
    pub result: BulkOutcome,
    /// Why it was refused.
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkResponse {
    pub results: Vec<BulkResult>,
}

#[cfg(test)]
mod tests {
    use super::WorkerName;

    #[test]
    fn names_are_free_but_name_one_file() {
        let name: WorkerName = " Büro PC <1> ".parse().unwrap();
        assert_eq!(name.as_str(), "Büro PC <1>");
        assert_eq!(name.config_file_name(), "pictor-worker-B-ro-PC--1-.toml");
        for refused in ["", "  ", "a/b", "a\\b", "a\nb", &"x".repeat(65)] {
            assert!(refused.parse::<WorkerName>().is_err(), "{refused:?}");
        }
    }
}
