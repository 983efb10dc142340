//! A span for each request, below the caller's own if it says which that is.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use pictor_telemetry::TraceParent;
use tracing::field::Empty;
use tracing::{Instrument, info_span};

/// Wraps requests of the API. Scrapes and health checks come too often to be told about.
pub async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let Some(route) = route.filter(|route| pictor_telemetry::is_exporting() && route.starts_with("/v1/"))
    else {
        return next.run(request).await;
    };
    let method = request.method().clone();
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = Empty,
    );
    let header = request.headers().get(TraceParent::HEADER).and_then(|value| value.to_str().ok());
    if let Some(caller) = header.and_then(|text| text.parse().ok()) {
        pictor_telemetry::follow(&span, caller);
    }
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}
