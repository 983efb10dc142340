//! What Prometheus scrapes here: this replica's own series, and the network's.

mod network;
mod replica;
mod store;

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pictor_family::Family;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Operator;
use crate::error::{Error, Result};

pub use replica::Metrics;

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(own)).routes(routes!(network::of_network))
}

/// Every family that a registry can show, by endpoint.
pub fn catalogue() -> Vec<(&'static str, Vec<Family>)> {
    vec![("/metrics", replica::FAMILIES.to_vec()), ("/metrics/network", network::FAMILIES.to_vec())]
}

/// Times every request under its route, never its path: labels must stay few.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    app.metrics.requested(route, method, response.status().as_str(), started.elapsed().as_secs_f64());
    response
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// This replica's own series, for an operator's token; open to programs on this machine when nobody else can reach it.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
async fn own(
    State(app): State<App>,
    operator: std::result::Result<Operator, Error>,
) -> Result<impl IntoResponse> {
    if !app.settings.is_loopback_only() {
        operator?;
    }
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], app.metrics.encode(app.db.connections())?))
}
