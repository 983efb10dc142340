//! The checks of a first run: `doctor`'s, one after another, and then a test render on every slot.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pictor_blender::Device;
use tokio::time::timeout;

use super::App;
use crate::{
    finding::Finding,
    findings::{self, Refusal},
    probe::{self, Probe, Tools},
    readiness::Verdict,
    test_render::{self, Figures},
};

/// A machine that has just started looks for its Blender first.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How far they are.
#[derive(Debug, Default)]
pub(crate) struct Checkup(Mutex<Seen>);

#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) is_running: bool,
    pub(super) findings: Vec<Finding>,
    /// One a slot, once the checks are through.
    pub(super) renders: Vec<Render>,
}

#[derive(Debug, Clone)]
pub(super) struct Render {
    pub(super) slot: u32,
    pub(super) state: RenderState,
}

#[derive(Debug, Clone)]
pub(super) enum RenderState {
    Waiting,
    Running,
    /// With the frame, as PNG.
    Completed(Figures, Bytes),
    Failed(String),
    /// It renders a task, which says as much.
    Busy,
}

impl Checkup {
    pub(super) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn render(&self, slot: u32, state: RenderState) {
        self.change(|seen| {
            if let Some(render) = seen.renders.iter_mut().find(|render| render.slot == slot) {
                render.state = state;
            }
        });
    }

    /// Begins, unless it is under way.
    pub(super) fn start(app: &Arc<App>) {
        let mut is_new = false;
        app.checkup.change(|seen| {
            is_new = !seen.is_running;
            if is_new {
                *seen = Seen { is_running: true, ..Seen::default() };
            }
        });
        if is_new {
            let app = Arc::clone(app);
            tokio::spawn(async move {
                tokio::select! { () = run(&app) => {}, () = app.shutdown.cancelled() => {} }
                app.checkup.change(|seen| seen.is_running = false);
            });
        }
    }
}

impl Seen {
    /// Whether everything has been looked at and nothing keeps this worker from earning.
    pub(super) fn is_well(&self) -> bool {
        let renders =
            |render: &Render| matches!(render.state, RenderState::Completed(..) | RenderState::Busy);
        !self.is_running
            && !self.findings.is_empty()
            && self.findings.iter().all(|finding| !finding.is_failure())
            && self.renders.iter().all(renders)
    }
}

async fn run(app: &App) {
    let checkup = &app.checkup;
    let probe = Probe {
        // The Blender that was named since the start, too.
        places: app.places.borrow().clone(),
        agent: probe::Agent::Here(app.health.subscribe()),
        ..app.config.probe()
    };
    probe.everything(|fact| checkup.change(|seen| seen.findings.extend(findings::of(fact)))).await;
    let devices = app.slots.devices();
    let waiting = (0..).zip(devices).map(|(slot, _)| Render { slot, state: RenderState::Waiting }).collect();
    checkup.change(|seen| seen.renders = waiting);
    let ready = ready(app).await;
    for (slot, device) in (0..).zip(devices) {
        let state = match &ready {
            Ok(tools) if app.slots.take_for_test(slot) => {
                checkup.render(slot, RenderState::Running);
                app.idle.make_room(slot).await;
                let state = render(app, tools, device.clone(), slot).await;
                app.slots.leave(slot);
                state
            }
            Ok(_) => RenderState::Busy,
            Err(reason) => RenderState::Failed(reason.clone()),
        };
        checkup.render(slot, state);
    }
}

/// What to render with.
async fn ready(app: &App) -> Result<Arc<Tools>, String> {
    let mut readiness = app.readiness.subscribe();
    let known = readiness.wait_for(|probed| !matches!(probed.verdict, Verdict::Probing));
    // Late or not, what is known by then says the rest.
    let _ = timeout(READY_TIMEOUT, known).await;
    match app.readiness.probed().verdict {
        Verdict::Ready(tools) => Ok(tools),
        Verdict::Refused(Refusal { reason, .. }) => Err(reason),
        Verdict::Probing => Err("this machine is still being looked at: try again in a minute".to_owned()),
    }
}

async fn render(app: &App, tools: &Tools, device: Device, slot: u32) -> RenderState {
    let folder = app.config.data.join("test-render");
    match test_render::render_in_time(tools, device, slot, &app.config.limits, &folder).await {
        Ok((figures, frame)) => RenderState::Completed(figures, frame.into()),
        Err(reason) => RenderState::Failed(reason),
    }
}
