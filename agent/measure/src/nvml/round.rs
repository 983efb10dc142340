//! Measures all GPUs at once. Neither one that hangs nor the driver may keep the others waiting.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use nvml_wrapper::Nvml;

use super::{
    asked::Asked,
    gpu::{Extras, Reader},
    library::library,
    sample::GpuSample,
};

/// How long a GPU may take to answer. One that took longer is not waited for again until it has answered.
const DEADLINE: Duration = Duration::from_secs(1);
/// Loading the library initialises every GPU, which can take its time.
const LOADING_DEADLINE: Duration = Duration::from_secs(15);

/// What NVML says of the machine.
#[derive(Clone)]
pub(super) struct Counted {
    pub(super) nvml: &'static Nvml,
    /// GPUs, of which some may be lost.
    pub(super) gpus: u32,
    driver_version: Option<String>,
}

/// What came of asking one GPU.
pub(super) enum Answer {
    Sample(Box<GpuSample>),
    /// NVML counts it and cannot read it.
    Lost(String),
    Hung,
}

type AskedGpu = Asked<Counted, Result<Box<GpuSample>, String>>;

pub(super) struct Rounds {
    extras: Extras,
    counting: Asked<(), Result<Counted, String>>,
    /// As of the last time that the driver answered.
    counted: Option<Counted>,
    /// By index; as many as there ever were.
    gpus: Vec<AskedGpu>,
}

impl Rounds {
    pub(super) fn start(path: Option<PathBuf>, extras: Extras) -> anyhow::Result<Rounds> {
        let count = move |()| {
            let nvml = library(path.as_deref())?;
            let gpus = nvml.device_count().map_err(|error| format!("NVML cannot count GPUs: {error}"))?;
            Ok(Counted { nvml, gpus, driver_version: nvml.sys_driver_version().ok() })
        };
        let counting = Asked::start("gpu-count".to_owned(), count).context("cannot start a thread")?;
        Ok(Rounds { extras, counting, counted: None, gpus: Vec::new() })
    }

    /// Asks each GPU once. The answers stand by index.
    pub(super) fn ask(&mut self, counted: &Counted) -> anyhow::Result<Vec<Answer>> {
        let gpus = usize::try_from(counted.gpus)?;
        for index in self.gpus.len()..gpus {
            self.gpus.push(start(u32::try_from(index)?, self.extras)?);
        }
        let asked = self.gpus.get_mut(..gpus).unwrap_or_default();
        for gpu in asked.iter_mut() {
            gpu.ask(counted.clone());
        }
        let until = Instant::now() + DEADLINE;
        let answer = |gpu: &mut AskedGpu| match gpu.answer(until) {
            Some(Ok(sample)) => Answer::Sample(sample),
            Some(Err(reason)) => Answer::Lost(reason),
            None => Answer::Hung,
        };
        Ok(asked.iter_mut().map(answer).collect())
    }

    /// Loads the library too, unless that is done.
    pub(super) fn count(&mut self) -> anyhow::Result<Counted> {
        self.counting.ask(());
        let patience = if self.counted.is_some() { DEADLINE } else { LOADING_DEADLINE };
        match (self.counting.answer(Instant::now() + patience), &self.counted) {
            (Some(Ok(counted)), _) => {
                self.counted = Some(counted.clone());
                Ok(counted)
            }
            (Some(Err(reason)), _) => Err(anyhow!(reason)),
            // The GPUs may answer though counting them hangs.
            (None, Some(counted)) => Ok(counted.clone()),
            (None, None) => Err(anyhow!("NVML does not answer")),
        }
    }
}

fn start(index: u32, extras: Extras) -> anyhow::Result<AskedGpu> {
    let mut reader = Reader::new(index, extras);
    let read = move |counted: Counted| {
        let read = reader.read(counted.nvml, counted.driver_version);
        read.map(Box::new).map_err(|error| error.to_string())
    };
    Asked::start(format!("gpu-{index}"), read).context("cannot start a thread")
}
