//! Money that leaves a provider's balance for a wallet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AccountId, Micros, PayoutId, PayoutStatus, UnixMillis};

/// Money sent to a provider's wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Payout {
    pub id: PayoutId,
    pub account_id: AccountId,
    pub account_name: String,
    pub currency: String,
    pub amount_micros: Micros,
    pub status: PayoutStatus,
    /// Where it goes: the account's wallet when the payout was made.
    pub wallet_address: Option<String>,
    /// What finds it again at whoever moved the money.
    pub reference: Option<String>,
    pub created_at: UnixMillis,
    /// When it was sent or failed.
    pub ended_at: Option<UnixMillis>,
}

/// `POST /v1/payouts`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayout {
    pub account_id: AccountId,
    pub amount_micros: Micros,
    #[serde(default)]
    pub reference: Option<String>,
}

/// `PATCH /v1/payouts/{id}`: how it ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchPayout {
    pub status: PayoutStatus,
    #[serde(default)]
    pub reference: Option<String>,
}
