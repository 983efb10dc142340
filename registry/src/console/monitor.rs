//! One worker's System Monitor: what it is, what each of its slots does and why, and who holds it.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, Response};
use axum::routing::{get, post};
use pictor_look::live::Parts;
use pictor_look::text;
use pictor_protocol::{
    Check, DesiredState, HealthFinding, OfflineReason, PatchWorker, Role, Slot, SlotDesired, Worker,
    WorkerId, WorkerStatus,
};
use serde::Deserialize;

use super::{Form, Page, Visitor, live, reasons, render, said};
use crate::App;
use crate::error::{Path, Result};
use crate::workers;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/workers/{id}", get(page))
        .route("/workers/{id}/live", get(watch))
        .route("/workers/{id}/desired", post(want))
}

#[derive(Template)]
#[template(path = "console/monitor.html")]
struct MonitorPage<'a> {
    page: &'a Page,
    tab: &'static str,
    worker_id: String,
    worker_name: String,
    view: View,
}

#[derive(Template)]
#[template(path = "console/monitor/worker.html")]
struct WorkerPart<'a> {
    page: &'a Page,
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/monitor/slots.html")]
struct SlotsPart<'a> {
    page: &'a Page,
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/monitor/hardware.html")]
struct HardwarePart<'a> {
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/monitor/facts.html")]
struct FactsPart<'a> {
    page: &'a Page,
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/monitor/health.html")]
struct HealthPart<'a> {
    view: &'a View,
}

/// What the page shows of a worker.
struct View {
    worker: Worker,
    slots: Vec<SlotView>,
    /// At its last heartbeat, so that it changes no oftener than that.
    uptime_seconds: Option<f64>,
    duplicate: Option<HealthFinding>,
    health: Vec<HealthFinding>,
    /// Whether this visitor's session may change things.
    may_act: bool,
}

struct SlotView {
    slot: Slot,
    /// What it renders on.
    device: String,
    reasons: Vec<String>,
}

/// Something that can be wanted of a worker or a slot.
struct Action {
    desired: DesiredState,
    label: &'static str,
    means: &'static str,
}

impl View {
    fn new(worker: Worker, may_act: bool, page: &Page) -> View {
        let slots = worker.slots.iter().map(|slot| SlotView::new(slot, &worker)).collect();
        let since_heartbeat = worker.last_heartbeat_at.map_or(0.0, |at| page.now.seconds_since(at));
        let uptime_seconds = worker.uptime_seconds.map(|seconds| (seconds - since_heartbeat).max(0.0));
        let (duplicate, health): (Vec<_>, Vec<_>) = worker
            .health
            .iter()
            .cloned()
            .partition(|finding| finding.check == Check::DuplicateWorker.as_str());
        View { slots, uptime_seconds, duplicate: duplicate.into_iter().next(), health, may_act, worker }
    }

    fn status(&self) -> &'static str {
        match self.worker.offline_reason {
            None => self.worker.status.as_str(),
            Some(OfflineReason::NeverConnected) => "offline, never connected",
            Some(OfflineReason::Stopped) => "offline, stopped",
            Some(OfflineReason::Lost) => "offline, lost",
        }
    }

    fn has_never_connected(&self) -> bool {
        self.worker.offline_reason == Some(OfflineReason::NeverConnected)
    }

    fn badge(&self) -> &'static str {
        match self.worker.offline_reason {
            None => self.worker.status.as_str(),
            Some(reason) => reason.as_str(),
        }
    }

    /// What else can be wanted of what this is wanted of.
    fn actions(&self, desired: &DesiredState) -> Vec<Action> {
        let resume = Action { desired: DesiredState::Active, label: "Resume", means: "It takes tasks again" };
        let pause = Action {
            desired: DesiredState::Paused,
            label: "Pause",
            means: "Ends the frame in progress; the task goes back to the queue",
        };
        let drain = Action {
            desired: DesiredState::Draining,
            label: "Drain",
            means: "It finishes its task and takes no other",
        };
        match desired {
            DesiredState::Active => vec![pause, drain],
            DesiredState::Paused => vec![resume],
            DesiredState::Draining => vec![resume, pause],
        }
    }
}

impl SlotView {
    fn new(slot: &Slot, worker: &Worker) -> SlotView {
        let device = match &slot.gpu_uuid {
            None => "CPU".to_owned(),
            Some(uuid) => match worker.gpus.iter().find(|gpu| gpu.uuid == *uuid) {
                Some(gpu) => format!("GPU {} {}", gpu.index, gpu.name.as_deref().unwrap_or_default()),
                None => format!("{uuid}, not found at present"),
            },
        };
        let reasons = slot.reasons.iter().map(|reason| reasons::sentence(reason, slot.status)).collect();
        SlotView { slot: slot.clone(), device, reasons }
    }
}

/// How much of a whole is used.
fn share(used: &Option<u64>, total: &Option<u64>) -> Option<f64> {
    let (used, total) = ((*used)? as f64, (*total)? as f64);
    (total > 0.0).then(|| (used / total).clamp(0.0, 1.0))
}

async fn view(app: &App, visitor: &Visitor, id: WorkerId, page: &Page) -> Result<View> {
    let caller = visitor.with_role(Role::Provider)?;
    let worker = workers::worker(app, id, caller.account_filter()).await?;
    Ok(View::new(worker, caller.is_full(), page))
}

async fn page(State(app): State<App>, visitor: Visitor, Path(id): Path<WorkerId>) -> Result<Html<String>> {
    let mut page = Page::new(&app, &visitor, "Worker").live(format!("/workers/{id}/live"));
    let view = view(&app, &visitor, id, &page).await?;
    page.title = view.worker.name.to_string();
    let (worker_id, worker_name) = (id.to_string(), view.worker.name.to_string());
    page.show(&MonitorPage { page: &page, tab: "monitor", worker_id, worker_name, view })
}

async fn watch(State(app): State<App>, visitor: Visitor, Path(id): Path<WorkerId>) -> Result<Response> {
    // Says now what is wrong with the request: a stream would only end.
    workers::standing(&app, id, visitor.with_role(Role::Provider)?.account_filter()).await?;
    Ok(live(app, visitor, move |app, visitor| parts(app, visitor, id)))
}

async fn parts(app: App, visitor: Visitor, id: WorkerId) -> Result<Parts> {
    let mut page = Page::new(&app, &visitor, "");
    let view = view(&app, &visitor, id, &page).await?;
    // As at the last heartbeat: what passes since is counted in the browser.
    page.now = view.worker.last_heartbeat_at.unwrap_or(page.now);
    let (page, view) = (&page, &view);
    Ok(vec![
        ("monitor-worker".to_owned(), render(&WorkerPart { page, view })?),
        ("monitor-slots".to_owned(), render(&SlotsPart { page, view })?),
        ("monitor-hardware".to_owned(), render(&HardwarePart { view })?),
        ("monitor-facts".to_owned(), render(&FactsPart { page, view })?),
        ("monitor-health".to_owned(), render(&HealthPart { view })?),
    ])
}

#[derive(Deserialize)]
struct Want {
    desired: DesiredState,
    /// The whole worker, where it is absent.
    slot: Option<u32>,
}

async fn want(
    State(app): State<App>,
    Path(id): Path<WorkerId>,
    Form(visitor, Want { desired, slot }): Form<Want>,
) -> Result<Response> {
    let owner = visitor.acting(Role::Provider)?.account_filter();
    let change = match slot {
        Some(slot) => {
            PatchWorker { slots: Some(vec![SlotDesired { slot, desired }]), ..PatchWorker::default() }
        }
        None => PatchWorker { desired: Some(desired), ..PatchWorker::default() },
    };
    workers::apply(&app, id, owner, change).await?;
    let what = slot.map_or_else(|| "The worker".to_owned(), |slot| format!("Slot {slot}"));
    let done = match desired {
        DesiredState::Active => "takes tasks again from its next heartbeat on.",
        DesiredState::Paused => "is paused: it stops with its next heartbeat.",
        DesiredState::Draining => "is draining: it finishes its task and takes no other.",
    };
    Ok(said(&format!("{what} {done}"), &format!("/workers/{id}")))
}
