//! Looks every second at what the agent knows, and holds slots that are of no use.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{Check, Finding, findings, slots::GpuHistory};
use crate::{
    collectors::nvml::Gpus,
    heartbeat::{Connection, Line},
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
}

/// The findings of now.
#[derive(Debug, Default)]
pub struct Health(watch::Sender<Vec<Finding>>);

impl Health {
    pub fn findings(&self) -> Vec<Finding> {
        self.0.borrow().clone()
    }

    /// Looks for ever.
    pub async fn watch(&self, sources: &Sources) -> Infallible {
        let mut history = GpuHistory::default();
        let mut disk: Option<(Instant, Finding)> = None;
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let now = Instant::now();
            if disk.as_ref().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= DISK_LOOK) {
                let data = sources.data.clone();
                let looked = tokio::task::spawn_blocking(move || findings::disk(&data)).await;
                disk = looked.ok().map(|finding| (now, finding));
            }
            let mut found = sources.look(&mut history, now);
            found.extend(disk.as_ref().map(|(_, finding)| finding.clone()));
            self.tell(found, &sources.news);
        }
    }

    fn tell(&self, found: Vec<Finding>, news: &Notify) {
        let before = self.findings();
        let mut is_news = false;
        for finding in found.iter().filter(|finding| finding.advice.is_some()) {
            if before.iter().all(|other| other.check != finding.check || other.advice.is_none()) {
                is_news = true;
                let (check, advice) = (finding.check.as_str(), finding.advice.as_deref().unwrap_or_default());
                tracing::warn!("{check}: {}. To do: {advice}", finding.found);
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

impl Sources {
    fn look(&self, history: &mut GpuHistory, now: Instant) -> Vec<Finding> {
        let mut found = self.tools();
        found.extend(self.line());
        // None where NVML was not asked yet; a machine that never had a GPU has nothing to check.
        if let Some(gpus) = &*self.gpus.borrow() {
            history.look(gpus, self.slots.devices(), &self.slots.work(), now);
            self.slots.set_holds(history.holds(gpus, self.slots.devices()));
            if !gpus.visible.is_empty() || !gpus.missing.is_empty() {
                let unused = gpus.visible.iter().filter(|gpu| history.unused.contains(&gpu.uuid));
                let unused: Vec<u32> = unused.map(|gpu| gpu.index).collect();
                found.extend([
                    findings::gpus(gpus.visible.len(), &gpus.missing),
                    findings::gpu_xid(&gpus.xids),
                    findings::gpu_throttling(&history.throttled(gpus, now)),
                    findings::gpu_fallback(&unused),
                ]);
            }
        }
        found
    }

    fn tools(&self) -> Vec<Finding> {
        match &self.readiness.probed().verdict {
            Verdict::Probing => Vec::new(),
            Verdict::Ready(tools) => {
                let blender = findings::blender(Ok(&tools.blender));
                if blender.advice.is_some() {
                    self.readiness.fault(Check::Blender, blender.found.clone());
                }
                vec![blender, findings::sandbox(Ok(&tools.sandbox))]
            }
            Verdict::Refused { check: Check::Blender, reason } => vec![findings::blender(Err(reason))],
            Verdict::Refused { check: Check::Sandbox, reason } => vec![findings::sandbox(Err(reason))],
            // What else refuses has a check of its own.
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
