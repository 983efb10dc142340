//! The agent's own work: slots, tasks, frames, scene cache, outbox.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pictor_protocol::{DesiredState, Family, SlotStatus, WorkerStatus};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, core::Collector as _};
use tokio::sync::watch;

use super::{Collector, Families, float};
use crate::{
    blender::Device,
    eta::EtaPoint,
    health::{Health, Status},
    heartbeat::Connection,
    idle::Idle,
    outbox::Outbox,
    slots::Slots,
};

/// From a small scene's load to a long render.
const PHASE_BUCKETS_SECONDS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0, 14400.0];

const STATUS: Family = Family::gauge(
    "pictor_worker_status",
    &["status"],
    "Where the worker stands: 1 for its status, 0 for the others.",
);
const SLOTS: Family = Family::gauge("pictor_slots", &["status"], "Slots by status.");
const RUNNING: Family = Family::gauge("pictor_task_running", &["slot"], "Whether the slot has a task.");
const TASK: Family = Family::gauge("pictor_task_info", &["slot", "job_id", "task_id"], "The task of a slot.");
const PROGRESS: Family =
    Family::gauge("pictor_task_progress_ratio", &["slot"], "How much of the task is rendered.");
const ELAPSED: Family =
    Family::gauge("pictor_task_elapsed_seconds", &["slot"], "Time since the task was taken.");
const REMAINING: Family =
    Family::gauge("pictor_task_remaining_seconds", &["slot"], "Time until the task is rendered, estimated.");
const TASKS: Family = Family::counter("pictor_tasks_total", &["result"], "Tasks that ended here, by result.");
const PHASES: Family =
    Family::histogram("pictor_task_phase_seconds", &["phase"], "What tasks spent their time on.");
const FRAMES: Family = Family::counter(
    "pictor_frames_total",
    &["result"],
    "Frames that the registry took, and frames that failed.",
);
const STARTS: Family = Family::counter("pictor_blender_starts_total", &["kind"], "Starts of Blender.");
const SCENE_HITS: Family =
    Family::counter("pictor_scene_cache_hits_total", &[], "Scenes that were in the cache.");
const SCENE_MISSES: Family =
    Family::counter("pictor_scene_cache_misses_total", &[], "Scenes that had to be fetched.");
const SCENE_BYTES: Family = Family::gauge("pictor_scene_cache_bytes", &[], "What the scene cache holds.");
const HEALTH: Family = Family::gauge(
    "pictor_health",
    &["check"],
    "1 where a check finds nothing to do, 0 where it does: `pictor-agent doctor` says what.",
);
const ETA_ERROR: Family = Family::histogram(
    "pictor_task_eta_error_ratio",
    &["at"],
    "How wrong the estimated remaining time was, over the true one, by how much was rendered then.",
);
const SLOT_BUSY: Family =
    Family::counter("pictor_slot_busy_seconds_total", &["slot"], "Time in which the slot had a task.");
const GPU_BUSY: Family = Family::counter(
    "pictor_gpu_busy_seconds_total",
    &["uuid", "gpu"],
    "Time in which the GPU's slot had a task.",
);
const OUTBOX: Family = Family::gauge("pictor_outbox_entries", &[], "Results that wait to be sent.");
const IDLE_RUNNING: Family = Family::gauge(
    "pictor_idle_workload_running",
    &["slot"],
    "Whether the owner's own program runs on the slot's GPU; absent for slots without one.",
);
const IDLE_SECONDS: Family = Family::counter(
    "pictor_idle_workload_seconds_total",
    &["slot"],
    "Time in which the owner's own program ran on the slot's GPU.",
);
pub const FAMILIES: [Family; 21] = [
    STATUS,
    SLOTS,
    RUNNING,
    TASK,
    PROGRESS,
    ELAPSED,
    REMAINING,
    TASKS,
    PHASES,
    FRAMES,
    STARTS,
    SCENE_HITS,
    SCENE_MISSES,
    SCENE_BYTES,
    HEALTH,
    ETA_ERROR,
    SLOT_BUSY,
    GPU_BUSY,
    OUTBOX,
    IDLE_RUNNING,
    IDLE_SECONDS,
];

/// From a tenth off to ten times off.
const ETA_ERROR_BUCKETS: [f64; 9] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0];

/// How a task ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskResult {
    /// The registry accepted its completion.
    Completed,
    Failed,
    /// Its lease was lost.
    Expired,
    Released,
}

impl TaskResult {
    const ALL: [TaskResult; 4] =
        [TaskResult::Completed, TaskResult::Failed, TaskResult::Expired, TaskResult::Released];

    pub fn as_str(self) -> &'static str {
        match self {
            TaskResult::Completed => "completed",
            TaskResult::Failed => "failed",
            TaskResult::Expired => "expired",
            TaskResult::Released => "released",
        }
    }
}

/// What a task spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Fetch,
    Load,
    Render,
    Upload,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Fetch, Phase::Load, Phase::Render, Phase::Upload];

    fn as_str(self) -> &'static str {
        match self {
            Phase::Fetch => "fetch",
            Phase::Load => "load",
            Phase::Render => "render",
            Phase::Upload => "upload",
        }
    }
}

/// What is counted where it happens.
#[derive(Debug)]
pub struct Counters {
    tasks: IntCounterVec,
    phases: HistogramVec,
    eta_errors: HistogramVec,
    frames: IntCounterVec,
    blender_starts: IntCounterVec,
    scene_hits: IntCounter,
    scene_misses: IntCounter,
    scene_bytes: AtomicU64,
}

impl Counters {
    /// All at zero, every label value present.
    pub fn new() -> anyhow::Result<Counters> {
        let counter =
            |family: &Family| IntCounterVec::new(Opts::new(family.name, family.help), family.labels);
        let phases = HistogramOpts::new(PHASES.name, PHASES.help).buckets(PHASE_BUCKETS_SECONDS.to_vec());
        let eta_errors =
            HistogramOpts::new(ETA_ERROR.name, ETA_ERROR.help).buckets(ETA_ERROR_BUCKETS.to_vec());
        let counters = Counters {
            tasks: counter(&TASKS)?,
            phases: HistogramVec::new(phases, PHASES.labels)?,
            eta_errors: HistogramVec::new(eta_errors, ETA_ERROR.labels)?,
            frames: counter(&FRAMES)?,
            blender_starts: counter(&STARTS)?,
            scene_hits: IntCounter::new(SCENE_HITS.name, SCENE_HITS.help)?,
            scene_misses: IntCounter::new(SCENE_MISSES.name, SCENE_MISSES.help)?,
            scene_bytes: AtomicU64::new(0),
        };
        for result in TaskResult::ALL {
            counters.tasks.with_label_values(&[result.as_str()]);
        }
        for phase in Phase::ALL {
            counters.phases.with_label_values(&[phase.as_str()]);
        }
        for result in [TaskResult::Completed, TaskResult::Failed] {
            counters.frames.with_label_values(&[result.as_str()]);
        }
        for point in EtaPoint::ALL {
            counters.eta_errors.with_label_values(&[point.as_str()]);
        }
        for kind in ["cold", "warm"] {
            counters.blender_starts.with_label_values(&[kind]);
        }
        Ok(counters)
    }

    pub fn task_ended(&self, result: TaskResult) {
        self.tasks.with_label_values(&[result.as_str()]).inc();
    }

    pub fn frame_sent(&self) {
        self.frames.with_label_values(&[TaskResult::Completed.as_str()]).inc();
    }

    pub fn frame_failed(&self) {
        self.frames.with_label_values(&[TaskResult::Failed.as_str()]).inc();
    }

    pub fn phase(&self, phase: Phase, seconds: f64) {
        self.phases.with_label_values(&[phase.as_str()]).observe(seconds);
    }

    pub fn eta_error(&self, point: EtaPoint, error_ratio: f64) {
        self.eta_errors.with_label_values(&[point.as_str()]).observe(error_ratio);
    }

    pub fn blender_started(&self) {
        self.blender_starts.with_label_values(&["cold"]).inc();
    }

    pub fn scene_hit(&self) {
        self.scene_hits.inc();
    }

    pub fn scene_missed(&self) {
        self.scene_misses.inc();
    }

    pub fn set_scene_bytes(&self, bytes: u64) {
        self.scene_bytes.store(bytes, Ordering::Relaxed);
    }
}

pub struct Render {
    pub slots: Arc<Slots>,
    pub outbox: Arc<Outbox>,
    pub counters: Arc<Counters>,
    pub idle: Arc<Idle>,
    pub connection: watch::Receiver<Connection>,
    pub health: Arc<Health>,
}

impl Render {
    fn status(&self) -> WorkerStatus {
        if !self.connection.borrow().is_up() {
            return WorkerStatus::Offline;
        }
        match self.slots.desired() {
            DesiredState::Paused => WorkerStatus::Paused,
            DesiredState::Draining => WorkerStatus::Draining,
            DesiredState::Active if self.slots.is_working() => WorkerStatus::Busy,
            // Every slot is held: as the registry has it.
            DesiredState::Active if self.slots.is_held() => WorkerStatus::Draining,
            DesiredState::Active => WorkerStatus::Idle,
        }
    }

    fn worker(&self, families: &mut Families) {
        let current = self.status();
        families.rows(
            &STATUS,
            WorkerStatus::ALL
                .iter()
                .map(|status| (vec![status.to_string()], f64::from(u8::from(*status == current)))),
        );
        let reported = self.slots.reported();
        families.rows(
            &SLOTS,
            SlotStatus::ALL.iter().map(|status| {
                let count = reported.iter().filter(|slot| slot.status == *status).count();
                (vec![status.to_string()], float(u64::try_from(count).unwrap_or(0)))
            }),
        );
        families.rows(
            &RUNNING,
            reported
                .iter()
                .map(|slot| (vec![slot.slot.to_string()], f64::from(u8::from(slot.attempt_id.is_some())))),
        );
    }

    fn busy(&self, families: &mut Families) {
        let slots: Vec<_> = (0_u32..).zip(self.slots.devices().iter().zip(self.slots.busy())).collect();
        families.rows(
            &SLOT_BUSY,
            slots.iter().map(|(slot, (_, busy))| (vec![slot.to_string()], busy.as_secs_f64())),
        );
        let gpus = slots.iter().filter_map(|(_, (device, busy))| match device {
            Device::Cpu => None,
            Device::Gpu { uuid, index, .. } => {
                Some((vec![uuid.clone(), index.to_string()], busy.as_secs_f64()))
            }
        });
        families.rows(&GPU_BUSY, gpus);
    }

    fn tasks(&self, families: &mut Families) {
        let work = self.slots.work();
        let slot = |slot: u32| vec![slot.to_string()];
        families.rows(
            &TASK,
            work.iter().map(|work| {
                let ids = [work.lease.job_id.to_string(), work.lease.task_id.to_string()];
                (slot(work.slot).into_iter().chain(ids).collect(), 1.0)
            }),
        );
        families.rows(&PROGRESS, work.iter().map(|work| (slot(work.slot), work.progress_ratio)));
        families.rows(&ELAPSED, work.iter().map(|work| (slot(work.slot), work.elapsed.as_secs_f64())));
        families.rows(
            &REMAINING,
            work.iter().filter_map(|work| Some((slot(work.slot), work.remaining?.as_secs_f64()))),
        );
    }
}

impl Collector for Render {
    fn name(&self) -> &'static str {
        "render"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        let mut families = Families::default();
        self.worker(&mut families);
        self.tasks(&mut families);
        self.busy(&mut families);
        families.rows(
            &HEALTH,
            self.health.findings().iter().map(|finding| {
                let is_well = finding.status == Status::Ok;
                (vec![finding.check.as_str().to_owned()], f64::from(u8::from(is_well)))
            }),
        );
        let counters = &self.counters;
        families.extend(counters.tasks.collect());
        families.extend(counters.phases.collect());
        families.extend(counters.eta_errors.collect());
        families.extend(counters.frames.collect());
        families.extend(counters.blender_starts.collect());
        families.extend(counters.scene_hits.collect());
        families.extend(counters.scene_misses.collect());
        let cached = float(counters.scene_bytes.load(Ordering::Relaxed));
        families.value(&SCENE_BYTES, Some(cached));
        let waiting = float(u64::try_from(self.outbox.entries()).unwrap_or(u64::MAX));
        families.value(&OUTBOX, Some(waiting));
        let idle = self.idle.counts();
        let running = |is_running: bool| f64::from(u8::from(is_running));
        families.rows(
            &IDLE_RUNNING,
            idle.iter().map(|count| (vec![count.slot.to_string()], running(count.is_running))),
        );
        families.rows(
            &IDLE_SECONDS,
            idle.iter().map(|count| (vec![count.slot.to_string()], count.running.as_secs_f64())),
        );
        Ok(families)
    }
}
