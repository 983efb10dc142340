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
mod sample;
mod xid;

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    exposition::{Collector, Families, Row, float},
    settings::Settings,
};
use expected::Expected;
use gpu::Extras;
use monotonic::Counters;
use pace::Pace;
use round::{Answer, Rounds};
use xid::Xids;

pub use expected::{forget, missing, remembered};
pub use families::FAMILIES;
pub use sample::{GpuSample, ProcessMemory};
pub use xid::XidEvent;

/// As this collector is called.
pub const NAME: &str = "nvml";

/// The machine's GPUs as last measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gpus {
    /// Those that answer.
    pub visible: Vec<GpuSample>,
    /// Those that this machine has had and that do not answer.
    pub missing: Vec<MissingGpu>,
    /// The last error of each kind and GPU since the agent started.
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

/// A driver may be slow for a moment: that is no reason to take a GPU for lost.
const HUNG_ROUNDS: u32 = 3;
/// What a slow GPU is given before it is asked again, when the agent starts.
const SLOW_PAUSE: Duration = Duration::from_secs(1);

pub struct Nvml {
    rounds: Rounds,
    /// Whether there is work for GPUs, which may not have begun to use them.
    is_working: Box<dyn Fn() -> bool + Send>,
    publish: watch::Sender<Option<Gpus>>,
    pace: Pace,
    expected: Expected,
    counters: Counters,
    xids: Xids,
    /// Which GPU last answered at each index.
    uuids: Vec<Option<String>>,
    /// How many rounds each index has not answered.
    hung: Vec<u32>,
    /// How many rounds the driver has not answered.
    failed: u32,
    /// The host's name for DCGM's labels, when those are wanted.
    dcgm_hostname: Option<String>,
}

impl Nvml {
    pub fn new(
        settings: &Settings,
        data: &Path,
        hostname: &str,
        is_working: impl Fn() -> bool + Send + 'static,
        publish: watch::Sender<Option<Gpus>>,
    ) -> anyhow::Result<Self> {
        let extras = Extras { pcie_throughput: settings.pcie_throughput, processes: settings.gpu_processes };
        Ok(Self {
            rounds: Rounds::start(settings.nvml_library.clone(), extras)?,
            is_working: Box::new(is_working),
            publish,
            pace: Pace::new(settings.gpu_interval, settings.gpu_idle_interval),
            expected: Expected::open(data),
            counters: Counters::default(),
            xids: Xids::new(),
            uuids: Vec::new(),
            hung: Vec::new(),
            failed: 0,
            dcgm_hostname: settings.dcgm_names.then(|| hostname.to_owned()),
        })
    }

    fn measure(&mut self) -> anyhow::Result<Gpus> {
        let counted = self.rounds.count()?;
        self.xids.listen(counted.nvml, counted.gpus)?;
        let answers = self.rounds.ask(&counted)?;
        let mut visible = Vec::new();
        let mut reasons = Vec::new();
        self.uuids.resize(answers.len(), None);
        self.hung.resize(answers.len(), 0);
        for (answer, (uuid, hung)) in answers.into_iter().zip(self.uuids.iter_mut().zip(&mut self.hung)) {
            *hung = if matches!(answer, Answer::Hung) { *hung + 1 } else { 0 };
            match answer {
                Answer::Sample(mut gpu) => {
                    self.counters.raise(&mut gpu);
                    *uuid = Some(gpu.uuid.clone());
                    visible.push(*gpu);
                    reasons.push(None);
                }
                Answer::Lost(error) => {
                    tracing::debug!(?uuid, error, "a GPU cannot be read");
                    reasons.push(Some(Missing::Lost));
                }
                Answer::Hung => reasons.push(Some(Missing::Hung)),
            }
        }
        self.expected.see(&visible);
        let missing = self.missing(&visible, &reasons);
        Ok(Gpus { visible, missing, xids: self.xids.latest() })
    }

    /// The reasons stand by index; none is where a GPU answers.
    fn missing(&self, visible: &[GpuSample], reasons: &[Option<Missing>]) -> Vec<MissingGpu> {
        let absent =
            self.expected.gpus().iter().filter(|known| visible.iter().all(|gpu| gpu.uuid != known.uuid));
        absent
            .filter_map(|known| {
                // One that has not answered since the agent started is taken for the one where it last was.
                let seen_at = self.uuids.iter().position(|uuid| uuid.as_ref() == Some(&known.uuid));
                let remembered_at =
                    usize::try_from(known.index).ok().filter(|at| self.uuids.get(*at) == Some(&None));
                let at = seen_at.or(remembered_at);
                let reason = at.and_then(|at| *reasons.get(at)?).unwrap_or(Missing::Absent);
                let is_slow = at.and_then(|at| self.hung.get(at)).is_some_and(|rounds| *rounds < HUNG_ROUNDS);
                let is_missing = reason != Missing::Hung || !is_slow;
                is_missing.then(|| MissingGpu { uuid: known.uuid.clone(), index: known.index, reason })
            })
            .collect()
    }

    /// The driver did not answer at all. Once is no reason to miss every GPU.
    fn publish_failure(&mut self) {
        self.failed += 1;
        // Its owner may have accepted that they are gone.
        self.expected.see(&[]);
        if self.failed >= HUNG_ROUNDS || self.publish.borrow().is_none() {
            let missing = self.missing(&[], &[]);
            self.publish.send_replace(Some(Gpus { visible: Vec::new(), missing, xids: self.xids.latest() }));
        }
    }
}

impl Collector for Nvml {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interval(&self) -> Duration {
        self.pace.interval((self.is_working)(), Instant::now())
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        self.xids.hear();
        let gpus = match self.measure() {
            Ok(gpus) => gpus,
            Err(error) => {
                self.publish_failure();
                return Err(error);
            }
        };
        self.failed = 0;
        let uses = gpus.visible.iter().any(|gpu| gpu.utilization_ratio.is_some_and(|ratio| ratio > 0.0));
        self.pace.saw(uses || (self.is_working)(), Instant::now());
        let mut families = Families::default();
        families::expected(&mut families, self.expected.gpus(), &gpus.visible, &self.xids);
        families::measured(&mut families, &gpus.visible);
        if let Some(hostname) = &self.dcgm_hostname {
            dcgm::measured(&mut families, &gpus.visible, &self.xids, hostname);
        }
        self.publish.send_replace(Some(gpus));
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
    let mut answers = rounds.ask(&counted)?;
    for _ in 1..HUNG_ROUNDS {
        if !answers.iter().any(|answer| matches!(answer, Answer::Hung)) {
            break;
        }
        thread::sleep(SLOW_PAUSE);
        answers = rounds.ask(&counted)?;
    }
    let sample = |(index, answer)| match answer {
        Answer::Sample(gpu) => Some(*gpu),
        Answer::Lost(_) | Answer::Hung => {
            tracing::warn!("GPU {index} does not answer");
            None
        }
    };
    Ok(answers.into_iter().enumerate().filter_map(sample).collect())
}
