//! Many workers at once: a batch of config files, or a key that agents trade for workers of their own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EnrolmentId, UnixMillis};

/// `POST /v1/workers/batch`: many workers at once, answered with a zip of their config files.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkers {
    /// Their names, with one range of numbers: `rack-{01..125}`.
    pub names: String,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// `POST /v1/enrolments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnrolment {
    /// How the workers are called: `rack-{n}` counts, `{hostname}` is the machine's own name.
    pub name_pattern: String,
    /// How many workers the key makes at most.
    pub count: u32,
    /// From then on the key makes no worker; null: until it is revoked.
    #[serde(default)]
    pub expires_at: Option<UnixMillis>,
    /// Given to every worker that the key makes.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// An enrolment key without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    pub id: EnrolmentId,
    pub name_pattern: String,
    pub count: u32,
    pub used: u32,
    pub tags: Vec<String>,
    pub created_at: UnixMillis,
    pub expires_at: Option<UnixMillis>,
    pub last_used_at: Option<UnixMillis>,
}

/// An enrolment key just made: the one time its secret is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedEnrolment {
    #[serde(flatten)]
    pub enrolment: Enrolment,
    pub key: String,
}

/// `POST /v1/agent/enrol`: trades a key for a worker of this machine's own.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    pub key: String,
    /// What `{hostname}` stands for.
    #[serde(default)]
    pub hostname: Option<String>,
}
