//! NVIDIA GPUs through NVML. Without NVML there are no GPU series at all.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use nvml_wrapper::{
    Device,
    enum_wrappers::device::{Clock, TemperatureSensor},
    error::NvmlError,
};
use pictor_protocol::Family;
use tokio::sync::watch;

use super::{Collector, Families, Row, float};
use crate::config::MetricsConfig;

const VISIBLE: Family = Family::gauge("pictor_gpus_visible", &[], "GPUs that NVML shows.");
const INFO: Family = Family::gauge(
    "pictor_gpu_info",
    &["uuid", "gpu", "name", "driver_version", "pci_bus_id"],
    "What a GPU is.",
);
const ENERGY: Family = Family::counter(
    "pictor_gpu_energy_joules_total",
    &["uuid", "gpu"],
    "Energy the GPU has used since its driver was loaded.",
);
const TEMPERATURE: Family =
    Family::gauge("pictor_gpu_temperature_celsius", &["uuid", "gpu", "sensor"], "Temperature.");
const POWER: Family =
    Family::gauge("pictor_gpu_power_watts", &["uuid", "gpu", "type"], "Power: used, and the limit in force.");
const CLOCK: Family = Family::gauge("pictor_gpu_clock_hertz", &["uuid", "gpu", "clock"], "Clock now.");
const CLOCK_MAX: Family =
    Family::gauge("pictor_gpu_clock_max_hertz", &["uuid", "gpu", "clock"], "Fastest clock.");
const FAN: Family = Family::gauge(
    "pictor_gpu_fan_speed_ratio",
    &["uuid", "gpu", "fan"],
    "Fan speed over its full speed, as intended.",
);
const UTILIZATION_RATIO: Family =
    Family::gauge("pictor_gpu_utilization_ratio", &["uuid", "gpu"], "Time in which a kernel ran.");
const MEMORY_UTILIZATION_RATIO: Family = Family::gauge(
    "pictor_gpu_memory_utilization_ratio",
    &["uuid", "gpu"],
    "Time in which the memory was read or written.",
);
const ENCODER_UTILIZATION_RATIO: Family =
    Family::gauge("pictor_gpu_encoder_utilization_ratio", &["uuid", "gpu"], "Use of the video encoder.");
const DECODER_UTILIZATION_RATIO: Family =
    Family::gauge("pictor_gpu_decoder_utilization_ratio", &["uuid", "gpu"], "Use of the video decoder.");
const MEMORY_TOTAL_BYTES: Family =
    Family::gauge("pictor_gpu_memory_total_bytes", &["uuid", "gpu"], "The GPU's memory.");
const MEMORY_USED_BYTES: Family =
    Family::gauge("pictor_gpu_memory_used_bytes", &["uuid", "gpu"], "GPU memory in use.");
const MEMORY_FREE_BYTES: Family =
    Family::gauge("pictor_gpu_memory_free_bytes", &["uuid", "gpu"], "GPU memory that is free.");
const MEMORY_RESERVED_BYTES: Family =
    Family::gauge("pictor_gpu_memory_reserved_bytes", &["uuid", "gpu"], "GPU memory that the driver keeps.");
const PERFORMANCE_STATE: Family =
    Family::gauge("pictor_gpu_performance_state", &["uuid", "gpu"], "P-state: 0 is the fastest.");
const PCIE_LINK_GENERATION: Family =
    Family::gauge("pictor_gpu_pcie_link_generation", &["uuid", "gpu"], "PCIe generation in use.");
const PCIE_LINK_WIDTH: Family =
    Family::gauge("pictor_gpu_pcie_link_width", &["uuid", "gpu"], "PCIe lanes in use.");
const PROCESSES: Family =
    Family::gauge("pictor_gpu_processes", &["uuid", "gpu"], "Programs that compute on the GPU.");
pub const FAMILIES: [Family; 20] = [
    VISIBLE,
    INFO,
    ENERGY,
    TEMPERATURE,
    POWER,
    CLOCK,
    CLOCK_MAX,
    FAN,
    UTILIZATION_RATIO,
    MEMORY_UTILIZATION_RATIO,
    ENCODER_UTILIZATION_RATIO,
    DECODER_UTILIZATION_RATIO,
    MEMORY_TOTAL_BYTES,
    MEMORY_USED_BYTES,
    MEMORY_FREE_BYTES,
    MEMORY_RESERVED_BYTES,
    PERFORMANCE_STATE,
    PCIE_LINK_GENERATION,
    PCIE_LINK_WIDTH,
    PROCESSES,
];

/// A driver installed meanwhile is found after this long.
const LOAD_AGAIN: Duration = Duration::from_secs(60);
/// What NVML says for "not supported" where it has no error for it.
const UNKNOWN: u64 = 0x7fff_ffff_ffff_fffe;

/// One GPU, measured once. What it does not support is `None`.
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
    pub power_average_watts: Option<f64>,
    pub power_limit_watts: Option<f64>,
    pub energy_joules: Option<f64>,
    /// By fan, from 0.
    pub fan_speed_ratios: Vec<f64>,
    /// By clock.
    pub clocks_hertz: Vec<(&'static str, f64)>,
    pub clocks_max_hertz: Vec<(&'static str, f64)>,
    pub performance_state: Option<u32>,
    pub pcie_link_generation: Option<u32>,
    pub pcie_link_width: Option<u32>,
    pub processes: Option<u32>,
}

enum Library {
    Loaded(Box<nvml_wrapper::Nvml>),
    /// Why not, and when that was.
    Absent(String, Instant),
}

pub struct Nvml {
    path: Option<PathBuf>,
    interval: Duration,
    publish: watch::Sender<Option<Vec<GpuSample>>>,
    library: Option<Library>,
}

impl Nvml {
    pub fn new(config: &MetricsConfig, publish: watch::Sender<Option<Vec<GpuSample>>>) -> Self {
        Self { path: config.nvml_library.clone(), interval: config.gpu_interval, publish, library: None }
    }

    /// Loaded once: each loading again would cost a file descriptor for good.
    fn library(&mut self) -> anyhow::Result<&nvml_wrapper::Nvml> {
        let load_again = match &self.library {
            None => true,
            Some(Library::Absent(_, at)) => at.elapsed() > LOAD_AGAIN,
            Some(Library::Loaded(_)) => false,
        };
        if load_again {
            self.library = Some(match load(self.path.as_deref()) {
                Ok(nvml) => Library::Loaded(Box::new(nvml)),
                Err(error) => Library::Absent(error.to_string(), Instant::now()),
            });
        }
        match &self.library {
            Some(Library::Loaded(nvml)) => Ok(nvml),
            Some(Library::Absent(reason, _)) => Err(anyhow!("NVML is not there: {reason}")),
            None => Err(anyhow!("NVML is not loaded")),
        }
    }
}

impl Collector for Nvml {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        let measured = self.library().and_then(measure);
        let samples = match measured {
            Ok(samples) => samples,
            Err(error) => {
                self.publish.send_replace(Some(Vec::new()));
                return Err(error);
            }
        };
        let families = families(&samples);
        self.publish.send_replace(Some(samples));
        Ok(families)
    }
}

/// Measures all GPUs once, for those who need no collector.
pub fn measure_once(library: Option<&std::path::Path>) -> anyhow::Result<Vec<GpuSample>> {
    let nvml = load(library).map_err(|error| anyhow!("NVML is not there: {error}"))?;
    measure(&nvml)
}

fn load(path: Option<&std::path::Path>) -> Result<nvml_wrapper::Nvml, NvmlError> {
    match path {
        Some(path) => nvml_wrapper::Nvml::builder().lib_path(path.as_os_str()).init(),
        None => nvml_wrapper::Nvml::init(),
    }
}

fn measure(nvml: &nvml_wrapper::Nvml) -> anyhow::Result<Vec<GpuSample>> {
    let count = nvml.device_count().context("NVML cannot count GPUs")?;
    let driver_version = nvml.sys_driver_version().ok();
    let mut samples = Vec::new();
    for index in 0..count {
        // One that has fallen off the bus must not hide the others.
        match nvml.device_by_index(index).and_then(|device| sample(&device, index)) {
            Ok(sample) => samples.push(GpuSample { driver_version: driver_version.clone(), ..sample }),
            Err(error) => tracing::debug!(index, %error, "a GPU cannot be measured"),
        }
    }
    Ok(samples)
}

fn sample(device: &Device<'_>, index: u32) -> Result<GpuSample, NvmlError> {
    let memory = device.memory_info().ok();
    let utilization = device.utilization_rates().ok();
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1_000.0;
    Ok(GpuSample {
        uuid: device.uuid()?,
        index,
        minor: device.minor_number().ok(),
        name: device.name().ok(),
        driver_version: None,
        pci_bus_id: device.pci_info().ok().map(|pci| pci.bus_id.to_lowercase()),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_free_bytes: memory.as_ref().map(|memory| memory.free),
        memory_reserved_bytes: memory.as_ref().map(|memory| memory.reserved),
        utilization_ratio: utilization.as_ref().map(|use_| percent(use_.gpu)),
        memory_utilization_ratio: utilization.as_ref().map(|use_| percent(use_.memory)),
        encoder_utilization_ratio: device.encoder_utilization().ok().map(|use_| percent(use_.utilization)),
        decoder_utilization_ratio: device.decoder_utilization().ok().map(|use_| percent(use_.utilization)),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        power_average_watts: device.power_usage().ok().map(watts),
        power_limit_watts: device.enforced_power_limit().ok().map(watts),
        energy_joules: device
            .total_energy_consumption()
            .ok()
            .filter(|millijoules| *millijoules < UNKNOWN)
            .map(|millijoules| float(millijoules) / 1_000.0),
        fan_speed_ratios: (0..device.num_fans().unwrap_or(0))
            .map_while(|fan| device.fan_speed(fan).ok().map(percent))
            .collect(),
        clocks_hertz: clocks(|clock| device.clock_info(clock)),
        clocks_max_hertz: clocks(|clock| device.max_clock_info(clock)),
        // 32 is NVML's word for unknown.
        performance_state: device
            .performance_state()
            .ok()
            .map(|state| state.as_c())
            .filter(|state| *state < 16),
        pcie_link_generation: device.current_pcie_link_gen().ok(),
        pcie_link_width: device.current_pcie_link_width().ok(),
        processes: device.running_compute_processes_count().ok(),
    })
}

fn percent(value: u32) -> f64 {
    f64::from(value) / 100.0
}

fn clocks(read: impl Fn(Clock) -> Result<u32, NvmlError>) -> Vec<(&'static str, f64)> {
    [("graphics", Clock::Graphics), ("sm", Clock::SM), ("memory", Clock::Memory), ("video", Clock::Video)]
        .into_iter()
        .filter_map(|(name, clock)| Some((name, f64::from(read(clock).ok()?) * 1e6)))
        .collect()
}

fn families(samples: &[GpuSample]) -> Families {
    let mut families = Families::default();
    let visible = float(u64::try_from(samples.len()).unwrap_or(0));
    families.value(&VISIBLE, Some(visible));
    let known = |value: &Option<String>| value.clone().unwrap_or_default();
    families.rows(
        &INFO,
        samples.iter().map(|gpu| {
            let what = [known(&gpu.name), known(&gpu.driver_version), known(&gpu.pci_bus_id)];
            (identity(gpu).into_iter().chain(what).collect(), 1.0)
        }),
    );
    for (family, read) in SINGLE {
        families.rows(&family, samples.iter().filter_map(|gpu| Some((identity(gpu), read(gpu)?))));
    }
    families.rows(&ENERGY, samples.iter().filter_map(|gpu| Some((identity(gpu), gpu.energy_joules?))));
    let temperature = |gpu: &GpuSample| Vec::from_iter(gpu.temperature_celsius.map(|value| ("gpu", value)));
    let power = |gpu: &GpuSample| {
        let parts = [("average", gpu.power_average_watts), ("limit", gpu.power_limit_watts)];
        parts.into_iter().filter_map(|(part, value)| Some((part, value?))).collect()
    };
    labelled(&mut families, samples, &TEMPERATURE, temperature);
    labelled(&mut families, samples, &POWER, power);
    labelled(&mut families, samples, &CLOCK, |gpu| gpu.clocks_hertz.clone());
    labelled(&mut families, samples, &CLOCK_MAX, |gpu| gpu.clocks_max_hertz.clone());
    families.rows(
        &FAN,
        samples.iter().flat_map(|gpu| {
            let fans = (0_u32..).zip(&gpu.fan_speed_ratios);
            fans.map(|(fan, ratio)| (with(gpu, fan.to_string()), *ratio)).collect::<Vec<_>>()
        }),
    );
    families
}

type Reading = (Family, fn(&GpuSample) -> Option<f64>);

/// The families with one value a GPU.
const SINGLE: [Reading; 12] = [
    (UTILIZATION_RATIO, |gpu| gpu.utilization_ratio),
    (MEMORY_UTILIZATION_RATIO, |gpu| gpu.memory_utilization_ratio),
    (ENCODER_UTILIZATION_RATIO, |gpu| gpu.encoder_utilization_ratio),
    (DECODER_UTILIZATION_RATIO, |gpu| gpu.decoder_utilization_ratio),
    (MEMORY_TOTAL_BYTES, |gpu| gpu.memory_total_bytes.map(float)),
    (MEMORY_USED_BYTES, |gpu| gpu.memory_used_bytes.map(float)),
    (MEMORY_FREE_BYTES, |gpu| gpu.memory_free_bytes.map(float)),
    (MEMORY_RESERVED_BYTES, |gpu| gpu.memory_reserved_bytes.map(float)),
    (PERFORMANCE_STATE, |gpu| gpu.performance_state.map(f64::from)),
    (PCIE_LINK_GENERATION, |gpu| gpu.pcie_link_generation.map(f64::from)),
    (PCIE_LINK_WIDTH, |gpu| gpu.pcie_link_width.map(f64::from)),
    (PROCESSES, |gpu| gpu.processes.map(f64::from)),
];

fn labelled(
    families: &mut Families,
    samples: &[GpuSample],
    family: &Family,
    read: impl Fn(&GpuSample) -> Vec<(&'static str, f64)>,
) {
    let rows = samples.iter().flat_map(|gpu| -> Vec<Row> {
        read(gpu).into_iter().map(|(part, value)| (with(gpu, part.to_owned()), value)).collect()
    });
    families.rows(family, rows);
}

fn identity(gpu: &GpuSample) -> Vec<String> {
    vec![gpu.uuid.clone(), gpu.index.to_string()]
}

fn with(gpu: &GpuSample, label: String) -> Vec<String> {
    identity(gpu).into_iter().chain([label]).collect()
}
