//! What is measured, and how often.

use std::{path::PathBuf, time::Duration};

/// Faster than this, measuring costs more than it tells.
const INTERVAL_SECONDS_MIN: f64 = 0.1;
const INTERVAL_SECONDS_MAX: f64 = 3600.0;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Another one than the system's.
    pub nvml_library: Option<PathBuf>,
    pub gpu_interval: Duration,
    /// Once no GPU has had anything to do for a while.
    pub gpu_idle_interval: Duration,
    pub pcie_throughput: bool,
    pub gpu_processes: bool,
    /// GPUs under the names of NVIDIA's DCGM exporter, too.
    pub dcgm_names: bool,
    pub host_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nvml_library: None,
            gpu_interval: Duration::from_secs(1),
            gpu_idle_interval: Duration::from_secs(10),
            pcie_throughput: false,
            gpu_processes: false,
            dcgm_names: false,
            host_interval: Duration::from_secs(1),
        }
    }
}

/// An interval of so many seconds; fails with what there can be.
pub fn interval(seconds: f64) -> Result<Duration, String> {
    if (INTERVAL_SECONDS_MIN..=INTERVAL_SECONDS_MAX).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{INTERVAL_SECONDS_MIN} to {INTERVAL_SECONDS_MAX}"))
    }
}
