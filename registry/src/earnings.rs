//! What work earns: the ledger, the figures that providers see, and the history of their attempts.

mod attempt;
mod check;
pub(crate) mod electricity;
mod figures;
mod fold;
mod groups;
mod history;
mod ledger;
mod of;
mod order;
mod period;
mod spending;
pub mod store;
mod summary;

pub use attempt::{attempt, log_of_attempt};
pub use check::{Finding, check_once, ledger_check_loop};
pub use fold::fold_loop;
pub use groups::By;
pub use history::{HistoryQuery, as_csv, attempts};
pub use ledger::{TransfersQuery, ledger, transfers};
pub use of::Of;
pub use order::{Order, Sort};
pub use period::{PeriodQuery, Range};
pub use spending::spending;
pub use summary::{figures, groups, worker_seen_by};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(history::list))
        .routes(routes!(attempt::get))
        .routes(routes!(attempt::log))
        .routes(routes!(spending::of_creator))
        .routes(routes!(ledger::get))
        .routes(routes!(ledger::list))
        .routes(routes!(summary::of_account))
        .routes(routes!(summary::earnings))
        .routes(routes!(summary::of_worker))
}
