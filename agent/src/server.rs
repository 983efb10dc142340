//! What the agent serves: measurements and health.

mod access;

use std::{future::IntoFuture, io, net::SocketAddr, sync::Arc};

use anyhow::anyhow;
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use pictor_measure::sampler::Sampler;
use pictor_protocol::WorkerId;
use tokio::net::TcpListener;

use crate::{finding::Report, health::Health, secret};

pub use access::{AccessError, MetricsAccess};

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the agent is met: /metrics, and the worker app there too or at an address of its own.
#[derive(Debug)]
pub struct Doors {
    metrics: TcpListener,
    app: Option<TcpListener>,
}

impl Doors {
    pub async fn open(metrics: SocketAddr, app: Option<SocketAddr>) -> anyhow::Result<Doors> {
        let app = match app {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        Ok(Doors { metrics: bind(metrics).await?, app })
    }

    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    pub fn app_address(&self) -> io::Result<SocketAddr> {
        self.app.as_ref().unwrap_or(&self.metrics).local_addr()
    }

    /// Serves until one of them cannot go on.
    pub async fn serve(self, metrics: Router, app: Router) -> io::Result<()> {
        match self.app {
            None => axum::serve(self.metrics, metrics.merge(app)).await,
            Some(listener) => {
                let (metrics, app) = (axum::serve(self.metrics, metrics), axum::serve(listener, app));
                tokio::try_join!(metrics.into_future(), app.into_future()).map(|((), ())| ())
            }
        }
    }
}

pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!("{listen} is taken, perhaps by another agent: stop that, or choose another address with --listen")
        }
        _ => anyhow!("cannot listen on {listen}: {error}; choose another address with --listen"),
    })
}

/// Every route.
pub fn routes(
    sampler: Arc<Sampler>,
    health: Arc<Health>,
    worker_id: WorkerId,
    access: MetricsAccess,
) -> Router {
    let report = move || std::future::ready(Json(Report { worker_id, findings: health.findings() }));
    let metrics = Router::new()
        .route("/metrics", get(all))
        .route("/metrics/{collector}", get(one))
        .with_state(sampler)
        // For `pictor-agent doctor`, which cannot know what this process has seen.
        .route("/health", get(report))
        .layer(middleware::from_fn_with_state(Arc::new(access), authorize));
    metrics.route("/healthz", get(|| async { "ok\n" }))
}

async fn all(State(sampler): State<Arc<Sampler>>, headers: HeaderMap) -> Response {
    serve(&sampler, None, &headers)
}

async fn one(
    State(sampler): State<Arc<Sampler>>,
    Path(collector): Path<String>,
    headers: HeaderMap,
) -> Response {
    serve(&sampler, Some(&collector), &headers)
}

fn serve(sampler: &Sampler, collector: Option<&str>, headers: &HeaderMap) -> Response {
    let gzip = accepts_gzip(headers);
    let Some(body) = sampler.exposition(collector, gzip) else {
        return (StatusCode::NOT_FOUND, "there is no such collector\n").into_response();
    };
    let common = [(CONTENT_TYPE, TEXT_FORMAT), (VARY, "accept-encoding")];
    if gzip {
        (common, [(CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        (common, body).into_response()
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

async fn authorize(State(access): State<Arc<MetricsAccess>>, request: Request, next: Next) -> Response {
    let MetricsAccess::Bearer(token) = &*access else { return next.run(request).await };
    if secret::is(secret::bearer(request.headers()).unwrap_or_default(), token) {
        return next.run(request).await;
    }
    let challenge = [(WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "/metrics asks for the bearer token of [metrics] token_file\n")
        .into_response()
}
