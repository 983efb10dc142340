//! What is known of one GPU.

/// A value of one kind, by its label.
pub(super) type Part = (&'static str, f64);

/// One GPU, measured once. What it does not support is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuSample {
    pub uuid: String,
    pub index: u32,
    /// Names the device node; not always the index.
    pub minor: Option<u32>,
    pub name: Option<String>,
    pub driver_version: Option<String>,
    pub pci_bus_id: Option<String>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    pub memory_reserved_bytes: Option<u64>,
    pub utilization_ratio: Option<f64>,
    pub memory_utilization_ratio: Option<f64>,
    pub encoder_utilization_ratio: Option<f64>,
    pub decoder_utilization_ratio: Option<f64>,
    pub temperature_celsius: Option<f64>,
    pub memory_temperature_celsius: Option<f64>,
    /// By threshold.
    pub temperature_thresholds_celsius: Vec<Part>,
    pub power_average_watts: Option<f64>,
    pub power_instant_watts: Option<f64>,
    pub power_limit_watts: Option<f64>,
    /// As all counters here, it goes on rising when the GPU is reset.
    pub energy_joules: Option<f64>,
    /// By fan, from 0.
    pub fan_speed_ratios: Vec<(u32, f64)>,
    /// By clock.
    pub clocks_hertz: Vec<Part>,
    pub clocks_max_hertz: Vec<Part>,
    pub performance_state: Option<u32>,
    /// The names of those in force, as in [`super::gpu::THROTTLE_REASONS`]; `None` when that is not known.
    pub throttle_reasons: Option<Vec<&'static str>>,
    /// By reason.
    pub throttle_seconds: Vec<Part>,
    /// By severity and scope.
    pub ecc_errors: Vec<(&'static str, &'static str, f64)>,
    /// By cause.
    pub remapped_rows: Vec<Part>,
    pub remapped_rows_pending: Option<f64>,
    pub remapped_rows_failed: Option<f64>,
    /// By cause.
    pub retired_pages: Vec<Part>,
    pub retired_pages_pending: Option<bool>,
    pub pcie_link_generation: Option<u32>,
    pub pcie_link_generation_max: Option<u32>,
    pub pcie_link_width: Option<u32>,
    pub pcie_link_width_max: Option<u32>,
    pub pcie_replays: Option<f64>,
    /// By direction, when asked for.
    pub pcie_bytes: Vec<Part>,
    pub processes: Option<u32>,
    /// When asked for.
    pub process_memory: Vec<ProcessMemory>,
    pub recovery_action: Option<f64>,
}

/// The GPU memory of one program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessMemory {
    pub pid: u32,
    /// Without its folder; empty if it cannot be known.
    pub name: String,
    pub bytes: u64,
}
