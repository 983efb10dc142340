//! The worker app: local pages on which a machine's owner sees what it does, and changes that.
//!
//! Data flows one way: the agent's parts publish what they know, [`App::status`] reads it, pages show it.

mod access;
mod checkup;
pub mod first_run;
mod history;
pub mod link;
mod live;
mod mining;
mod page;
mod rendering;
pub mod set;
pub mod settings;
pub mod status;
pub mod terminal;

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use pictor_blender::Places;
use pictor_measure::{host::HostSample, nvml::Gpus};
use pictor_protocol::Earned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config, connection::Connection, health::Health, idle::Idle, pause::Pause, readiness::Readiness,
    settings::Settings, slots::Slots, task_log::TaskLogs, update::Updates,
};
use access::Access;
use checkup::Checkup;
pub(crate) use history::History;

/// What the pages read and change.
#[derive(Debug)]
pub struct App {
    /// As the agent was started.
    pub(crate) config: Config,
    pub(crate) checkup: Arc<Checkup>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) idle: Arc<Idle>,
    /// Where Blender is looked for.
    pub(crate) places: watch::Receiver<Places>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) logs: Arc<TaskLogs>,
    pub(crate) pause: Arc<Pause>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) health: Arc<Health>,
    pub(crate) gpus: watch::Receiver<Option<Gpus>>,
    pub(crate) host: watch::Receiver<Option<HostSample>>,
    pub(crate) connection: watch::Receiver<Connection>,
    pub(crate) earned: watch::Receiver<Option<Earned>>,
    pub(crate) history: History,
    /// Ends the streams, which would keep the agent from ending.
    pub(crate) shutdown: CancellationToken,
}

impl App {
    /// Keeps the small graphs' points, for ever.
    pub(crate) async fn watch(&self) -> Infallible {
        self.history.watch(self.host.clone(), self.gpus.clone()).await
    }
}

/// Every route of the app, behind its key.
pub(crate) fn routes(app: Arc<App>, key: &str, listen: SocketAddr) -> Router {
    Router::new()
        .route("/", get(rendering::show))
        .route("/live", get(rendering::live))
        .route("/pause", post(rendering::pause))
        .route("/app/status", get(rendering::json))
        .route("/mining", get(mining::show).post(mining::change))
        .route("/mining/live", get(mining::live))
        .route("/settings", get(settings::show).post(settings::change))
        .route("/settings/look-for-update", post(settings::look_for_update))
        .route("/settings/live", get(settings::live))
        .route("/app/settings", post(settings::set))
        .route("/first-run", get(first_run::show))
        .route("/first-run/live", get(first_run::live))
        .route("/first-run/check", post(first_run::check))
        .route("/first-run/frame/{slot}", get(first_run::frame))
        .with_state(app)
        .layer(middleware::from_fn_with_state(Access::new(key, listen), access::guard))
        .route("/assets/{name}", get(page::asset))
}
