//! What Prometheus scrapes here: this replica's own series, and the network's.

mod network;

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Operator;
use crate::error::{Error, Result};

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(own)).routes(routes!(network::of_network))
}

/// What became of leases, as `pictor_registry_leases_total` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    Granted,
    Completed,
    Failed,
    Released,
    Expired,
}

impl LeaseOutcome {
    const ALL: [LeaseOutcome; 5] = [
        LeaseOutcome::Granted,
        LeaseOutcome::Completed,
        LeaseOutcome::Failed,
        LeaseOutcome::Released,
        LeaseOutcome::Expired,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            LeaseOutcome::Granted => "granted",
            LeaseOutcome::Completed => "completed",
            LeaseOutcome::Failed => "failed",
            LeaseOutcome::Released => "released",
            LeaseOutcome::Expired => "expired",
        }
    }
}

/// The series of this replica.
pub struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    assignments: Histogram,
    leases: IntCounterVec,
}

impl Metrics {
    pub fn new() -> anyhow::Result<Metrics> {
        let registry = Registry::new();
        let requests = HistogramVec::new(
            HistogramOpts::new(
                "pictor_registry_http_request_seconds",
                "How long requests took to answer, the wait for work included",
            )
            .buckets(vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ]),
            &["route", "method", "status"],
        )?;
        let assignments = Histogram::with_opts(
            HistogramOpts::new(
                "pictor_registry_assignment_seconds",
                "How long picking and leasing tasks for one asking took, the wait for work left out",
            )
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]),
        )?;
        let leases = IntCounterVec::new(
            Opts::new("pictor_registry_leases_total", "Leases by what became of them on this replica"),
            &["outcome"],
        )?;
        for outcome in LeaseOutcome::ALL {
            leases.with_label_values(&[outcome.as_str()]);
        }
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(assignments.clone()))?;
        registry.register(Box::new(leases.clone()))?;
        Ok(Metrics { registry, requests, assignments, leases })
    }

    /// One asking for tasks was answered, with work or without, after so many seconds of picking.
    pub fn assigned(&self, seconds: f64) {
        self.assignments.observe(seconds);
    }

    pub fn count_leases(&self, outcome: LeaseOutcome, count: u64) {
        self.leases.with_label_values(&[outcome.as_str()]).inc_by(count);
    }

    fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Times every request under its route, never its path: labels must stay few.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    app.metrics
        .requests
        .with_label_values(&[route, method, response.status().as_str()])
        .observe(started.elapsed().as_secs_f64());
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
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], app.metrics.encode()?))
}
