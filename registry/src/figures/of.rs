//! Whose figures are asked for.

use pictor_protocol::{AccountId, WorkerId};

use crate::filter::Filter;

/// Whose rows are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// The whole network, for its operators.
    All,
    Account(AccountId),
    Worker {
        id: WorkerId,
        owner: AccountId,
    },
}

impl Of {
    pub fn account(account_id: Option<AccountId>) -> Of {
        account_id.map_or(Of::All, Of::Account)
    }

    /// Whose balance is shown with the figures: a worker's is its account's.
    pub(super) fn holder(self) -> Option<AccountId> {
        match self {
            Of::All => None,
            Of::Account(account) | Of::Worker { owner: account, .. } => Some(account),
        }
    }

    /// The rows of what counts for it, found by their account: both tables of figures and what they are
    /// folded from have an index that begins with it.
    pub(super) fn rows(self) -> Filter {
        let mut filter = Filter::default();
        match self {
            Of::All => filter.fixed("account_id IN (SELECT id FROM accounts)"),
            Of::Account(account) => filter.text("account_id = $?", account),
            Of::Worker { id, owner } => filter.text("account_id = $?", owner).text("worker_id = $?", id),
        };
        filter
    }
}
