//! `[metrics]` of the config file.

use std::{path::PathBuf, time::Duration};

use pictor_measure::settings::{Settings, interval};
use serde::Deserialize;

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    nvml_library: Option<PathBuf>,
    gpu_interval_seconds: Option<f64>,
    gpu_idle_interval_seconds: Option<f64>,
    #[serde(default)]
    pcie_throughput: bool,
    #[serde(default)]
    gpu_processes: bool,
    #[serde(default)]
    dcgm_names: bool,
    host_interval_seconds: Option<f64>,
    /// Who may read it all, which is for the server to say.
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub open: bool,
}

impl Table {
    /// Fails with what is wrong. `nvml_library` is where this system keeps its own.
    pub fn settings(&self, nvml_library: Option<PathBuf>) -> Result<Settings, String> {
        let usual = Settings::default();
        Ok(Settings {
            nvml_library: self.nvml_library.clone().or(nvml_library),
            gpu_interval: every("gpu_interval_seconds", self.gpu_interval_seconds, usual.gpu_interval)?,
            gpu_idle_interval: every(
                "gpu_idle_interval_seconds",
                self.gpu_idle_interval_seconds,
                usual.gpu_idle_interval,
            )?,
            pcie_throughput: self.pcie_throughput,
            gpu_processes: self.gpu_processes,
            dcgm_names: self.dcgm_names,
            host_interval: every("host_interval_seconds", self.host_interval_seconds, usual.host_interval)?,
        })
    }
}

fn every(key: &str, seconds: Option<f64>, usual: Duration) -> Result<Duration, String> {
    let Some(seconds) = seconds else { return Ok(usual) };
    interval(seconds).map_err(|range| format!("`{key}` under [metrics] is {seconds}; it can be {range}"))
}
