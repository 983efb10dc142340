//! The history of attempts: pages of it, all of it as CSV, and one attempt with its log.

mod history;
mod one;
mod order;
mod redact;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub use history::{HistoryQuery, as_csv, attempts};
pub use one::{attempt, log_of_attempt};
pub use order::{Order, Sort};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(history::list)).routes(routes!(one::get)).routes(routes!(one::log))
}
