//! The machine without its GPUs: processor, memory, disks, network, temperatures.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use pictor_family::families;
use sysinfo::{
    Components, CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, RefreshKind, System,
};
use tokio::sync::watch;

use super::{
    agent_process::AgentProcess,
    exposition::{Collector, Families, Row, float},
    settings::Settings,
};

/// As this collector is called.
pub const NAME: &str = "host";

families! {
    pub FAMILIES:
    /// The agent and the machine it runs on.
    WORKER = gauge("pictor_worker_info", ["version", "os", "kernel", "hostname"]);
    /// Use of all cores.
    CPU = gauge("pictor_cpu_utilization_ratio", []);
    /// Use of one core.
    CORE = gauge("pictor_cpu_core_utilization_ratio", ["cpu"]);
    /// What the processor's sensors say.
    CPU_TEMPERATURE = gauge("pictor_cpu_temperature_celsius", ["sensor"]);
    /// The machine's memory.
    MEMORY_TOTAL = gauge("pictor_memory_total_bytes", []);
    /// Memory in use.
    MEMORY_USED = gauge("pictor_memory_used_bytes", []);
    /// Memory that programs can still get.
    MEMORY_AVAILABLE = gauge("pictor_memory_available_bytes", []);
    /// The machine's swap space.
    SWAP_TOTAL = gauge("pictor_swap_total_bytes", []);
    /// Swap space in use.
    SWAP_USED = gauge("pictor_swap_used_bytes", []);
    /// Programs that run or wait to run, averaged over 1m, 5m or 15m.
    LOAD = gauge("pictor_load_average", ["period"]);
    /// When the machine was started.
    BOOTED = gauge("pictor_boot_timestamp_seconds", []);
    /// Size of a file system.
    DISK_TOTAL = gauge("pictor_disk_total_bytes", ["mount"]);
    /// What is free on a file system.
    DISK_FREE = gauge("pictor_disk_free_bytes", ["mount"]);
    /// Bytes over a network device.
    NETWORK = counter("pictor_network_bytes_total", ["device", "direction"]);
}

/// Label and help of one sensor that measures the processor, by how its drivers name it.
const CPU_SENSORS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu", "Tctl"];

/// Disks and sensors change slowly, and asking some of them costs milliseconds.
const SLOW_INTERVAL: Duration = Duration::from_secs(10);

/// What heartbeats tell of the machine.
#[derive(Debug, Clone, Default)]
pub struct HostSample {
    pub cpu_name: Option<String>,
    pub cpu_cores: Option<u32>,
    /// `None` until two measurements lie far enough apart.
    pub cpu_utilization_ratio: Option<f64>,
    pub cpu_temperature_celsius: Option<f64>,
    pub memory_total_bytes: u64,
    pub memory_used_bytes: u64,
}

pub struct Host {
    interval: Duration,
    publish: watch::Sender<Option<HostSample>>,
    version: &'static str,
    hostname: String,
    os: String,
    kernel: String,
    booted_seconds: Option<f64>,
    itself: AgentProcess,
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    slow_measured: Option<Instant>,
    measured_before: bool,
}

impl Host {
    pub fn new(
        settings: &Settings,
        publish: watch::Sender<Option<HostSample>>,
        version: &'static str,
        hostname: String,
        os: String,
    ) -> anyhow::Result<Self> {
        let cpu = CpuRefreshKind::nothing().with_usage();
        let what = RefreshKind::nothing().with_cpu(cpu).with_memory(MemoryRefreshKind::everything());
        Ok(Self {
            interval: settings.host_interval,
            publish,
            version,
            hostname,
            os,
            kernel: System::kernel_version().unwrap_or_default(),
            booted_seconds: System::boot_time().ok().map(float),
            itself: AgentProcess::new()?,
            system: System::new_with_specifics(what).context("this system cannot be measured")?,
            disks: Disks::new()?,
            networks: Networks::new()?,
            components: Components::new()?,
            slow_measured: None,
            measured_before: false,
        })
    }

    fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::everything());
        self.networks.refresh(true);
        if self.slow_measured.is_none_or(|measured| measured.elapsed() >= SLOW_INTERVAL) {
            self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
            self.components.refresh(true);
            self.slow_measured = Some(Instant::now());
        }
    }

    fn sample(&self) -> HostSample {
        let cpus = self.system.cpus();
        HostSample {
            cpu_name: cpus.first().map(|cpu| cpu.brand().trim().to_owned()).filter(|name| !name.is_empty()),
            cpu_cores: u32::try_from(cpus.len()).ok().filter(|cores| *cores > 0),
            cpu_utilization_ratio: self
                .measured_before
                .then(|| f64::from(self.system.global_cpu_usage()) / 100.0),
            cpu_temperature_celsius: self
                .cpu_temperatures()
                .into_iter()
                .map(|(_, celsius)| celsius)
                .reduce(f64::max),
            memory_total_bytes: self.system.total_memory(),
            memory_used_bytes: self.system.used_memory(),
        }
    }

    /// Several sensors can bear one label: the hottest speaks for it.
    fn cpu_temperatures(&self) -> Vec<(String, f64)> {
        let mut hottest = BTreeMap::new();
        for component in &self.components {
            let label = component.label();
            let is_cpu = CPU_SENSORS.iter().any(|name| label.contains(name));
            if let Some(celsius) = component.temperature().filter(|celsius| is_cpu && celsius.is_finite()) {
                let kept = hottest.entry(label.to_owned()).or_insert(f64::MIN);
                *kept = f64::max(*kept, celsius.into());
            }
        }
        hottest.into_iter().collect()
    }

    fn processor(&self, families: &mut Families, sample: &HostSample) {
        families.value(&CPU, sample.cpu_utilization_ratio);
        let cores = (0_u32..).zip(self.system.cpus()).filter(|_| self.measured_before);
        families.rows(
            &CORE,
            cores.map(|(number, cpu)| (vec![number.to_string()], f64::from(cpu.usage()) / 100.0)),
        );
        families.rows(
            &CPU_TEMPERATURE,
            self.cpu_temperatures().into_iter().map(|(sensor, celsius)| (vec![sensor], celsius)),
        );
    }

    fn memory(&self, families: &mut Families) {
        for (family, bytes) in [
            (&MEMORY_TOTAL, self.system.total_memory()),
            (&MEMORY_USED, self.system.used_memory()),
            (&MEMORY_AVAILABLE, self.system.available_memory()),
            (&SWAP_TOTAL, self.system.total_swap()),
            (&SWAP_USED, self.system.used_swap()),
        ] {
            families.value(family, Some(float(bytes)));
        }
    }

    fn load(&self, families: &mut Families) {
        if let Ok(load) = System::load_average() {
            let averages = [("1m", load.one), ("5m", load.five), ("15m", load.fifteen)];
            families.rows(&LOAD, averages.map(|(period, average)| (vec![period.to_owned()], average)));
        }
        families.value(&BOOTED, self.booted_seconds);
    }

    fn disks(&self, families: &mut Families) {
        // Containers mount one file system in many places, some with the same name.
        let mut mounts = BTreeMap::new();
        for disk in self.disks.iter().filter(|disk| disk.total_space() > 0) {
            let mount = disk.mount_point().to_string_lossy().into_owned();
            mounts.insert(mount, (disk.total_space(), disk.available_space()));
        }
        let rows = |pick: fn(&(u64, u64)) -> u64| -> Vec<Row> {
            mounts.iter().map(|(mount, sizes)| (vec![mount.clone()], float(pick(sizes)))).collect()
        };
        families.rows(&DISK_TOTAL, rows(|sizes| sizes.0));
        families.rows(&DISK_FREE, rows(|sizes| sizes.1));
    }

    fn network(&self, families: &mut Families) {
        let mut rows = Vec::new();
        let devices: BTreeMap<_, _> = self.networks.iter().collect();
        for (device, data) in devices {
            let counts = [("rx", data.total_received()), ("tx", data.total_transmitted())];
            rows.extend(counts.map(|(way, bytes)| {
                (vec![device.to_string_lossy().into_owned(), way.to_owned()], float(bytes))
            }));
        }
        families.rows(&NETWORK, rows);
    }
}

impl Collector for Host {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interval(&self) -> Duration {
        // Its first measurement knows no utilization; the second need not wait as long.
        if self.measured_before { self.interval } else { self.interval.min(Duration::from_secs(1)) }
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        self.refresh();
        let sample = self.sample();
        let mut families = Families::default();
        let worker = [self.version, &self.os, &self.kernel, &self.hostname].map(str::to_owned).to_vec();
        families.rows(&WORKER, [(worker, 1.0)]);
        self.processor(&mut families, &sample);
        self.memory(&mut families);
        self.load(&mut families);
        self.disks(&mut families);
        self.network(&mut families);
        self.itself.measure(&mut families);
        self.publish.send_replace(Some(sample));
        self.measured_before = true;
        Ok(families)
    }
}
