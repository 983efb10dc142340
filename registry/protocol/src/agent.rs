//! What an agent and the registry tell each other: heartbeats, leases, and how each of them ends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AskId, AttemptId, BlenderInstall, Cpu, DesiredState, FrameRange, Gpu, HealthFinding, JobId, LeaseState,
    Micros, Sha256, SlotDesired, SlotReason, SlotStatus, TaskId, UnixMillis, WantedTestRender, WorkerName,
};

/// `POST /v1/agent/heartbeat`, every `heartbeat_seconds`: what the worker is and does.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatRequest {
    /// Names the machine across restarts; a second machine on one token is refused.
    pub machine_id: String,
    /// Names this start of the agent.
    pub boot_id: String,
    pub hostname: String,
    pub agent_version: String,
    pub os: String,
    pub local_ip: Option<String>,
    /// `address:port` where the agent serves `/metrics`.
    pub metrics_listen: String,
    /// False when scenes cannot be isolated and the owner did not accept that.
    pub accepts_tasks: bool,
    /// Why it does not accept tasks.
    pub refusal: Option<String>,
    /// The last heartbeat before a clean stop: the worker is `stopped`, not `lost`.
    pub stopping: bool,
    pub blender: Vec<BlenderInstall>,
    pub cpu: Option<Cpu>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub gpus: Vec<Gpu>,
    pub slots: Vec<ReportedSlot>,
    /// Every lease the agent still holds, results waiting to be sent included.
    pub attempts: Vec<AttemptReport>,
    /// What the agent finds wrong with its machine.
    #[serde(default)]
    pub health: Vec<HealthFinding>,
    /// What its electricity cost; null where the owner told no price.
    #[serde(default)]
    pub electricity: Option<Electricity>,
}

/// What a machine's electricity has cost its owner, all time, in the owner's currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Electricity {
    pub currency: String,
    pub cost_micros: Micros,
    /// Units of that currency for one of the network's, as the owner told; null where it is not known.
    pub exchange_rate: Option<f64>,
    /// The day on which it was true.
    pub exchange_rate_at: Option<UnixMillis>,
}

/// One slot as its agent reports it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReportedSlot {
    pub slot: u32,
    pub gpu_uuid: Option<String>,
    pub status: SlotStatus,
    pub attempt_id: Option<AttemptId>,
    /// Why it takes no task, where its agent keeps it from that.
    #[serde(default, deserialize_with = "crate::reason::of_any_release")]
    pub reasons: Vec<SlotReason>,
}

/// How far an attempt is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptReport {
    pub attempt_id: AttemptId,
    pub progress_ratio: Option<f64>,
    pub elapsed_seconds: Option<f64>,
    pub remaining_seconds: Option<f64>,
}

/// The registry's answer to a heartbeat: what is held, wanted, earned, and how to go on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    pub worker_name: WorkerName,
    pub wallet_address: Option<String>,
    pub desired: DesiredState,
    /// The slots that are wanted otherwise than `active`; all others are.
    #[serde(default)]
    pub slots: Vec<SlotDesired>,
    /// One entry for each attempt the heartbeat named.
    pub leases: Vec<HeldLease>,
    pub heartbeat_seconds: u32,
    pub lease_seconds: u32,
    /// How often to send the exposition text; null: not at all. Null from every registry, until one relays the metrics of
    /// workers that Prometheus cannot reach.
    pub relay_interval_seconds: Option<u32>,
    pub earned: Earned,
    /// A test render that its owner asked for, while slots of it are to be done.
    #[serde(default)]
    pub test_render: Option<WantedTestRender>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeldLease {
    pub attempt_id: AttemptId,
    pub state: LeaseState,
}

/// What this worker has earned, all time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Earned {
    pub currency: String,
    pub earnings_micros: Micros,
    pub points: i64,
}

/// `POST /v1/agent/leases`: asks once for all free slots, waiting for work if there is none.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Names the asking: the same one again gets the same leases again.
    pub ask_id: AskId,
    pub slots: Vec<u32>,
    /// At most 25.
    pub wait_seconds: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeasesResponse {
    pub leases: Vec<Lease>,
}

/// The right to render one task on one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The attempt's id.
    pub id: AttemptId,
    pub slot: u32,
    pub task_id: TaskId,
    pub job_id: JobId,
    pub frames: FrameRange,
    pub scene_sha256: Sha256,
    pub scene_bytes: u64,
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Counted by the agent from the sending of the request that this answers.
    pub lease_seconds: u32,
    /// How much of the task's time-out is left.
    pub timeout_seconds: u32,
    /// Where the attempt stands in its task's trace, as W3C Trace Context writes it; absent from a registry
    /// that exports no traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// `PUT /v1/agent/leases/{id}/frames/{n}`: the frame as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredFrame {
    pub frame: i32,
    pub sha256: Sha256,
    pub size_bytes: u64,
    pub width: u32,
    pub height: u32,
}

/// `POST /v1/agent/leases/{id}/complete`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    pub render_seconds: f64,
}

/// `POST /v1/agent/leases/{id}/fail`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    /// What went wrong, in words for the job's creator; at most 2,000 characters are kept.
    pub error: String,
    pub render_seconds: Option<f64>,
}

/// `POST /v1/agent/leases/{id}/release`: gives the task back unrendered, blaming nobody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    pub reason: String,
}

/// How an attempt ended, the same answer each time the same end is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptEnded {
    pub attempt_id: AttemptId,
    pub status: crate::AttemptStatus,
    /// What it earned; null unless it completed.
    pub reward_micros: Option<Micros>,
}
