//! What this machine renders on: a slot for each.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use pictor_blender::Device;
use pictor_measure::nvml::{self, GpuSample};
use serde::Deserialize;

/// How long a driver may take to show its GPUs; until then nobody knows what slots there are.
const GPUS_TIMEOUT: Duration = Duration::from_secs(20);

/// What slots there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// One slot for each GPU that NVML shows, or one for the CPU when it shows none.
    #[default]
    Auto,
    Cpu,
    Gpu,
}

/// `[blender]` of the config file, as written: which one, and on what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub path: Option<PathBuf>,
    #[serde(default)]
    pub device: DeviceChoice,
}

/// What slots there are depends on what GPUs there are, and on those there were: a driver that is late, or a GPU that
/// fell off the bus, must not make this a machine without GPUs.
pub async fn find(choice: DeviceChoice, nvml_library: Option<PathBuf>, data: &Path) -> Vec<Device> {
    if choice == DeviceChoice::Cpu {
        return vec![Device::Cpu];
    }
    let measuring = tokio::task::spawn_blocking(move || nvml::measure_once(nvml_library));
    let mut gpus: Vec<GpuSample> = match tokio::time::timeout(GPUS_TIMEOUT, measuring).await {
        Ok(Ok(Ok(gpus))) => gpus,
        Ok(Ok(Err(error))) => {
            tracing::info!("no GPU to render on: {error:#}");
            Vec::new()
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("NVML does not answer");
            Vec::new()
        }
    };
    gpus.extend(nvml::remembered(data, &gpus));
    gpus.sort_by_key(|gpu| gpu.index);
    let device = |gpu: GpuSample| Device::Gpu {
        minor: gpu.minor.unwrap_or(gpu.index),
        index: gpu.index,
        uuid: gpu.uuid,
    };
    match gpus.is_empty() {
        true if choice == DeviceChoice::Auto => vec![Device::Cpu],
        _ => gpus.into_iter().map(device).collect(),
    }
}
