//! What agents call: ask for leases, renew them by heartbeats, send frames, say how each ended.

mod ask;
mod finish;
mod frames;
mod heartbeat;
mod renew;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(ask::ask))
        .routes(routes!(heartbeat::heartbeat))
        .routes(routes!(frames::scene))
        .routes(routes!(frames::put))
        .routes(routes!(frames::log))
        .routes(routes!(finish::complete))
        .routes(routes!(finish::fail))
        .routes(routes!(finish::release))
}
