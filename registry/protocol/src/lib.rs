//! What the registry, its agents and its clients say to each other.
//!
//! Shapes only: no I/O, no clock, no randomness. Field names are the contract's
//! words; times are RFC 3339 UTC with milliseconds, durations end in `_seconds`,
//! sizes in `_bytes`, ratios run from 0 to 1, and money is integer micros of the
//! network's one currency. What is not known is `null`, never zero.

mod account;
mod agent;
mod audit;
mod check;
mod earnings;
mod enrolment;
mod example;
mod frames;
mod history;
mod ids;
mod job;
mod ledger;
mod list;
mod loopback;
mod money;
mod network;
mod notification;
mod payout;
mod problem;
mod reason;
mod sha256;
mod slot;
mod status;
mod test_render;
mod time;
mod worker;

pub use account::{Account, CreatedToken, Identity, Me, NewToken, PatchMe, Session, Token};
pub use agent::{
    AttemptEnded, AttemptReport, CompleteRequest, Earned, Electricity, FailRequest, HeartbeatRequest,
    HeartbeatResponse, HeldLease, Lease, LeaseRequest, LeasesResponse, ReleaseRequest, ReportedSlot,
    StoredFrame,
};
pub use audit::AuditEntry;
pub use check::{Check, HealthFinding};
pub use earnings::{Earnings, EarningsGroup, ElectricityCost, ElectricitySum, SeriesPoint, TaskCounts};
pub use enrolment::{CreatedEnrolment, EnrolRequest, Enrolment, NewEnrolment, NewWorkers};
pub use frames::{FrameRange, FrameRangeError};
pub use history::{Attempt, HistoryRow};
pub use ids::{
    AccountId, AskId, AskIdError, AttemptId, AuditEventId, ChannelId, DeliveryId, EnrolmentId, IdError,
    IncidentId, JobId, PayoutId, SessionId, TaskId, TestRenderId, TokenId, TransferId, WorkerId,
};
pub use job::{Job, JobFrame, JobSettings, Spending};
pub use ledger::{BookSum, Ledger, Transfer};
pub use list::List;
pub use loopback::is_loopback;
pub use money::{FeeRatio, Micros, MoneyError};
pub use network::NetworkOverview;
pub use notification::{
    Channel, ChannelKind, CreatedChannel, Delivery, DeliveryStatus, NewChannel, NotificationEvent,
    NotificationPhase, NotificationSettings, PatchNotifications, QuietHours, TimeOfDay, TimeOfDayError,
};
pub use payout::{NewPayout, PatchPayout, Payout};
pub use problem::Problem;
pub use reason::{ReasonCode, SlotReason};
pub use sha256::{Sha256, Sha256Error};
pub use slot::{Slot, SlotDesired};
pub use status::{
    AttemptStatus, DesiredState, Interval, JobStatus, LeaseState, OfflineReason, PayoutStatus, RewardStatus,
    Role, Scope, SlotStatus, TaskStatus, UnknownWord, WorkerStatus,
};
pub use test_render::{TestRender, TestRenderReport, TestRenderSlot, TestRenderStatus, WantedTestRender};
pub use time::UnixMillis;
pub use worker::{
    BlenderInstall, BulkAction, BulkOutcome, BulkRequest, BulkResponse, BulkResult, Cpu, Gpu, NewWorker,
    PatchWorker, Worker, WorkerConfig, WorkerFilter, WorkerList, WorkerName, WorkerNameError,
};
