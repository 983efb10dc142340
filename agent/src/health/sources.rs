//! Where a running agent's facts come from, and what is remembered between two looks at them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pictor_measure::nvml::{GpuSample, Gpus};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

use super::history::GpuHistory;
use crate::{
    connection::Connection,
    devices::DeviceChoice,
    disk::Disk,
    findings::{Moment, WatchedGpus},
    probe::Isolation,
    readiness::{Readiness, Verdict},
    slots::Slots,
};

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

pub(super) struct Watcher {
    sources: Sources,
    history: GpuHistory,
    disk: DiskWatch,
}

impl Watcher {
    pub(super) fn new(sources: Sources) -> Watcher {
        Watcher { sources, history: GpuHistory::default(), disk: DiskWatch::default() }
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) async fn look(&mut self, now: Instant) -> Moment {
        let (tools, refusal) = match self.sources.readiness.probed().verdict {
            Verdict::Probing => (None, None),
            Verdict::Ready(tools) => (Some((tools.blender.clone(), Isolation::of(&tools.sandbox))), None),
            Verdict::Refused(refusal) => (None, Some(refusal)),
        };
        let connection = self.sources.connection.borrow().clone();
        let gpus = self.gpus(now);
        let disk = self.disk.look(&self.sources.data, now).await;
        Moment { tools, refusal, faults: self.sources.slots.faults(), connection, gpus, disk }
    }

    /// None where NVML was not asked yet.
    fn gpus(&mut self, now: Instant) -> Option<WatchedGpus> {
        let Sources { slots, gpus, device, .. } = &mut self.sources;
        let devices = slots.devices();
        let is_measured_again = gpus.has_changed().unwrap_or(false);
        let measured = gpus.borrow_and_update().clone()?;
        if is_measured_again {
            self.history.look(&measured, devices, &slots.work(), now);
        }
        // Those that came after the agent had made its slots.
        let has_slot = |uuid: &str| devices.iter().any(|device| device.gpu_uuid() == Some(uuid));
        let late = |gpu: &&GpuSample| *device != DeviceChoice::Cpu && !has_slot(&gpu.uuid);
        let without_slot = measured.visible.iter().filter(late).map(|gpu| gpu.index).collect();
        Some(self.history.seen(measured, without_slot, now))
    }
}

/// The data folder's disk, asked on a thread of its own: one over a network may never answer.
#[derive(Default)]
struct DiskWatch {
    asked: Option<Instant>,
    answer: Option<JoinHandle<Disk>>,
    seen: Option<Disk>,
}

impl DiskWatch {
    async fn look(&mut self, data: &Path, now: Instant) -> Option<Disk> {
        if let Some(answer) = self.answer.take_if(|answer| answer.is_finished()) {
            self.seen = answer.await.ok();
        }
        let is_due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= DISK_LOOK);
        if is_due && self.answer.is_none() {
            let data = data.to_owned();
            self.answer = Some(tokio::task::spawn_blocking(move || Disk::look(&data)));
            self.asked = Some(now);
        }
        self.seen.clone()
    }
}
