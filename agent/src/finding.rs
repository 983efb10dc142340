//! The word for one thing that was looked at: who finds it is [`crate::findings`], who says it are many.

use pictor_protocol::{Check, HealthFinding, WorkerId};
use serde::{Deserialize, Serialize};

/// The registry bounds what a heartbeat says, and refuses the whole of one that says more.
const REPORT_CHARS_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(rename = "name")]
    pub check: Check,
    pub status: Grade,
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
        Finding { check, status: Grade::Ok, found: found.into(), advice: None }
    }

    pub fn warn(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { check, status: Grade::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    pub fn fail(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { check, status: Grade::Fail, found: found.into(), advice: Some(advice.into()) }
    }

    pub fn is_failure(&self) -> bool {
        self.status == Grade::Fail
    }

    /// As the registry is told; what is well is not.
    pub fn report(&self) -> Option<HealthFinding> {
        let advice = self.advice.clone()?;
        let found = self.found.chars().take(REPORT_CHARS_MAX).collect();
        Some(HealthFinding { check: self.check.as_str().to_owned(), found, advice })
    }
}
