//! What this machine may render on, as its owner wants it.

use std::path::PathBuf;

use serde::Deserialize;

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
