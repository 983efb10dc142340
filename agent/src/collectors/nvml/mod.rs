//! NVIDIA GPUs through NVML. A machine that never had one shows no GPU series at all.

mod asked;
pub mod dcgm;
mod expected;
mod families;
mod fields;
mod gpu;
mod library;
mod monotonic;
mod pace;
mod processes;
mod round;
mod xid;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Collector, Families, float};
use crate::{config::MetricsConfig, slots::Slots};
use expected::Expected;
use gpu::Extras;
use monotonic::Counters;
use pace::Pace;
use round::{Answer, Rounds};
use xid::Xids;

pub use expected::{forget, missing};
pub use families::FAMILIES;
pub use gpu::GpuSample;
pub use xid::XidEvent;

/// The machine's GPUs as last measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gpus {
    /// Those that answer.
    pub visible: Vec<GpuSample>,
    /// Those that this machine has had and that do not answer.
    pub missing: Vec<MissingGpu>,
    /// The latest errors, the newest last.
    pub xids: Vec<XidEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGpu {
    pub uuid: String,
    /// Where it last was.
    pub index: u32,
    pub reason: Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The driver counts it and cannot read it: it fell off the bus or needs a reset.
    Lost,
    /// Calls about it do not come back.
    Hung,
    /// The driver does not show it.
    Absent,
}

pub struct Nvml {
    rounds: Rounds,
    slots: Arc<Slots>,
    publish: watch::Sender<Option<Gpus>>,
    pace: Pace,
    expected: Expected,
    counters: Counters,
    xids: Xids,
    /// Which GPU last answered at each index.
    uuids: Vec<Option<String>>,
    /// The host's name for DCGM's labels, when those are wanted.
    dcgm_hostname: Option<String>,
}

impl Nvml {
    pub fn new(
        config: &MetricsConfig,
        data: &Path,
        hostname: &str,
        slots: Arc<Slots>,
        publish: watch::Sender<Option<Gpus>>,
    ) -> anyhow::Result<Self> {
        let extras = Extras { pcie_throughput: config.pcie_throughput, processes: config.gpu_processes };
        Ok(Self {
            rounds: Rounds::start(config.nvml_library.clone(), extras)?,
            slots,
            publish,
            pace: Pace::new(config.gpu_interval, config.gpu_idle_interval),
            expected: Expected::open(data),
            counters: Counters::default(),
            xids: Xids::new(),
            uuids: Vec::new(),
            dcgm_hostname: config.dcgm_names.then(|| hostname.to_owned()),
        })
    }

    fn measure(&mut self) -> anyhow::Result<Gpus> {
        let counted = self.rounds.count()?;
        self.xids.listen(counted.nvml, counted.gpus)?;
        let answers = self.rounds.ask(&counted)?;
        let mut visible = Vec::new();
        let mut reasons = Vec::new();
        self.uuids.resize(answers.len(), None);
        for (answer, uuid) in answers.into_iter().zip(&mut self.uuids) {
            match answer {
                Answer::Sample(mut gpu) => {
                    self.counters.raise(&mut gpu);
                    *uuid = Some(gpu.uuid.clone());
                    visible.push(*gpu);
                    reasons.push(Missing::Absent);
                }
                Answer::Lost(error) => {
                    tracing::debug!(?uuid, error, "a GPU cannot be read");
                    reasons.push(Missing::Lost);
                }
                Answer::Hung => reasons.push(Missing::Hung),
            }
        }
        self.expected.see(&visible);
        let missing = self.missing(&visible, &reasons);
        Ok(Gpus { visible, missing, xids: self.xids.recent() })
    }

    /// The reasons stand by index.
    fn missing(&self, visible: &[GpuSample], reasons: &[Missing]) -> Vec<MissingGpu> {
        let absent =
            self.expected.gpus().iter().filter(|known| visible.iter().all(|gpu| gpu.uuid != known.uuid));
        absent
            .map(|known| {
                // One that has not answered since the agent started is taken for the one where it last was.
                let seen_at = self.uuids.iter().position(|uuid| uuid.as_ref() == Some(&known.uuid));
                let remembered_at =
                    usize::try_from(known.index).ok().filter(|at| self.uuids.get(*at) == Some(&None));
                let reason = seen_at.or(remembered_at).and_then(|at| reasons.get(at)).copied();
                MissingGpu {
                    uuid: known.uuid.clone(),
                    index: known.index,
                    reason: reason.unwrap_or(Missing::Absent),
                }
            })
            .collect()
    }

    fn publish(&self, gpus: Gpus) {
        let before = self.publish.borrow().as_ref().map(|gpus| gpus.missing.clone()).unwrap_or_default();
        for gpu in gpus.missing.iter().filter(|gpu| !before.contains(gpu)) {
            let what = match gpu.reason {
                Missing::Lost => "is lost: it fell off the bus or needs a reset",
                Missing::Hung => "hangs: calls about it do not come back",
                Missing::Absent => "is not there any more",
            };
            tracing::warn!("GPU {} ({}) {what}", gpu.index, gpu.uuid);
        }
        for gpu in before.iter().filter(|gpu| gpus.missing.iter().all(|now| now.uuid != gpu.uuid)) {
            tracing::info!("GPU {} ({}) is no longer missing", gpu.index, gpu.uuid);
        }
        self.publish.send_replace(Some(gpus));
    }
}

impl Collector for Nvml {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn interval(&self) -> Duration {
        self.pace.interval(!self.slots.work().is_empty(), Instant::now())
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        self.xids.hear();
        let gpus = match self.measure() {
            Ok(gpus) => gpus,
            Err(error) => {
                let missing = self.missing(&[], &[]);
                self.publish(Gpus { visible: Vec::new(), missing, xids: self.xids.recent() });
                return Err(error);
            }
        };
        let uses = gpus.visible.iter().any(|gpu| gpu.utilization_ratio.is_some_and(|ratio| ratio > 0.0));
        self.pace.saw(uses || !self.slots.work().is_empty(), Instant::now());
        let mut families = Families::default();
        families::expected(&mut families, self.expected.gpus(), &gpus.visible, &self.xids);
        families::measured(&mut families, &gpus.visible);
        if let Some(hostname) = &self.dcgm_hostname {
            dcgm::measured(&mut families, &gpus.visible, &self.xids, hostname);
        }
        self.publish(gpus);
        Ok(families)
    }

    /// The driver may be what went missing.
    fn after_failure(&self) -> Families {
        let mut families = Families::default();
        if !self.expected.gpus().is_empty() {
            families::expected(&mut families, self.expected.gpus(), &[], &self.xids);
        }
        families
    }
}

/// Measures all GPUs once, for those who need no collector.
pub fn measure_once(library: Option<PathBuf>) -> anyhow::Result<Vec<GpuSample>> {
    let mut rounds = Rounds::start(library, Extras::default())?;
    let counted = rounds.count()?;
    let answers = rounds.ask(&counted)?;
    let sample = |answer| match answer {
        Answer::Sample(gpu) => Some(*gpu),
        Answer::Lost(_) | Answer::Hung => None,
    };
    Ok(answers.into_iter().filter_map(sample).collect())
}
