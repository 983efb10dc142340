//! One task on one slot: fetch, load, render, check, hand over; and what its end is called.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pictor_blender::{
    BlenderError, Breach, Device, Event, Launch, Limits, Session,
    output::{self, OutputError},
};
use pictor_ground::durable;
use pictor_protocol::{Check, CompleteRequest, FailRequest, Lease, ReleaseRequest, SlotReason};
use tokio::{sync::mpsc, time::Instant};
use tracing::{Span, info_span};

use super::{Assignment, Runner, scenes::SceneError};
use crate::{
    counters::{Phase, TaskResult},
    disk::Disk,
    outbox::Ending,
    probe::Tools,
    readiness::Verdict,
    slots::{Slots, Stop},
    task_log::TaskLogs,
};

/// Unread events; Blender does not wait for us to read more.
const EVENTS_MAX: usize = 256;
/// What of a task's log is kept: the beginning says what was loaded, the error's own message comes apart.
const LOG_BYTES_MAX: usize = 256 << 10;
/// How long a failed task waits for its GPU to be found lost: a driver that hangs is given some seconds to answer.
const HOLD_PATIENCE: Duration = Duration::from_secs(10);
const HOLD_LOOK: Duration = Duration::from_millis(100);
/// As much of an error message as the registry keeps.
const ERROR_CHARS_MAX: usize = 2_000;

/// Why a task does not complete.
#[derive(Debug)]
enum Trouble {
    Stopped(Stop),
    /// The scene's or the job's: its creator is told.
    Fail(String),
    /// This machine's: somebody else may do better.
    Fault(Check, String),
    /// This slot's and its device's: another slot may do better.
    SlotFault(SlotReason),
    /// This machine's, and known before it began.
    NotReady,
    Lost(String),
}

impl Runner {
    /// Sees one task through to its end, which lies in the outbox when this returns.
    pub(super) async fn run_task(&self, assignment: Assignment) {
        let Assignment { lease, mut stop, deadline, span: _ } = assignment;
        let attempt = lease.id;
        let output = self.render_folder.join(attempt.to_string());
        let (events, received) = mpsc::channel(EVENTS_MAX);
        self.logs.begin(lease.slot, attempt);
        let (slots, logs) = (Arc::clone(&self.slots), Arc::clone(&self.logs));
        let reader = tokio::spawn(read_events(received, slots, logs, lease.slot));
        let mut session = None;
        let rendered = tokio::select! {
            biased;
            stop = stop.stopped() => Err(Trouble::Stopped(stop)),
            () = tokio::time::sleep_until(deadline) => Err(timed_out(&lease)),
            rendered = self.render(&lease, deadline, &output, &mut session, events) => rendered,
        };
        if let Some(session) = session {
            session.stop().await;
        }
        // Ends with the session, whose end of the channel is the last.
        let log = reader.await.unwrap_or_default();
        self.remove_output(output).await;
        let rendered = match rendered {
            Err(trouble @ (Trouble::Fail(_) | Trouble::SlotFault(_))) => {
                Err(self.whose_failure(&lease, trouble).await)
            }
            rendered => rendered,
        };
        // The registry may have taken the lease meanwhile, in the last moment too.
        self.hand_over(&lease, rendered, log).await;
    }

    async fn render(
        &self,
        lease: &Lease,
        deadline: Instant,
        output: &Path,
        session: &mut Option<Session>,
        events: mpsc::Sender<Event>,
    ) -> Result<Duration, Trouble> {
        let Verdict::Ready(tools) = self.readiness.probed().verdict else {
            // It stopped being ready after it had asked.
            return Err(Trouble::NotReady);
        };
        let started = Instant::now();
        let fetching = self.scenes.fetch(&self.registry, lease);
        let fetching = pictor_telemetry::within(info_span!("scene fetched"), fetching);
        // The GPU is the task's alone before Blender starts.
        let (fetched, ()) = tokio::join!(fetching, self.idle.make_room(lease.slot));
        let scene = fetched.map_err(|error| self.scene_trouble(error))?;
        self.counters.phase(Phase::Fetch, started.elapsed().as_secs_f64());
        durable::make_private_folder(output).map_err(|error| {
            Trouble::Fault(Check::Disk, format!("cannot make a folder to render into: {error}"))
        })?;
        let Tools { blender, sandbox } = &*tools;
        let launch = Launch {
            blender,
            sandbox,
            scene: Some(&scene.path),
            output,
            device: self.slots.device(lease.slot).cloned().unwrap_or(Device::Cpu),
            slot: lease.slot,
            limits: Limits {
                wall: deadline.saturating_duration_since(Instant::now()),
                ..self.limits.clone()
            },
        };
        self.counters.blender_started();
        let starting = Session::start(launch, events);
        let opened = pictor_telemetry::within(info_span!("scene loaded"), starting).await;
        let opened = opened.map_err(|error| self.blender_trouble(lease, &error))?;
        self.counters.phase(Phase::Load, opened.loaded().seconds);
        if opened.loaded().device.is_some() {
            self.slots.renders_with_cycles(lease.slot);
        }
        let session = session.insert(opened);
        let size = lease.width.zip(lease.height);
        let mut render_time = Duration::ZERO;
        for frame in lease.frames.iter() {
            self.slots.frame_started(lease.slot);
            let started = Instant::now();
            let span = info_span!("frame rendered", pictor.frame = frame);
            let rendered = pictor_telemetry::within(span, session.render(frame, size)).await;
            let name = rendered.map_err(|error| {
                self.counters.frame_failed();
                self.blender_trouble(lease, &error)
            })?;
            render_time += started.elapsed();
            self.keep_frame(lease, frame, output, name, size).await?;
            self.slots.frame_finished(lease.slot);
        }
        self.counters.phase(Phase::Render, render_time.as_secs_f64());
        for (point, error_ratio) in self.slots.eta_errors(lease.slot) {
            self.counters.eta_error(point, error_ratio);
        }
        Ok(render_time)
    }

    /// Checks a frame outside the sandbox and puts it into the outbox.
    async fn keep_frame(
        &self,
        lease: &Lease,
        frame: i32,
        output: &Path,
        name: String,
        size: Option<(u32, u32)>,
    ) -> Result<(), Trouble> {
        let (outbox, attempt) = (Arc::clone(&self.outbox), lease.id);
        let (folder, bytes_max) = (output.to_owned(), self.limits.file_bytes);
        let kept = tokio::task::spawn_blocking(move || -> Result<(), Kept> {
            let checked = output::check(&folder, &name, size, bytes_max).map_err(Kept::Output)?;
            outbox.add_frame(attempt, frame, checked.sha256.into(), &checked.bytes).map_err(Kept::Disk)?;
            // Its room is Blender's again. What is left is removed with the folder.
            durable::remove_file(&checked.path).map_err(Kept::Disk)
        });
        match kept.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Kept::Disk(error))) => {
                let reason = format!("a finished frame cannot be kept on disk: {error}");
                Err(Trouble::Fault(Check::Disk, Disk::look(&self.data).shortage().unwrap_or(reason)))
            }
            Ok(Err(Kept::Output(error))) => {
                self.counters.frame_failed();
                Err(self.or_disk_full(format!("frame {frame}: {error}")))
            }
            Err(_) => Err(Trouble::Stopped(Stop::Shutdown)),
        }
    }

    /// Turns the task's end into what the registry is told.
    async fn hand_over(&self, lease: &Lease, rendered: Result<Duration, Trouble>, log: String) {
        let attempt = lease.id;
        let release = |reason: &str| Ending::Release(ReleaseRequest { reason: reason.to_owned() });
        let ending = match rendered {
            Ok(render_time) => {
                Ending::Complete(CompleteRequest { render_seconds: render_time.as_secs_f64() })
            }
            Err(Trouble::Fail(error)) => {
                tracing::warn!(%attempt, "the task failed: {error}");
                pictor_telemetry::failed(&Span::current(), &error);
                let error = error.chars().take(ERROR_CHARS_MAX).collect();
                Ending::Fail(FailRequest { error, render_seconds: None })
            }
            Err(Trouble::Fault(check, reason)) => {
                pictor_telemetry::failed(&Span::current(), &reason);
                let ending = release(&reason);
                self.readiness.fault(check, reason);
                ending
            }
            Err(Trouble::SlotFault(fault)) => {
                let reason = fault.to_string();
                tracing::error!(slot = lease.slot, "the slot takes no tasks for a minute: {reason}");
                pictor_telemetry::failed(&Span::current(), &reason);
                self.slots.set_fault(lease.slot, Some(fault));
                release(&reason)
            }
            Err(Trouble::NotReady) => release("the worker cannot render at present"),
            Err(Trouble::Stopped(Stop::Held(found))) => release(&found.to_string()),
            Err(Trouble::Stopped(Stop::Paused)) => release("the slot was paused"),
            Err(Trouble::Stopped(Stop::Shutdown)) => release("the agent stops"),
            // The sender has ended it already.
            Err(Trouble::Stopped(Stop::Rejected(_))) => return,
            Err(Trouble::Stopped(Stop::Lost)) => return self.lost(lease, "another attempt has it").await,
            Err(Trouble::Lost(detail)) => return self.lost(lease, &detail).await,
        };
        if !log.is_empty() && !matches!(ending, Ending::Release(_)) {
            let outbox = Arc::clone(&self.outbox);
            let kept = tokio::task::spawn_blocking(move || outbox.add_log(attempt, &log)).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!(%attempt, %error, "the task's log cannot be kept on disk");
            }
        }
        self.end(lease, ending).await;
    }

    /// With its GPU lost, a scene fails in its own words, a moment before the GPU is missed: nobody's scene is blamed
    /// for that.
    async fn whose_failure(&self, lease: &Lease, trouble: Trouble) -> Trouble {
        if self.slots.device(lease.slot).and_then(Device::gpu_uuid).is_none() {
            return trouble;
        }
        let until = Instant::now() + HOLD_PATIENCE;
        let mut look = tokio::time::interval(HOLD_LOOK);
        while Instant::now() < until {
            look.tick().await;
            // Only what NVML itself says: a scene must not be able to blame the machine.
            let found = self.slots.health(lease.slot);
            let by_nvml = |found: &SlotReason| matches!(found.check, Some(Check::Gpus | Check::GpuXid));
            if let Some(found) = found.filter(by_nvml) {
                return Trouble::Stopped(Stop::Held(found));
            }
        }
        trouble
    }

    async fn lost(&self, lease: &Lease, detail: &str) {
        let attempt = lease.id;
        tracing::warn!(%attempt, "stopped rendering, the lease is lost: {detail}");
        pictor_telemetry::failed(&Span::current(), &detail);
        let outbox = Arc::clone(&self.outbox);
        let was_there = tokio::task::spawn_blocking(move || outbox.abandon(attempt)).await;
        if was_there.unwrap_or(false) {
            self.counters.task_ended(TaskResult::Expired);
        }
    }

    fn blender_trouble(&self, lease: &Lease, error: &BlenderError) -> Trouble {
        match error {
            BlenderError::Limit(Breach::Time { .. }) => timed_out(lease),
            BlenderError::Start(_) | BlenderError::Sandbox(_) => {
                Trouble::Fault(Check::Sandbox, error.to_string())
            }
            BlenderError::NoGpu(_) => Trouble::SlotFault(SlotReason::found(
                Check::GpuFallback,
                format!(
                    "{error}: use a Blender from blender.org, or write `device = \"cpu\"` under [blender]"
                ),
            )),
            // The supervisor was told to stop, and only the agent's end does that while we wait.
            BlenderError::Stopped => Trouble::Stopped(Stop::Shutdown),
            BlenderError::Scene(_)
            | BlenderError::NoCamera
            | BlenderError::NoDenoiser
            | BlenderError::Render(_)
            | BlenderError::Ended { .. }
            | BlenderError::Limit(
                Breach::Memory { .. } | Breach::Output { .. } | Breach::Files | Breach::FileSize { .. },
            )
            | BlenderError::Nonsense(_) => self.or_disk_full(error.to_string()),
        }
    }

    /// On a full disk everything fails in its own way, and none of it is the scene's fault.
    fn or_disk_full(&self, error: String) -> Trouble {
        Disk::look(&self.data)
            .shortage()
            .map_or(Trouble::Fail(error), |shortage| Trouble::Fault(Check::Disk, shortage))
    }

    fn scene_trouble(&self, error: SceneError) -> Trouble {
        match error {
            SceneError::Lost(detail) => Trouble::Lost(detail),
            SceneError::Disk(_) => Trouble::Fault(
                Check::Disk,
                Disk::look(&self.data).shortage().unwrap_or_else(|| error.to_string()),
            ),
            SceneError::Refused(_) | SceneError::Wrong(_) => {
                Trouble::Fault(Check::Registry, error.to_string())
            }
        }
    }

    async fn remove_output(&self, output: PathBuf) {
        let removed = tokio::task::spawn_blocking(move || durable::remove_folder(&output)).await;
        match removed {
            Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot remove a finished task's folder");
            }
            _ => {}
        }
    }
}

/// Why a frame was not kept.
enum Kept {
    Output(OutputError),
    Disk(io::Error),
}

fn timed_out(lease: &Lease) -> Trouble {
    Trouble::Fail(format!("the task took longer than the {} s its job allows", lease.timeout_seconds))
}

/// Follows a session's events until it is gone; returns what Blender printed.
async fn read_events(
    mut events: mpsc::Receiver<Event>,
    slots: Arc<Slots>,
    logs: Arc<TaskLogs>,
    slot: u32,
) -> String {
    let mut log = String::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Progress { ratio, remaining_seconds, .. } => {
                let remaining =
                    remaining_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                slots.frame_progress(slot, ratio, remaining);
            }
            Event::Statistics(line) => logs.add(slot, &line),
            Event::Log(line) => {
                logs.add(slot, &line);
                if log.len() + line.len() < LOG_BYTES_MAX {
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        }
    }
    log
}
