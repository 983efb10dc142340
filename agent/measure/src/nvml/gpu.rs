//! One GPU: what is read of it, and how. What it does not support is absent, never 0.

use std::{
    cell::Cell,
    collections::HashMap,
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use nvml_wrapper::{
    Device, Nvml,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{
        Clock, EccCounter, MemoryError, PcieUtilCounter, PerformancePolicy, RetirementCause,
        TemperatureSensor, TemperatureThreshold,
    },
    error::NvmlError,
};

use super::{
    fields::{self, Fields},
    float, processes,
    sample::{GpuSample, Part},
};

/// What changes seldom or never is read this often.
const SELDOM: Duration = Duration::from_secs(10);
/// The fallback for PCIe traffic is a rate; it tells nothing about a longer time.
const RATE_HOLDS: Duration = Duration::from_secs(30);

/// Every reason for lower clocks, by the name that its label has.
pub(super) const THROTTLE_REASONS: [(&str, ThrottleReasons); 9] = [
    ("gpu_idle", ThrottleReasons::GPU_IDLE),
    ("clocks_setting", ThrottleReasons::APPLICATIONS_CLOCKS_SETTING),
    ("sw_power_cap", ThrottleReasons::SW_POWER_CAP),
    ("hw_slowdown", ThrottleReasons::HW_SLOWDOWN),
    ("sync_boost", ThrottleReasons::SYNC_BOOST),
    ("sw_thermal", ThrottleReasons::SW_THERMAL_SLOWDOWN),
    ("hw_thermal", ThrottleReasons::HW_THERMAL_SLOWDOWN),
    ("hw_power_brake", ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
    ("display_clocks", ThrottleReasons::DISPLAY_CLOCK_SETTING),
];

/// What costs more than it tells most owners.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extras {
    pub(super) pcie_throughput: bool,
    pub(super) processes: bool,
}

/// Reads the GPU with one index, again and again.
pub(super) struct Reader {
    index: u32,
    extras: Extras,
    /// By uuid: another source in between would look like a counter's reset.
    sources: HashMap<String, Sources>,
    seldom: Option<Seldom>,
    /// Bytes by direction, added up from rates where the GPU has no counter.
    traffic: Vec<Part>,
    traffic_at: Option<Instant>,
}

/// Where a GPU's counters come from, decided at its first reading.
#[derive(Clone, Copy)]
struct Sources {
    throttle_fields: bool,
    traffic_fields: bool,
}

struct Seldom {
    read_at: Instant,
    fans: u32,
    /// The parts of a sample that change seldom.
    sample: GpuSample,
}

/// Whether a call said that the GPU is lost. The library keeps names and ids of lost GPUs and goes on telling them.
#[derive(Default)]
struct Answers {
    is_lost: Cell<bool>,
}

impl Answers {
    fn known<T>(&self, answer: Result<T, NvmlError>) -> Option<T> {
        if let Err(NvmlError::GpuLost | NvmlError::ResetRequired) = answer {
            self.is_lost.set(true);
        }
        answer.ok()
    }

    /// A 32-bit number, if it is one.
    fn number(&self, answer: Result<u32, NvmlError>) -> Option<u32> {
        self.known(answer).filter(|value| fields::is_number32(*value))
    }

    fn percent(&self, answer: Result<u32, NvmlError>) -> Option<f64> {
        self.known(answer).and_then(percent)
    }

    fn watts(&self, milliwatts: Result<u32, NvmlError>) -> Option<f64> {
        Some(f64::from(self.number(milliwatts)?) / 1_000.0)
    }
}

impl Reader {
    pub(super) fn new(index: u32, extras: Extras) -> Reader {
        Reader { index, extras, sources: HashMap::new(), seldom: None, traffic: Vec::new(), traffic_at: None }
    }

    pub(super) fn read(
        &mut self,
        nvml: &Nvml,
        driver_version: Option<String>,
    ) -> Result<GpuSample, NvmlError> {
        let device = nvml.device_by_index(self.index)?;
        let uuid = device.uuid()?;
        let answers = Answers::default();
        let seldom = match self.seldom.take() {
            Some(seldom) if seldom.sample.uuid == uuid && seldom.read_at.elapsed() < SELDOM => seldom,
            _ => read_seldom(&device, &answers, uuid, self.index),
        };
        let mut gpu = GpuSample { driver_version, ..seldom.sample.clone() };
        let fields = Fields::read(&device, self.extras.pcie_throughput);
        read_load(&device, &answers, &mut gpu);
        read_condition(&device, &answers, seldom.fans, &mut gpu);
        self.seldom = Some(seldom);
        fields.put_into(&mut gpu);
        // What a lost GPU does not tell says nothing about what it has.
        if answers.is_lost.get() {
            return Err(NvmlError::GpuLost);
        }
        let sources = *self.sources.entry(gpu.uuid.clone()).or_insert(Sources {
            throttle_fields: !fields.throttle_seconds().is_empty(),
            traffic_fields: !gpu.pcie_bytes.is_empty(),
        });
        gpu.throttle_seconds = match sources.throttle_fields {
            true => fields.throttle_seconds(),
            false => throttle_seconds(&device, &answers),
        };
        if self.extras.pcie_throughput && !sources.traffic_fields {
            gpu.pcie_bytes = self.add_traffic(&device, &answers);
        }
        if self.extras.processes {
            gpu.process_memory = processes::memory(nvml, &device);
        }
        match answers.is_lost.get() {
            true => Err(NvmlError::GpuLost),
            false => Ok(gpu),
        }
    }

    /// Takes each rate for that of the time since the one before.
    fn add_traffic(&mut self, device: &Device<'_>, answers: &Answers) -> Vec<Part> {
        let directions = [("rx", PcieUtilCounter::Receive), ("tx", PcieUtilCounter::Send)];
        let now = Instant::now();
        let passed = self.traffic_at.replace(now).map_or(Duration::ZERO, |before| now - before);
        let seconds = passed.min(RATE_HOLDS).as_secs_f64();
        for (direction, counter) in directions {
            let Some(kilobytes_a_second) = answers.number(device.pcie_throughput(counter)) else { continue };
            let bytes = (f64::from(kilobytes_a_second) * 1_000.0 * seconds).round();
            match self.traffic.iter_mut().find(|(name, _)| *name == direction) {
                Some((_, total)) => *total += bytes,
                None => self.traffic.push((direction, bytes)),
            }
        }
        self.traffic.clone()
    }
}

fn read_seldom(device: &Device<'_>, answers: &Answers, uuid: String, index: u32) -> Seldom {
    let thresholds = [
        ("shutdown", TemperatureThreshold::Shutdown),
        ("slowdown", TemperatureThreshold::Slowdown),
        ("gpu_max", TemperatureThreshold::GpuMax),
        ("memory_max", TemperatureThreshold::MemoryMax),
    ];
    let pages = [
        ("single_bit", RetirementCause::MultipleSingleBitEccErrors),
        ("double_bit", RetirementCause::DoubleBitEccError),
    ];
    let sample = GpuSample {
        uuid,
        index,
        // There are device nodes on Linux alone.
        #[cfg(target_os = "linux")]
        minor: answers.number(device.minor_number()),
        #[cfg(windows)]
        minor: Some(index),
        name: answers.known(device.name()),
        pci_bus_id: answers.known(device.pci_info()).map(|pci| pci.bus_id.to_lowercase()),
        temperature_thresholds_celsius: thresholds
            .into_iter()
            .filter_map(|(name, which)| {
                // NVML says 0 for some thresholds that do not exist.
                let celsius =
                    answers.number(device.temperature_threshold(which)).filter(|celsius| *celsius > 0);
                Some((name, f64::from(celsius?)))
            })
            .collect(),
        power_limit_watts: answers.watts(device.enforced_power_limit()),
        clocks_max_hertz: clocks(answers, |clock| device.max_clock_info(clock)),
        ecc_errors: ecc_errors(device, answers),
        retired_pages: pages
            .into_iter()
            .filter_map(|(cause, which)| {
                let pages = answers.known(device.retired_pages(which))?.len();
                Some((cause, float(u64::try_from(pages).ok()?)))
            })
            .collect(),
        retired_pages_pending: answers.known(device.are_pages_pending_retired()),
        pcie_link_generation_max: answers.number(device.max_pcie_link_gen()),
        pcie_link_width_max: answers.number(device.max_pcie_link_width()),
        ..GpuSample::default()
    };
    let fans = answers.number(device.num_fans()).unwrap_or(0);
    Seldom { read_at: Instant::now(), fans, sample }
}

fn ecc_errors(device: &Device<'_>, answers: &Answers) -> Vec<(&'static str, &'static str, f64)> {
    let mut errors = Vec::new();
    for (severity, error) in
        [("corrected", MemoryError::Corrected), ("uncorrected", MemoryError::Uncorrected)]
    {
        for (scope, counter) in [("volatile", EccCounter::Volatile), ("aggregate", EccCounter::Aggregate)] {
            let count = answers.known(device.total_ecc_errors(error, counter));
            if let Some(count) = count.filter(|count| fields::is_number64(*count)) {
                errors.push((severity, scope, float(count)));
            }
        }
    }
    errors
}

/// How much the GPU does.
fn read_load(device: &Device<'_>, answers: &Answers, gpu: &mut GpuSample) {
    read_memory(device, answers, gpu);
    let utilization = answers.known(device.utilization_rates());
    gpu.utilization_ratio = utilization.as_ref().and_then(|rates| percent(rates.gpu));
    gpu.memory_utilization_ratio = utilization.and_then(|rates| percent(rates.memory));
    gpu.encoder_utilization_ratio =
        answers.percent(device.encoder_utilization().map(|use_| use_.utilization));
    gpu.decoder_utilization_ratio =
        answers.percent(device.decoder_utilization().map(|use_| use_.utilization));
    gpu.processes = answers.number(device.running_compute_processes_count());
    gpu.clocks_hertz = clocks(answers, |clock| device.clock_info(clock));
    // 32 is NVML's word for unknown.
    gpu.performance_state =
        answers.known(device.performance_state()).map(|state| state.as_c()).filter(|state| *state < 16);
    gpu.pcie_link_generation = answers.number(device.current_pcie_link_gen());
    gpu.pcie_link_width = answers.number(device.current_pcie_link_width());
}

/// How the GPU bears it.
fn read_condition(device: &Device<'_>, answers: &Answers, fans: u32, gpu: &mut GpuSample) {
    gpu.temperature_celsius = answers.number(device.temperature(TemperatureSensor::Gpu)).map(f64::from);
    gpu.power_average_watts = answers.watts(device.power_usage());
    gpu.energy_joules = answers
        .known(device.total_energy_consumption())
        .filter(|millijoules| fields::is_number64(*millijoules))
        .map(|millijoules| float(millijoules) / 1_000.0);
    gpu.fan_speed_ratios = (0..fans)
        .filter_map(|fan| {
            // A fan may run faster than what counts as full speed.
            let percent = answers.number(device.fan_speed(fan)).filter(|percent| *percent <= 1_000)?;
            Some((fan, f64::from(percent) / 100.0))
        })
        .collect();
    gpu.throttle_reasons = answers.known(device.current_throttle_reasons()).map(|mask| {
        let active = THROTTLE_REASONS.iter().filter(|(_, reason)| mask.contains(*reason));
        active.map(|(name, _)| *name).collect()
    });
    gpu.pcie_replays = answers.number(device.pcie_replay_counter()).map(f64::from);
}

fn read_memory(device: &Device<'_>, answers: &Answers, gpu: &mut GpuSample) {
    let number = |bytes: u64| Some(bytes).filter(|bytes| fields::is_number64(*bytes));
    match device.memory_info() {
        Ok(memory) => {
            gpu.memory_total_bytes = number(memory.total);
            gpu.memory_used_bytes = number(memory.used);
            gpu.memory_free_bytes = number(memory.free);
            gpu.memory_reserved_bytes = number(memory.reserved);
        }
        // Drivers before 510 have the older call alone, which counts what they keep as used.
        Err(NvmlError::FailedToLoadSymbol(_)) => {
            if let Some([total, free, used]) = memory_of_old_driver(device) {
                gpu.memory_total_bytes = number(total);
                gpu.memory_free_bytes = number(free);
                gpu.memory_used_bytes = number(used);
            }
        }
        Err(error) => {
            answers.known::<()>(Err(error));
        }
    }
}

/// Total, free and used bytes, through the one call that nvml-wrapper does not wrap.
#[expect(unsafe_code, reason = "a C function, called with the handle and the structure it asks for")]
fn memory_of_old_driver(device: &Device<'_>) -> Option<[u64; 3]> {
    let call = device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref().ok()?;
    let mut memory = MaybeUninit::zeroed();
    // SAFETY: the handle is valid as long as the library is loaded, which is for good; the structure is three numbers,
    // of which all bits zero is a valid value, and the call fills it in.
    let memory = unsafe { (call(device.handle(), memory.as_mut_ptr()) == 0).then(|| memory.assume_init())? };
    Some([memory.total, memory.free, memory.used])
}

/// From the older call, for GPUs without fields of these.
fn throttle_seconds(device: &Device<'_>, answers: &Answers) -> Vec<Part> {
    let policies = [
        ("sw_power_cap", PerformancePolicy::Power),
        ("thermal", PerformancePolicy::Thermal),
        ("sync_boost", PerformancePolicy::SyncBoost),
        ("board_limit", PerformancePolicy::BoardLimit),
        ("reliability", PerformancePolicy::Reliability),
    ];
    let seconds = |(reason, policy)| {
        let nanoseconds = answers.known(device.violation_status(policy))?.violation_time;
        fields::is_number64(nanoseconds).then(|| (reason, float(nanoseconds) / 1e9))
    };
    policies.into_iter().filter_map(seconds).collect()
}

fn percent(value: u32) -> Option<f64> {
    (value <= 100).then(|| f64::from(value) / 100.0)
}

fn clocks(answers: &Answers, read: impl Fn(Clock) -> Result<u32, NvmlError>) -> Vec<Part> {
    [("graphics", Clock::Graphics), ("sm", Clock::SM), ("memory", Clock::Memory), ("video", Clock::Video)]
        .into_iter()
        .filter_map(|(name, clock)| Some((name, f64::from(answers.number(read(clock))?) * 1e6)))
        .collect()
}
