//! The idle workload: the owner's own program on GPUs that have no task. It is started when a slot has been idle for a
//! while, and gone before a task or a test render starts there.

mod guard;
mod log;
mod machine;
mod process;
mod settings;
mod supervisor;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pictor_blender::Device;
use pictor_protocol::SlotStatus;
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

pub use guard::{GuardArgs, guard};
pub use machine::State;
pub use settings::{AFTER_SECONDS, AFTER_SECONDS_DEFAULT, Command, GPU_INDEX, Gpu, Program, Settings, Table};

use crate::slots::Slots;
use log::Log;
use machine::Standing;
use supervisor::{Asker, Running, Supervisor, Workload};

/// How long a task waits for it to be gone; its guard needs less, unless the driver does not let go of it.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// The idle workload of every slot.
#[derive(Debug)]
pub struct Idle {
    slots: Arc<Slots>,
    settings: watch::Sender<Settings>,
    /// In the order of the slots; `None` where there is no GPU.
    workloads: Vec<Option<(Arc<Workload>, mpsc::Sender<Asker>)>>,
}

/// The loops, not yet running.
#[derive(Debug)]
pub struct Supervisors(Vec<Supervisor>);

/// What a slot's idle workload looks like from outside.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    pub slot: u32,
    pub gpu_index: Option<u32>,
    pub gpu_uuid: Option<String>,
    pub state: State,
    /// For how long.
    pub state_seconds: f64,
    /// Since the agent started, all runs together.
    pub running_seconds: f64,
    pub starts: u64,
    pub last_exit: Option<String>,
    /// Why it does not run, and what it waits for.
    pub reason: Option<String>,
    pub log_file: Option<PathBuf>,
    /// The last lines it printed.
    pub log_tail: Vec<String>,
}

/// What is counted of a slot's idle workload.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    pub slot: u32,
    pub is_running: bool,
    pub running: Duration,
}

impl Idle {
    /// Of these slots, with the `agent`'s own program as their guard.
    pub fn new(
        slots: Arc<Slots>,
        settings: watch::Sender<Settings>,
        agent: &Path,
        data: &Path,
    ) -> (Idle, Supervisors) {
        let (mut workloads, mut supervisors) = (Vec::new(), Vec::new());
        for (slot, device) in (0..).zip(slots.devices()) {
            let Device::Gpu { uuid, index, .. } = device else {
                workloads.push(None);
                continue;
            };
            let gpu = Gpu { slot, index: *index, uuid: uuid.clone() };
            let workload = Arc::new(Workload::new(gpu, Log::new(data, slot)));
            let (ask, asked) = mpsc::channel(1);
            workloads.push(Some((Arc::clone(&workload), ask)));
            supervisors.push(Supervisor {
                workload,
                slots: Arc::clone(&slots),
                settings: settings.clone(),
                asked,
                agent: agent.to_owned(),
                running: Running::default(),
            });
        }
        (Idle { slots, settings, workloads }, Supervisors(supervisors))
    }

    /// Returns when nothing of the owner's runs on the slot any more, after a bounded time at most. The slot is taken
    /// already, so nothing is started there until it is left.
    pub async fn make_room(&self, slot: u32) {
        let workload = usize::try_from(slot).ok().and_then(|slot| self.workloads.get(slot));
        let Some(Some((_, ask))) = workload else { return };
        let (asker, gone) = oneshot::channel();
        let asked = async {
            // Without its loop there is no program either.
            if ask.send(asker).await.is_ok() {
                let _ = gone.await;
            }
        };
        if timeout(ROOM_PATIENCE, asked).await.is_err() {
            tracing::error!(
                slot,
                "the idle workload is not gone after {} s; going on",
                ROOM_PATIENCE.as_secs()
            );
        }
    }

    /// Ends all of them, for good.
    pub async fn stop(&self) {
        self.settings.send_modify(|settings| settings.command = None);
        let slots = (0..).zip(&self.workloads).map(|(slot, _)| self.make_room(slot));
        for stopped in slots.collect::<Vec<_>>() {
            stopped.await;
        }
    }

    /// Every slot, as it stands now.
    pub fn views(&self) -> Vec<View> {
        (0..).zip(&self.workloads).map(|(slot, workload)| self.view(slot, workload.as_ref())).collect()
    }

    /// Of the slots that have a GPU.
    pub fn counts(&self) -> Vec<Count> {
        let now = Instant::now();
        let count = |workload: &Workload| {
            let Standing { state, ran, .. } = workload.machine().standing(now);
            let is_running = matches!(state, State::Running | State::Stopping);
            Count { slot: workload.gpu.slot, is_running, running: ran }
        };
        self.workloads.iter().flatten().map(|(workload, _)| count(workload)).collect()
    }

    fn view(&self, slot: u32, workload: Option<&(Arc<Workload>, mpsc::Sender<Asker>)>) -> View {
        let Some((workload, _)) = workload else {
            return View {
                slot,
                gpu_index: None,
                gpu_uuid: None,
                state: State::Unsupported,
                state_seconds: 0.0,
                running_seconds: 0.0,
                starts: 0,
                last_exit: None,
                reason: Some("it runs on NVIDIA GPUs only, and this slot renders on the CPU".to_owned()),
                log_file: None,
                log_tail: Vec::new(),
            };
        };
        let standing = workload.machine().standing(Instant::now());
        View {
            slot,
            gpu_index: Some(workload.gpu.index),
            gpu_uuid: Some(workload.gpu.uuid.clone()),
            state: standing.state,
            state_seconds: standing.in_state.as_secs_f64(),
            running_seconds: standing.ran.as_secs_f64(),
            starts: standing.starts,
            reason: self.reason(slot, &standing),
            last_exit: standing.last_exit,
            log_file: Some(workload.log.path().to_owned()),
            log_tail: workload.log.tail(),
        }
    }

    fn reason(&self, slot: u32, standing: &Standing) -> Option<String> {
        let seconds = standing.left.map_or(0.0, |left| left.as_secs_f64().ceil());
        match standing.state {
            State::Unsupported | State::Running => None,
            State::Off => Some("it is switched off".to_owned()),
            State::Waiting if standing.left.is_some() => Some(format!("it starts in {seconds} s")),
            State::Waiting => Some(self.holder(slot)),
            State::Stopping => Some("it was asked to end".to_owned()),
            State::BackingOff => {
                let exit = standing.last_exit.as_deref().unwrap_or_default();
                let times = match standing.failures {
                    1 => "it ended by itself".to_owned(),
                    failures => format!("it ended by itself {failures} times"),
                };
                Some(format!("{times} ({exit}); it starts again in {seconds} s"))
            }
        }
    }

    /// What keeps the slot from being idle.
    fn holder(&self, slot: u32) -> String {
        let reported = self.slots.reported().into_iter().find(|reported| reported.slot == slot);
        let Some(reported) = reported else { return String::new() };
        let reasons: Vec<String> = reported.reasons.iter().map(ToString::to_string).collect();
        match reported.status {
            SlotStatus::Busy if reported.attempt_id.is_some() => "the slot has a task".to_owned(),
            SlotStatus::Paused => "the slot is paused".to_owned(),
            _ if reasons.is_empty() => "the slot is not idle".to_owned(),
            _ => reasons.join(", "),
        }
    }
}

impl Supervisors {
    /// Runs for ever.
    pub async fn run(self) -> Infallible {
        let mut loops: JoinSet<Infallible> = self.0.into_iter().map(Supervisor::run).collect();
        while let Some(ended) = loops.join_next().await {
            match ended {
                Ok(never) => match never {},
                Err(error) => tracing::error!(%error, "an idle workload is watched no more"),
            }
        }
        std::future::pending().await
    }
}
