//! Looks every second at what the agent knows, and holds slots that are of no use.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pictor_blender::sandbox::Mode;
use pictor_measure::nvml::{GpuSample, Gpus};
use pictor_protocol::Check;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use super::{Finding, findings, slots::GpuHistory};
use crate::{
    connection::{Connection, Line},
    devices::DeviceChoice,
    readiness::{Readiness, Verdict},
    slots::Slots,
};

const LOOK: Duration = Duration::from_secs(1);
/// A disk fills slowly, and asking one over a network can take its time.
const DISK_LOOK: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Debug)]
pub struct Sources {
    pub data: PathBuf,
    pub slots: Arc<Slots>,
    pub readiness: Arc<Readiness>,
    pub gpus: watch::Receiver<Option<Gpus>>,
    pub connection: watch::Receiver<Connection>,
    /// Rings the heartbeat.
    pub news: Arc<Notify>,
    pub device: DeviceChoice,
}

/// The findings of now.
#[derive(Debug, Default)]
pub struct Health(watch::Sender<Vec<Finding>>);

impl Health {
    pub fn findings(&self) -> Vec<Finding> {
        self.0.borrow().clone()
    }

    /// Looks for ever.
    pub async fn watch(&self, mut sources: Sources) -> Infallible {
        let mut history = GpuHistory::default();
        let mut disk = DiskWatch::default();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let now = Instant::now();
            let verdict = sources.readiness.probed().verdict;
            let mut found = sources.tools(&verdict);
            found.extend(sources.line());
            found.extend(sources.gpus(&mut history, now));
            found.extend(disk.look(&sources.data, now).await);
            if let Verdict::Refused { check, reason } = verdict {
                add_refusal(&mut found, check, reason);
            }
            for (slot, fault) in sources.slots.faults() {
                if let (Some(check), Some(what)) = (fault.check, fault.detail) {
                    add_refusal(&mut found, check, format!("slot {slot}: {what}"));
                }
            }
            self.tell(found, &sources.news);
        }
    }

    fn tell(&self, found: Vec<Finding>, news: &Notify) {
        let before = self.findings();
        let was =
            |check: Check| before.iter().find(|finding| finding.check == check && finding.advice.is_some());
        let mut is_news = false;
        for finding in &found {
            match (&finding.advice, was(finding.check)) {
                (Some(_), Some(old)) if old.found == finding.found || !is_about_gpus(finding.check) => {}
                (Some(advice), _) => {
                    is_news = true;
                    tracing::warn!("{}: {}. To do: {advice}", finding.check.as_str(), finding.found);
                }
                (None, Some(_)) => {
                    tracing::info!("{}: well again: {}", finding.check.as_str(), finding.found);
                }
                (None, None) => {}
            }
        }
        if found != before {
            self.0.send_replace(found);
        }
        if is_news {
            news.notify_one();
        }
    }
}

/// One of these can be about several GPUs, and become about another.
fn is_about_gpus(check: Check) -> bool {
    matches!(check, Check::Gpus | Check::GpuFallback | Check::GpuThrottling | Check::GpuXid)
}

/// The data folder's disk, asked on a thread of its own: one over a network may never answer.
#[derive(Default)]
struct DiskWatch {
    asked: Option<Instant>,
    answer: Option<JoinHandle<Finding>>,
    found: Option<Finding>,
}

impl DiskWatch {
    async fn look(&mut self, data: &Path, now: Instant) -> Option<Finding> {
        if let Some(answer) = self.answer.take_if(|answer| answer.is_finished()) {
            self.found = answer.await.ok();
        }
        let is_due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= DISK_LOOK);
        if is_due && self.answer.is_none() {
            let data = data.to_owned();
            self.answer = Some(tokio::task::spawn_blocking(move || findings::disk(&data)));
            self.asked = Some(now);
        }
        self.found.clone()
    }
}

impl Sources {
    /// Also holds the slots whose GPU is of no use.
    fn gpus(&mut self, history: &mut GpuHistory, now: Instant) -> Vec<Finding> {
        let devices = self.slots.devices();
        let is_measured_again = self.gpus.has_changed().unwrap_or(false);
        // None where NVML was not asked yet; a machine that never had a GPU has nothing to check.
        let Some(gpus) = &*self.gpus.borrow_and_update() else { return Vec::new() };
        if is_measured_again {
            history.look(gpus, devices, &self.slots.work(), now);
        }
        self.slots.set_health(history.holds(gpus, devices));
        if gpus.visible.is_empty() && gpus.missing.is_empty() {
            return Vec::new();
        }
        // Those that came after the agent had made its slots.
        let has_slot = |uuid: &str| devices.iter().any(|device| device.gpu_uuid() == Some(uuid));
        let late = |gpu: &&GpuSample| self.device != DeviceChoice::Cpu && !has_slot(&gpu.uuid);
        let indexes = |of: &dyn Fn(&&GpuSample) -> bool| -> Vec<u32> {
            gpus.visible.iter().filter(of).map(|gpu| gpu.index).collect()
        };
        vec![
            findings::gpus(gpus.visible.len(), &gpus.missing, &indexes(&late)),
            findings::gpu_xid(&gpus.xids),
            findings::gpu_throttling(&history.throttled(gpus, now)),
            findings::gpu_fallback(&indexes(&|gpu| history.is_unused(&gpu.uuid))),
        ]
    }

    fn tools(&self, verdict: &Verdict) -> Vec<Finding> {
        match verdict {
            Verdict::Probing => Vec::new(),
            Verdict::Ready(tools) => {
                let blender = findings::blender(Ok(&tools.blender));
                if blender.advice.is_some() {
                    self.readiness.fault(Check::Blender, blender.found.clone());
                }
                let sandbox = if tools.sandbox.mode() == Mode::Off {
                    // Doctor reminds its owner; here it is as it should be.
                    Finding::ok(Check::Sandbox, "off, as its owner said")
                } else {
                    findings::sandbox(Ok(&tools.sandbox))
                };
                vec![blender, sandbox]
            }
            Verdict::Refused { check: Check::Blender, reason } => vec![findings::blender(Err(reason))],
            Verdict::Refused { check: Check::Sandbox, reason } => vec![findings::sandbox(Err(reason))],
            Verdict::Refused { .. } => Vec::new(),
        }
    }

    fn line(&self) -> Vec<Finding> {
        let connection = self.connection.borrow();
        let line = match &connection.line {
            Line::Starting => return Vec::new(),
            Line::Up => Finding::ok(Check::Registry, "it answers"),
            Line::Down => Finding::fail(
                Check::Registry,
                "it does not answer",
                "is the network up, is the registry running? What is rendered is kept and sent when it answers",
            ),
            Line::Refused => Finding::fail(
                Check::Registry,
                "it does not want this worker, or not this machine as it",
                "read the agent's log: the config file may have been imported on another machine",
            ),
        };
        let clock = connection.skew_seconds.map(|skew| findings::clock(Some(skew)));
        [Some(line), clock].into_iter().flatten().collect()
    }
}

/// Whatever keeps the machine or one of its slots from taking tasks is found, also where its check looks at something else.
fn add_refusal(found: &mut Vec<Finding>, check: Check, reason: String) {
    if found.iter().all(|finding| finding.check != check || finding.advice.is_none()) {
        found.retain(|finding| finding.check != check);
        found.push(Finding::fail(check, reason, "do what it says; this machine tries again every minute"));
    }
}
