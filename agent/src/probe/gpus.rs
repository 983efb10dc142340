//! The GPUs of this machine: those that answer, those that it has had, and what slots that makes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use pictor_blender::Device;
use pictor_measure::nvml::{self, GpuSample, Missing, MissingGpu};

use crate::devices::DeviceChoice;

/// How long a driver may take to show its GPUs; until then nobody knows what slots there are.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// What the owner wants to render on. Where that is the CPU alone, nobody looked.
    pub choice: DeviceChoice,
    /// Those that answer.
    pub visible: Vec<GpuSample>,
    /// Those that this machine has had and that do not answer, as they were.
    pub remembered: Vec<GpuSample>,
    /// Why there is none to see, where that is known.
    pub silence: Option<Silence>,
}

/// What kept NVML from showing GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    Error(String),
    NoAnswer,
}

impl Inventory {
    pub(super) async fn look(choice: DeviceChoice, library: Option<PathBuf>, data: &Path) -> Inventory {
        if choice == DeviceChoice::Cpu {
            return Inventory { choice, ..Inventory::default() };
        }
        let measuring = tokio::task::spawn_blocking(move || nvml::measure_once(library));
        let (visible, silence) = match tokio::time::timeout(ANSWER_TIMEOUT, measuring).await {
            Ok(Ok(Ok(visible))) => (visible, None),
            Ok(Ok(Err(error))) => (Vec::new(), Some(Silence::Error(format!("{error:#}")))),
            Ok(Err(_)) | Err(_) => (Vec::new(), Some(Silence::NoAnswer)),
        };
        let remembered = nvml::remembered(data, &visible);
        Inventory { choice, visible, remembered, silence }
    }

    /// The remembered ones, as a running agent's findings name them.
    pub fn missing(&self) -> Vec<MissingGpu> {
        let missing = |gpu: &GpuSample| MissingGpu {
            uuid: gpu.uuid.clone(),
            index: gpu.index,
            reason: Missing::Absent,
        };
        self.remembered.iter().map(missing).collect()
    }

    /// What is rendered on: a slot for each. What slots there are depends on what GPUs there are, and on those there
    /// were: a driver that is late, or a GPU that fell off the bus, must not make this a machine without GPUs.
    pub fn devices(&self) -> Vec<Device> {
        let mut gpus: Vec<_> = self.visible.iter().chain(&self.remembered).collect();
        gpus.sort_by_key(|gpu| gpu.index);
        let device = |gpu: &GpuSample| Device::Gpu {
            minor: gpu.minor.unwrap_or(gpu.index),
            index: gpu.index,
            uuid: gpu.uuid.clone(),
        };
        match self.choice {
            DeviceChoice::Cpu => vec![Device::Cpu],
            DeviceChoice::Auto if gpus.is_empty() => vec![Device::Cpu],
            DeviceChoice::Auto | DeviceChoice::Gpu => gpus.into_iter().map(device).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(uuid: &str, index: u32) -> GpuSample {
        GpuSample { uuid: uuid.to_owned(), index, ..GpuSample::default() }
    }

    #[test]
    fn slots_are_for_gpus_that_are_there_and_that_were() {
        let of = |choice, visible, remembered| {
            let devices = Inventory { choice, visible, remembered, silence: None }.devices();
            devices.iter().map(|device| device.gpu_uuid().unwrap_or("CPU").to_owned()).collect::<Vec<_>>()
        };
        use DeviceChoice::{Auto, Cpu, Gpu};
        assert_eq!(of(Auto, vec![gpu("b", 1)], vec![gpu("a", 0)]), ["a", "b"]);
        assert_eq!(of(Gpu, vec![], vec![gpu("a", 0)]), ["a"], "it may come back");
        assert_eq!(of(Auto, vec![], vec![]), ["CPU"]);
        assert!(of(Gpu, vec![], vec![]).is_empty());
        assert_eq!(of(Cpu, vec![], vec![]), ["CPU"]);
    }
}
