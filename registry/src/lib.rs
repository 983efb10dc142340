//! The registry: accounts, worker setup, jobs, task assignment and the earnings ledger.
//!
//! Every route and every background loop is listed in this file.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub mod accounts;
pub mod attempts;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod db;
pub mod discovery;
pub mod drain;
pub mod enrolments;
pub mod error;
pub mod figures;
pub mod filter;
pub mod incidents;
pub mod jobs;
pub mod leases;
pub mod ledger;
pub mod lists;
pub mod metrics;
pub mod network;
pub mod notifications;
pub mod oidc;
pub mod payouts;
pub mod peer;
pub mod png;
pub mod releases;
pub mod row;
pub mod spreadsheet;
mod sql;
pub mod tasks;
pub mod tenant;
pub mod trace;
pub mod workers;

use blobs::Blobs;
use clock::Clock;
use config::Settings;
use db::Db;

/// What every handler and loop works with; clones share it.
#[derive(Clone)]
pub struct App {
    pub db: Db,
    pub clock: Clock,
    pub blobs: Blobs,
    pub settings: Arc<Settings>,
    pub public_url: Url,
    pub presence: Arc<workers::Presence>,
    pub wakeup: tasks::Wakeup,
    pub queue: Arc<tasks::LastQueue>,
    pub metrics: Arc<metrics::Metrics>,
    pub notifier: Arc<notifications::Sender>,
    pub prometheus: Option<Arc<tenant::Upstream>>,
    pub oidc: Option<Arc<oidc::Provider>>,
    pub shutdown: CancellationToken,
}

#[derive(OpenApi)]
#[openapi(info(title = "My Workers registry", description = "Worker setup, task assignment and earnings"))]
struct Document;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(accounts::routes())
        .merge(workers::routes())
        .merge(enrolments::routes())
        .merge(jobs::routes())
        .merge(leases::routes())
        .merge(attempts::routes())
        .merge(figures::routes())
        .merge(ledger::routes())
        .merge(payouts::routes())
        .merge(discovery::routes())
        .merge(metrics::routes())
        .merge(notifications::routes())
        .merge(audit::routes())
        .merge(network::routes())
        .merge(releases::routes())
        .merge(tenant::routes())
}

/// The API as an OpenAPI 3.1 document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

fn router(app: App) -> Router {
    let (router, document) = routes().split_for_parts();
    router
        .route("/openapi.json", get(|| async move { axum::Json(document) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .merge(console::routes(&app))
        .fallback(console::unknown)
        .method_not_allowed_fallback(|| async { error::Error::MethodNotAllowed })
        .layer(axum::middleware::from_fn(drain::drain_refused))
        .layer(axum::middleware::from_fn(trace::observe))
        .layer(axum::middleware::from_fn_with_state(app.clone(), metrics::observe))
        // Uploads bring bounds of their own; nothing else is larger than a heartbeat of a big machine.
        .layer(DefaultBodyLimit::max(2 << 20))
        .with_state(app)
}

/// Ready to work: the database answers and files can be written.
async fn readyz(State(app): State<App>) -> error::Result<&'static str> {
    sqlx::query("SELECT 1").execute(&mut *app.db.read().await?).await?;
    app.blobs.check().await?;
    Ok("ready\n")
}

/// Serves until `shutdown`; the caller owns the port and the stop signal. Returns early only when a
/// background loop ends, which none of them may.
pub async fn serve(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let app = open(settings, clock, listener.local_addr()?, shutdown.clone()).await?;
    let mut loops: JoinSet<anyhow::Result<Infallible>> = JoinSet::new();
    loops.spawn(workers::presence_loop(app.clone()));
    loops.spawn(tasks::sweep_loop(app.clone()));
    loops.spawn(jobs::finish_loop(app.clone()));
    loops.spawn(ledger::ledger_check_loop(app.clone()));
    loops.spawn(incidents::watch_loop(app.clone()));
    loops.spawn(notifications::deliver_loop(app.clone()));
    loops.spawn(figures::fold_loop(app.clone()));

    let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        served = serving => served.context("the server stopped")?,
        Some(ended) = loops.join_next() => match ended {
            Ok(Ok(never)) => match never {},
            Ok(Err(cause)) => return Err(cause.context("a background loop ended")),
            Err(cause) => return Err(anyhow::Error::from(cause).context("a background loop ended")),
        },
    }
    loops.shutdown().await;
    workers::write_presence(&app).await.context("the last heartbeats could not be written")?;
    Ok(())
}

async fn open(
    settings: Settings,
    clock: Clock,
    listening_on: SocketAddr,
    shutdown: CancellationToken,
) -> anyhow::Result<App> {
    let db = Db::open(&settings.database.database).await?;
    let blobs = Blobs::open(&settings.blobs, clock.clone())?;
    let presence = workers::Presence::load(&db).await?;
    let prometheus = settings.prometheus_url.clone().map(tenant::Upstream::new).transpose()?;
    let public_url = settings.public_url(listening_on)?;
    let oidc = oidc::Provider::new(&settings.oidc, &public_url)?;
    Ok(App {
        public_url,
        oidc: oidc.map(Arc::new),
        presence: Arc::new(presence),
        wakeup: tasks::Wakeup::new(),
        queue: Arc::default(),
        metrics: Arc::new(metrics::Metrics::new(clock.now())?),
        notifier: Arc::new(notifications::Sender::new(&settings)?),
        prometheus: prometheus.map(Arc::new),
        settings: Arc::new(settings),
        db,
        clock,
        blobs,
        shutdown,
    })
}
