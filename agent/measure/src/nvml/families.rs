//! The metric families of GPUs.

use pictor_family::{Family, families};

use super::{
    Families, Row,
    expected::Known,
    float,
    gpu::THROTTLE_REASONS,
    sample::{GpuSample, Part},
    xid::Xids,
};

families! {
    pub FAMILIES:
    /// GPUs that answer.
    VISIBLE = gauge("pictor_gpus_visible", []);
    /// GPUs that this machine has had, remembered across restarts until `pictor-agent doctor
    /// --accept-gpus`.
    EXPECTED = gauge("pictor_gpus_expected", []);
    /// Whether an expected GPU answers.
    UP = gauge("pictor_gpu_up", ["uuid", "gpu"]);
    /// What a GPU is.
    INFO = gauge("pictor_gpu_info", ["uuid", "gpu", "name", "driver_version", "pci_bus_id"]);
    /// Time in which a kernel ran.
    UTILIZATION = gauge("pictor_gpu_utilization_ratio", ["uuid", "gpu"]);
    /// Time in which the memory was read or written.
    MEMORY_UTILIZATION = gauge("pictor_gpu_memory_utilization_ratio", ["uuid", "gpu"]);
    /// Use of the video encoder.
    ENCODER_UTILIZATION = gauge("pictor_gpu_encoder_utilization_ratio", ["uuid", "gpu"]);
    /// Use of the video decoder.
    DECODER_UTILIZATION = gauge("pictor_gpu_decoder_utilization_ratio", ["uuid", "gpu"]);
    /// The GPU's memory.
    MEMORY_TOTAL = gauge("pictor_gpu_memory_total_bytes", ["uuid", "gpu"]);
    /// GPU memory in use.
    MEMORY_USED = gauge("pictor_gpu_memory_used_bytes", ["uuid", "gpu"]);
    /// GPU memory that is free.
    MEMORY_FREE = gauge("pictor_gpu_memory_free_bytes", ["uuid", "gpu"]);
    /// GPU memory that the driver keeps. Drivers before 510 count it as used.
    MEMORY_RESERVED = gauge("pictor_gpu_memory_reserved_bytes", ["uuid", "gpu"]);
    /// Temperature.
    TEMPERATURE = gauge("pictor_gpu_temperature_celsius", ["uuid", "gpu", "sensor"]);
    /// Temperatures at which the GPU slows or shuts down, and the hottest that it and its memory should be.
    THRESHOLD = gauge("pictor_gpu_temperature_threshold_celsius", ["uuid", "gpu", "threshold"]);
    /// Power: average of the last second, instant, and the limit in force.
    POWER = gauge("pictor_gpu_power_watts", ["uuid", "gpu", "type"]);
    /// Energy the GPU has used.
    ENERGY = counter("pictor_gpu_energy_joules_total", ["uuid", "gpu"]);
    /// Fan speed over its full speed, as intended.
    FAN = gauge("pictor_gpu_fan_speed_ratio", ["uuid", "gpu", "fan"]);
    /// Clock now.
    CLOCK = gauge("pictor_gpu_clock_hertz", ["uuid", "gpu", "clock"]);
    /// Fastest clock.
    CLOCK_MAX = gauge("pictor_gpu_clock_max_hertz", ["uuid", "gpu", "clock"]);
    /// P-state: 0 is the fastest.
    PERFORMANCE_STATE = gauge("pictor_gpu_performance_state", ["uuid", "gpu"]);
    /// Whether this keeps the clocks from being higher now.
    THROTTLE_ACTIVE = gauge("pictor_gpu_throttle_active", ["uuid", "gpu", "reason"]);
    /// Time for which this kept the clocks lower.
    THROTTLE_SECONDS = counter("pictor_gpu_throttle_seconds_total", ["uuid", "gpu", "reason"]);
    /// Memory errors: since the driver was loaded (volatile), or in the GPU's life (aggregate).
    ECC = counter("pictor_gpu_ecc_errors_total", ["uuid", "gpu", "severity", "scope"]);
    /// Rows of memory replaced after errors.
    REMAPPED_ROWS = gauge("pictor_gpu_remapped_rows", ["uuid", "gpu", "cause"]);
    /// Whether rows wait to be replaced at the next reset.
    REMAPPED_ROWS_PENDING = gauge("pictor_gpu_remapped_rows_pending", ["uuid", "gpu"]);
    /// Whether a row could not be replaced: the GPU should be.
    REMAPPED_ROWS_FAILED = gauge("pictor_gpu_remapped_rows_failed", ["uuid", "gpu"]);
    /// Pages of memory no longer used after errors.
    RETIRED_PAGES = gauge("pictor_gpu_retired_pages", ["uuid", "gpu", "cause"]);
    /// Whether pages wait to be retired at the next reboot.
    RETIRED_PAGES_PENDING = gauge("pictor_gpu_retired_pages_pending", ["uuid", "gpu"]);
    /// Errors the driver announced since the agent started, by NVIDIA's Xid number.
    XID_ERRORS = counter("pictor_gpu_xid_errors_total", ["uuid", "gpu", "xid"]);
    /// When the driver last announced this error.
    XID_LAST = gauge("pictor_gpu_xid_last_timestamp_seconds", ["uuid", "gpu", "xid"]);
    /// PCIe generation in use; lower when idle.
    PCIE_GENERATION = gauge("pictor_gpu_pcie_link_generation", ["uuid", "gpu"]);
    /// Highest PCIe generation of GPU and machine together.
    PCIE_GENERATION_MAX = gauge("pictor_gpu_pcie_link_generation_max", ["uuid", "gpu"]);
    /// PCIe lanes in use.
    PCIE_WIDTH = gauge("pictor_gpu_pcie_link_width", ["uuid", "gpu"]);
    /// Most PCIe lanes of GPU and machine together.
    PCIE_WIDTH_MAX = gauge("pictor_gpu_pcie_link_width_max", ["uuid", "gpu"]);
    /// PCIe packets that had to be sent again.
    PCIE_REPLAYS = counter("pictor_gpu_pcie_replays_total", ["uuid", "gpu"]);
    /// PCIe traffic, received (rx) and sent (tx) by the GPU; with `pcie_throughput = true`. Where the GPU
    /// has no counter, added up from samples of its rate.
    PCIE_BYTES = counter("pictor_gpu_pcie_bytes_total", ["uuid", "gpu", "direction"]);
    /// Programs that compute on the GPU.
    PROCESSES = gauge("pictor_gpu_processes", ["uuid", "gpu"]);
    /// GPU memory of one program; with `gpu_processes = true`.
    PROCESS_MEMORY = gauge("pictor_gpu_process_memory_bytes", ["uuid", "gpu", "pid", "name"]);
    /// What the GPU needs: 0 nothing, 1 a reset, 2 a reboot, 3 peer-to-peer traffic drained, 4 drained and
    /// reset.
    RECOVERY_ACTION = gauge("pictor_gpu_recovery_action", ["uuid", "gpu"]);
}

type Reading = (Family, fn(&GpuSample) -> Option<f64>);

/// The families with one value a GPU.
const SINGLE: [Reading; 20] = [
    (UTILIZATION, |gpu| gpu.utilization_ratio),
    (MEMORY_UTILIZATION, |gpu| gpu.memory_utilization_ratio),
    (ENCODER_UTILIZATION, |gpu| gpu.encoder_utilization_ratio),
    (DECODER_UTILIZATION, |gpu| gpu.decoder_utilization_ratio),
    (MEMORY_TOTAL, |gpu| gpu.memory_total_bytes.map(float)),
    (MEMORY_USED, |gpu| gpu.memory_used_bytes.map(float)),
    (MEMORY_FREE, |gpu| gpu.memory_free_bytes.map(float)),
    (MEMORY_RESERVED, |gpu| gpu.memory_reserved_bytes.map(float)),
    (ENERGY, |gpu| gpu.energy_joules),
    (PERFORMANCE_STATE, |gpu| gpu.performance_state.map(f64::from)),
    (REMAPPED_ROWS_PENDING, |gpu| gpu.remapped_rows_pending),
    (REMAPPED_ROWS_FAILED, |gpu| gpu.remapped_rows_failed),
    (RETIRED_PAGES_PENDING, |gpu| {
        gpu.retired_pages_pending.map(|is_pending| f64::from(u8::from(is_pending)))
    }),
    (PCIE_GENERATION, |gpu| gpu.pcie_link_generation.map(f64::from)),
    (PCIE_GENERATION_MAX, |gpu| gpu.pcie_link_generation_max.map(f64::from)),
    (PCIE_WIDTH, |gpu| gpu.pcie_link_width.map(f64::from)),
    (PCIE_WIDTH_MAX, |gpu| gpu.pcie_link_width_max.map(f64::from)),
    (PCIE_REPLAYS, |gpu| gpu.pcie_replays),
    (PROCESSES, |gpu| gpu.processes.map(f64::from)),
    (RECOVERY_ACTION, |gpu| gpu.recovery_action),
];

type Readings = (Family, fn(&GpuSample) -> Vec<Part>);

/// The families with one more label.
const PARTS: [Readings; 10] = [
    (TEMPERATURE, |gpu| {
        present([("gpu", gpu.temperature_celsius), ("memory", gpu.memory_temperature_celsius)])
    }),
    (THRESHOLD, |gpu| gpu.temperature_thresholds_celsius.clone()),
    (POWER, |gpu| {
        present([
            ("average", gpu.power_average_watts),
            ("instant", gpu.power_instant_watts),
            ("limit", gpu.power_limit_watts),
        ])
    }),
    (CLOCK, |gpu| gpu.clocks_hertz.clone()),
    (CLOCK_MAX, |gpu| gpu.clocks_max_hertz.clone()),
    (THROTTLE_ACTIVE, throttle_active),
    (THROTTLE_SECONDS, |gpu| gpu.throttle_seconds.clone()),
    (REMAPPED_ROWS, |gpu| gpu.remapped_rows.clone()),
    (RETIRED_PAGES, |gpu| gpu.retired_pages.clone()),
    (PCIE_BYTES, |gpu| gpu.pcie_bytes.clone()),
];

/// Of the GPUs that answer.
pub(super) fn measured(families: &mut Families, gpus: &[GpuSample]) {
    let known = |value: &Option<String>| value.clone().unwrap_or_default();
    let info = |gpu: &GpuSample| {
        (labels(gpu, [known(&gpu.name), known(&gpu.driver_version), known(&gpu.pci_bus_id)]), 1.0)
    };
    families.rows(&INFO, gpus.iter().map(info));
    for (family, read) in &SINGLE {
        families.rows(family, gpus.iter().filter_map(|gpu| Some((labels(gpu, []), read(gpu)?))));
    }
    for (family, read) in &PARTS {
        each(families, family, gpus, |gpu| {
            read(gpu).into_iter().map(|(part, value)| (labels(gpu, [part.to_owned()]), value)).collect()
        });
    }
    each(families, &FAN, gpus, |gpu| {
        gpu.fan_speed_ratios.iter().map(|(fan, ratio)| (labels(gpu, [fan.to_string()]), *ratio)).collect()
    });
    each(families, &ECC, gpus, |gpu| {
        let errors = gpu.ecc_errors.iter();
        errors
            .map(|(severity, scope, count)| {
                (labels(gpu, [(*severity).to_owned(), (*scope).to_owned()]), *count)
            })
            .collect()
    });
    each(families, &PROCESS_MEMORY, gpus, |gpu| {
        let processes = gpu.process_memory.iter();
        processes
            .map(|process| {
                (labels(gpu, [process.pid.to_string(), process.name.clone()]), float(process.bytes))
            })
            .collect()
    });
}

/// Of those that should answer, and the errors of all.
pub(super) fn expected(families: &mut Families, expected: &[Known], visible: &[GpuSample], xids: &Xids) {
    let count = |gpus: usize| Some(float(u64::try_from(gpus).unwrap_or(u64::MAX)));
    families.value(&VISIBLE, count(visible.len()));
    families.value(&EXPECTED, count(expected.len()));
    families.rows(
        &UP,
        expected.iter().map(|known| {
            let is_up = visible.iter().any(|gpu| gpu.uuid == known.uuid);
            (vec![known.uuid.clone(), known.index.to_string()], f64::from(u8::from(is_up)))
        }),
    );
    let tallies = || {
        xids.tallies
            .iter()
            .map(|((uuid, xid), tally)| (vec![uuid.clone(), tally.index.to_string(), xid.to_string()], tally))
    };
    families.rows(&XID_ERRORS, tallies().map(|(labels, tally)| (labels, float(tally.count))));
    families.rows(&XID_LAST, tallies().map(|(labels, tally)| (labels, tally.last_seconds)));
}

fn throttle_active(gpu: &GpuSample) -> Vec<Part> {
    let Some(active) = &gpu.throttle_reasons else { return Vec::new() };
    THROTTLE_REASONS.map(|(name, _)| (name, f64::from(u8::from(active.contains(&name))))).into()
}

fn present<const N: usize>(parts: [(&'static str, Option<f64>); N]) -> Vec<Part> {
    parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn each(families: &mut Families, family: &Family, gpus: &[GpuSample], rows: impl Fn(&GpuSample) -> Vec<Row>) {
    families.rows(family, gpus.iter().flat_map(rows));
}

fn labels<const N: usize>(gpu: &GpuSample, more: [String; N]) -> Vec<String> {
    let mut labels = Vec::with_capacity(N + 2);
    labels.extend([gpu.uuid.clone(), gpu.index.to_string()]);
    labels.extend(more);
    labels
}
