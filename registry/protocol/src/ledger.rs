//! The ledger: its books, its transfers, and what its checks found.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Micros, TransferId, UnixMillis};

/// `GET /v1/ledger`: what its books hold, and what its checks found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    pub currency: String,
    pub checked_at: UnixMillis,
    /// What must never be; empty when the ledger is sound.
    pub findings: Vec<String>,
    pub books: Vec<BookSum>,
}

/// One book, or all of a kind together. The sums add up to zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BookSum {
    /// `accounts`, `escrow`, `payouts`, `fees`, `issued` or `paid_out`.
    pub book: String,
    pub balance_micros: Micros,
}

/// One immutable row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transfer {
    pub id: TransferId,
    /// Names its cause.
    pub key: String,
    pub kind: String,
    pub from_book: String,
    /// Of the account, where the book is an account's balance.
    pub from_name: Option<String>,
    pub to_book: String,
    pub to_name: Option<String>,
    pub amount_micros: Micros,
    pub created_at: UnixMillis,
}
