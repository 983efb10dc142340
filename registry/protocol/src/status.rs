//! The words for where things stand. Each set is closed: an unknown word is an error, not a default.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A word that is not one of its set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not one of: {allowed}")]
pub struct UnknownWord {
    pub(crate) word: String,
    pub(crate) allowed: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok($name::$variant),)+
                    _ => Err(UnknownWord {
                        word: word.chars().take(40).collect(),
                        allowed: concat!($($word, " "),+).trim_ascii_end(),
                    }),
                }
            }
        }
    };
}
pub(crate) use words;

words!(
    /// Where a worker stands, in the order in which it needs attention.
    WorkerStatus {
        /// Three heartbeats missed, or it said goodbye: see [`OfflineReason`].
        Offline = "offline",
        Paused = "paused",
        /// Finishes what it has and takes nothing new.
        Draining = "draining",
        Busy = "busy",
        Idle = "idle",
    }
);

words!(
    /// Why a worker is offline. Only `lost` alerts anybody.
    OfflineReason {
        NeverConnected = "never_connected",
        /// It said goodbye: SIGTERM, app quit, sleep, shutdown.
        Stopped = "stopped",
        Lost = "lost",
    }
);

words!(
    /// What the owner wants of a worker.
    DesiredState {
        Active = "active",
        Paused = "paused",
        Draining = "draining",
    }
);

words!(
    /// Where one slot of a worker stands.
    SlotStatus {
        Idle = "idle",
        Busy = "busy",
        Paused = "paused",
        Draining = "draining",
    }
);

words!(
    /// Where a job stands.
    JobStatus {
        Pending = "pending",
        Running = "running",
        Paused = "paused",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
);

words!(
    /// Where a task stands.
    TaskStatus {
        Pending = "pending",
        Running = "running",
        Paused = "paused",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
);

words!(
    /// Where an attempt stands. The first three hold a lease; the rest have ended.
    AttemptStatus {
        /// Leased, not yet rendering.
        Pending = "pending",
        Running = "running",
        /// Held by a pause. None is yet: a pause gives its task back, until a Blender that stays loaded holds it for a while.
        Paused = "paused",
        Completed = "completed",
        Failed = "failed",
        Expired = "expired",
        Released = "released",
        Cancelled = "cancelled",
    }
);

words!(
    /// Where an attempt's reward stands. There is one word as long as each is posted with the completion: rewards that
    /// wait for an audit (`--audit on`, to come) get the next.
    RewardStatus {
        Posted = "posted",
    }
);

words!(
    /// Where a payout stands.
    PayoutStatus {
        /// Out of the balance, not yet in the wallet.
        Pending = "pending",
        Sent = "sent",
        /// Back in the balance.
        Failed = "failed",
    }
);

words!(
    /// What an account may do. An account can hold several.
    Role {
        /// Contributes workers and is paid.
        Provider = "provider",
        /// Submits jobs and pays.
        Creator = "creator",
        /// Runs the network and sees all of it.
        Operator = "operator",
    }
);

words!(
    /// What a token opens.
    Scope {
        /// Numbers and history: for Prometheus, Grafana and scripts. Never config files, scenes, frames or logs.
        Read = "read",
        /// Everything the account may do.
        Full = "full",
    }
);

words!(
    /// What the registry says of a lease that an agent holds.
    LeaseState {
        Held = "held",
        /// The task has another attempt, or has ended: stop rendering it.
        Lost = "lost",
    }
);

words!(
    /// The width of a chart's buckets.
    Interval {
        Hour = "hour",
        Day = "day",
        Month = "month",
    }
);

impl DesiredState {
    /// Of what is wanted of a worker and of one of its slots, what holds for the slot.
    pub fn stricter(self, other: DesiredState) -> DesiredState {
        match (self, other) {
            (DesiredState::Paused, _) | (_, DesiredState::Paused) => DesiredState::Paused,
            (DesiredState::Draining, _) | (_, DesiredState::Draining) => DesiredState::Draining,
            (DesiredState::Active, DesiredState::Active) => DesiredState::Active,
        }
    }
}

impl JobStatus {
    pub const fn has_ended(self) -> bool {
        match self {
            JobStatus::Pending | JobStatus::Running | JobStatus::Paused => false,
            JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => true,
        }
    }
}

impl TaskStatus {
    pub const fn has_ended(self) -> bool {
        match self {
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Paused => false,
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => true,
        }
    }
}

impl AttemptStatus {
    pub const fn has_ended(self) -> bool {
        match self {
            AttemptStatus::Pending | AttemptStatus::Running | AttemptStatus::Paused => false,
            AttemptStatus::Completed
            | AttemptStatus::Failed
            | AttemptStatus::Expired
            | AttemptStatus::Released
            | AttemptStatus::Cancelled => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptStatus, TaskStatus};

    #[test]
    fn words_round_trip_and_strangers_are_named() {
        for status in AttemptStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(serde_json::to_string(status).unwrap(), format!("\"{status}\""));
        }
        let error = "done".parse::<TaskStatus>().unwrap_err().to_string();
        assert_eq!(error, "'done' is not one of: pending running paused completed failed cancelled");
    }
}
