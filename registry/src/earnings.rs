//! What work earns: the ledger, the figures that providers see, and the history of their attempts.

mod check;
mod figures;
mod filter;
mod fold;
mod groups;
mod history;
mod ledger;
mod period;
pub mod store;
mod summary;

pub use check::{Finding, check_once, ledger_check_loop};
pub use filter::Of;
pub use fold::fold_loop;
pub use groups::By;
pub use ledger::{TransfersQuery, ledger, transfers};
pub use period::{PeriodQuery, Range};
pub use summary::{figures, groups, worker_seen_by};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(history::list))
        .routes(routes!(ledger::get))
        .routes(routes!(ledger::list))
        .routes(routes!(summary::of_account))
        .routes(routes!(summary::earnings))
        .routes(routes!(summary::of_worker))
}
