//! An account's figures, or a worker's: money, points, attempts by status, and all of it over time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AttemptStatus, Micros, UnixMillis};

/// Attempts by status; the counts sum to all attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    pub completed: i64,
    pub failed: i64,
    pub pending: i64,
    pub paused: i64,
    pub running: i64,
    pub expired: i64,
    pub released: i64,
    pub cancelled: i64,
}

impl TaskCounts {
    /// The counter of one status.
    pub fn of(&mut self, status: AttemptStatus) -> &mut i64 {
        match status {
            AttemptStatus::Completed => &mut self.completed,
            AttemptStatus::Failed => &mut self.failed,
            AttemptStatus::Pending => &mut self.pending,
            AttemptStatus::Paused => &mut self.paused,
            AttemptStatus::Running => &mut self.running,
            AttemptStatus::Expired => &mut self.expired,
            AttemptStatus::Released => &mut self.released,
            AttemptStatus::Cancelled => &mut self.cancelled,
        }
    }
}

/// One bucket of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeriesPoint {
    /// When the bucket begins.
    pub at: UnixMillis,
    pub earnings_micros: Micros,
    pub completed: i64,
    pub failed: i64,
}

/// What electricity cost in one currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ElectricitySum {
    pub currency: String,
    pub cost_micros: Micros,
    /// The newest rate that an agent told: units of this currency for one of the network's.
    pub exchange_rate: Option<f64>,
    /// The day on which it was true.
    pub exchange_rate_at: Option<UnixMillis>,
}

/// What the electricity of the workers that tell it cost in the range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ElectricityCost {
    /// One entry a currency: two are never added.
    pub sums: Vec<ElectricitySum>,
    /// All of it in the network's currency, each quarter hour at the rate of its time; null where a rate is missing.
    pub cost_micros: Option<Micros>,
    /// Earnings less that; null where a rate is missing.
    pub net_micros: Option<Micros>,
}

/// `GET /v1/summary`, `/v1/earnings` and `/v1/workers/{id}/statistics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Earnings {
    pub currency: String,
    /// Posted rewards in the range.
    pub earnings_micros: Micros,
    /// Rewards that wait for an audit: zero, until audits (`--audit on`, to come) hold some back.
    pub pending_micros: Micros,
    /// What the account holds now.
    pub balance_micros: Micros,
    /// What was ever sent to its wallet.
    pub paid_out_micros: Micros,
    pub points: i64,
    /// Null where no worker tells what its electricity costs.
    pub electricity: Option<ElectricityCost>,
    pub tasks: TaskCounts,
    pub series: Vec<SeriesPoint>,
    /// The figures of the range by what `by` asked for, the highest earnings first; absent without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<EarningsGroup>>,
}

/// The figures of one worker, GPU, GPU model or tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EarningsGroup {
    /// A worker's id, a GPU's UUID, a GPU's model or a tag; empty for what has none.
    pub key: String,
    pub name: String,
    pub earnings_micros: Micros,
    pub completed: i64,
    pub failed: i64,
    /// Completed of those that completed or failed.
    pub success_ratio: Option<f64>,
    /// Online and able to work: known for workers and tags, all time.
    pub online_seconds: Option<f64>,
    pub earnings_per_hour_online_micros: Option<Micros>,
}
