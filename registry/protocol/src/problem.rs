//! How every error reads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error as RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem: `/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words, the same each time it occurs.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// The kind as one stable word that programs compare, such as `lease_lost`.
    pub code: String,
    /// What happened this time and what to do about it.
    pub detail: String,
}
