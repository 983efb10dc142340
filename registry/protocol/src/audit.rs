//! What was done to an account, by whom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AccountId, AuditEventId, UnixMillis};

/// `GET /v1/audit`: something that was done to an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    pub id: AuditEventId,
    pub at: UnixMillis,
    /// Whose things; null for the network's own.
    pub account_id: Option<AccountId>,
    pub account_name: Option<String>,
    /// Who did it; null for the registry and its command line.
    pub actor_account_id: Option<AccountId>,
    pub actor_name: Option<String>,
    /// How: `session`, `token`, `cli` or `system`.
    pub actor: String,
    /// Such as `token_created`.
    pub action: String,
    /// What it was done to: an id, or a name.
    pub subject: String,
    pub detail: serde_json::Value,
}
