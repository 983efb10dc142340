//! The figures that providers see: sums of what ended, folded as it settles, and what electricity cost beside.

pub(crate) mod electricity;
mod fold;
mod groups;
mod of;
mod period;
mod store;
mod summary;
mod sums;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub use fold::fold_loop;
pub use of::Of;
pub use period::{By, PeriodQuery, Range};
pub use summary::{figures, groups, worker_seen_by};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(summary::of_account))
        .routes(routes!(summary::earnings))
        .routes(routes!(summary::of_worker))
}
