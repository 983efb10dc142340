//! What the agent counts where it happens. Whoever tells Prometheus only reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use pictor_family::{Family, families};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, core::Collector, proto::MetricFamily,
};

use crate::eta::EtaPoint;

families! {
    pub FAMILIES:
    /// Tasks that ended here, by result.
    TASKS = counter("pictor_tasks_total", ["result"]);
    /// What tasks spent their time on.
    PHASES = histogram("pictor_task_phase_seconds", ["phase"]);
    /// Frames that the registry took, and frames that failed.
    FRAMES = counter("pictor_frames_total", ["result"]);
    /// Starts of Blender.
    STARTS = counter("pictor_blender_starts_total", ["kind"]);
    /// Scenes that were in the cache.
    SCENE_HITS = counter("pictor_scene_cache_hits_total", []);
    /// Scenes that had to be fetched.
    SCENE_MISSES = counter("pictor_scene_cache_misses_total", []);
    /// What the scene cache holds.
    pub SCENE_BYTES = gauge("pictor_scene_cache_bytes", []);
    /// How wrong the estimated remaining time was, over the true one, by how much was rendered then.
    ETA_ERROR = histogram("pictor_task_eta_error_ratio", ["at"]);
}

/// From a small scene's load to a long render.
const PHASE_BUCKETS_SECONDS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0, 14400.0];

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
        // Each start is cold, until a Blender is kept for a job's next task: the share of warm ones is drawn already.
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

    pub fn scene_bytes(&self) -> u64 {
        self.scene_bytes.load(Ordering::Relaxed)
    }

    /// All but the scenes' bytes, in the order of the exposition.
    pub fn collect(&self) -> Vec<MetricFamily> {
        let counted: [&dyn Collector; 7] = [
            &self.tasks,
            &self.phases,
            &self.eta_errors,
            &self.frames,
            &self.blender_starts,
            &self.scene_hits,
            &self.scene_misses,
        ];
        counted.into_iter().flat_map(Collector::collect).collect()
    }
}
