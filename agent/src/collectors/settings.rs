//! `[metrics]` of the config file.

use std::{fmt, path::PathBuf, time::Duration};

use pictor_measure::settings::{self, interval};
use serde::Deserialize;

use super::ALL;

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
    #[serde(default)]
    disabled_collectors: Vec<Name>,
    /// Who may read it all, which is for the server to say.
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub open: bool,
}

/// A collector's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

/// There is none of this name.
#[derive(Debug)]
pub struct UnknownName(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = UnknownName;

    fn try_from(name: String) -> Result<Name, UnknownName> {
        if ALL.iter().any(|entry| entry.name == name) { Ok(Name(name)) } else { Err(UnknownName(name)) }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
        write!(f, "there is no collector `{}`; there are {}", self.0, names.join(", "))
    }
}

/// What was understood.
#[derive(Debug, Clone)]
pub struct Settings {
    pub measured: settings::Settings,
    /// Those that are switched off.
    pub disabled: Vec<Name>,
}

impl Table {
    /// Fails with what is wrong. `nvml_library` is where this system keeps its own.
    pub fn settings(&self, nvml_library: Option<PathBuf>) -> Result<Settings, String> {
        let usual = settings::Settings::default();
        let measured = settings::Settings {
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
        };
        Ok(Settings { measured, disabled: self.disabled_collectors.clone() })
    }
}

fn every(key: &str, seconds: Option<f64>, usual: Duration) -> Result<Duration, String> {
    let Some(seconds) = seconds else { return Ok(usual) };
    interval(seconds).map_err(|range| format!("`{key}` under [metrics] is {seconds}; it can be {range}"))
}
