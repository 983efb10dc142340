//! What is wrong with this worker and what to do about it: the same findings for `/metrics`, for the registry and for
//! `pictor-agent doctor`. A finding about one GPU holds the slot that it makes useless.

pub mod findings;
mod slots;
mod watch;

use pictor_protocol::{Check, HealthFinding, WorkerId};
use serde::{Deserialize, Serialize};

pub use watch::{Health, Sources};

/// The registry bounds what a heartbeat says, and refuses the whole of one that says more.
const REPORT_CHARS_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(rename = "name")]
    pub check: Check,
    pub status: Status,
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// What `/health` of a running agent says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub worker_id: WorkerId,
    pub findings: Vec<Finding>,
}

impl Finding {
    pub fn ok(check: Check, found: impl Into<String>) -> Finding {
        Finding { check, status: Status::Ok, found: found.into(), advice: None }
    }

    pub fn warn(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { check, status: Status::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    pub fn fail(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { check, status: Status::Fail, found: found.into(), advice: Some(advice.into()) }
    }

    /// As the registry is told; what is well is not.
    pub fn report(&self) -> Option<HealthFinding> {
        let advice = self.advice.clone()?;
        let found = self.found.chars().take(REPORT_CHARS_MAX).collect();
        Some(HealthFinding { check: self.check.as_str().to_owned(), found, advice })
    }
}
