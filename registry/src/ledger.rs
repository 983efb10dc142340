//! The ledger: transfers between books, points, and the check that they are sound.

mod check;
mod report;
mod spending;
pub mod store;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub use check::{Finding, check_once, ledger_check_loop};
pub use report::{TransfersQuery, ledger, transfers};
pub use spending::spending;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(spending::of_creator))
        .routes(routes!(report::get))
        .routes(routes!(report::list))
}
