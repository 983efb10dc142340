//! An account: what operators see of it, what it says of itself, its tokens and sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AccountId, Micros, Role, Scope, SessionId, TokenId, UnixMillis};

/// An account as operators list it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub roles: Vec<Role>,
    pub wallet_address: Option<String>,
    pub balance_micros: Micros,
    pub created_at: UnixMillis,
}

/// `GET /v1/me`: who the token speaks for, and what it may do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    pub id: AccountId,
    pub name: String,
    pub roles: Vec<Role>,
    pub scope: Scope,
    pub wallet_address: Option<String>,
    /// The IANA name of the zone in which the console shows times; null: the browser's.
    pub time_zone: Option<String>,
    pub currency: String,
    pub balance_micros: Micros,
}

/// `PATCH /v1/me`: what is left out stays, an empty text removes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchMe {
    pub wallet_address: Option<String>,
    pub time_zone: Option<String>,
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What the token is for, 1 to 64 characters.
    pub name: String,
    pub scope: Scope,
}

/// An access token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub scope: Scope,
    pub created_at: UnixMillis,
    pub last_used_at: Option<UnixMillis>,
}

/// A token just made: the one time its secret is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub id: TokenId,
    pub name: String,
    pub scope: Scope,
    pub created_at: UnixMillis,
    pub token: String,
}

/// A person signed in with a browser.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub id: SessionId,
    pub scope: Scope,
    /// The access token it was opened with, and ends with; null after OpenID Connect.
    pub token_name: Option<String>,
    /// The browser, as it named itself.
    pub browser: Option<String>,
    pub created_at: UnixMillis,
    /// To five minutes.
    pub last_seen_at: UnixMillis,
    pub expires_at: UnixMillis,
}

/// Who signs in to the account through OpenID Connect.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub created_at: UnixMillis,
}
