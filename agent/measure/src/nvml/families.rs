//! The metric families of GPUs.

use pictor_family::Family;

use super::{
    Families, Row,
    expected::Known,
    float,
    gpu::THROTTLE_REASONS,
    sample::{GpuSample, Part},
    xid::Xids,
};

const GPU: &[&str] = &["uuid", "gpu"];

const VISIBLE: Family = Family::gauge("pictor_gpus_visible", &[], "GPUs that answer.");
const EXPECTED: Family = Family::gauge(
    "pictor_gpus_expected",
    &[],
    "GPUs that this machine has had, remembered across restarts until `pictor-agent doctor --accept-gpus`.",
);
const UP: Family = Family::gauge("pictor_gpu_up", GPU, "Whether an expected GPU answers.");
const INFO: Family = Family::gauge(
    "pictor_gpu_info",
    &["uuid", "gpu", "name", "driver_version", "pci_bus_id"],
    "What a GPU is.",
);
const UTILIZATION: Family = Family::gauge("pictor_gpu_utilization_ratio", GPU, "Time in which a kernel ran.");
const MEMORY_UTILIZATION: Family = Family::gauge(
    "pictor_gpu_memory_utilization_ratio",
    GPU,
    "Time in which the memory was read or written.",
);
const ENCODER_UTILIZATION: Family =
    Family::gauge("pictor_gpu_encoder_utilization_ratio", GPU, "Use of the video encoder.");
const DECODER_UTILIZATION: Family =
    Family::gauge("pictor_gpu_decoder_utilization_ratio", GPU, "Use of the video decoder.");
const MEMORY_TOTAL: Family = Family::gauge("pictor_gpu_memory_total_bytes", GPU, "The GPU's memory.");
const MEMORY_USED: Family = Family::gauge("pictor_gpu_memory_used_bytes", GPU, "GPU memory in use.");
const MEMORY_FREE: Family = Family::gauge("pictor_gpu_memory_free_bytes", GPU, "GPU memory that is free.");
const MEMORY_RESERVED: Family = Family::gauge(
    "pictor_gpu_memory_reserved_bytes",
    GPU,
    "GPU memory that the driver keeps. Drivers before 510 count it as used.",
);
const TEMPERATURE: Family =
    Family::gauge("pictor_gpu_temperature_celsius", &["uuid", "gpu", "sensor"], "Temperature.");
const THRESHOLD: Family = Family::gauge(
    "pictor_gpu_temperature_threshold_celsius",
    &["uuid", "gpu", "threshold"],
    "Temperatures at which the GPU slows or shuts down, and the hottest that it and its memory should be.",
);
const POWER: Family = Family::gauge(
    "pictor_gpu_power_watts",
    &["uuid", "gpu", "type"],
    "Power: average of the last second, instant, and the limit in force.",
);
const ENERGY: Family = Family::counter("pictor_gpu_energy_joules_total", GPU, "Energy the GPU has used.");
const FAN: Family = Family::gauge(
    "pictor_gpu_fan_speed_ratio",
    &["uuid", "gpu", "fan"],
    "Fan speed over its full speed, as intended.",
);
const CLOCK: Family = Family::gauge("pictor_gpu_clock_hertz", &["uuid", "gpu", "clock"], "Clock now.");
const CLOCK_MAX: Family =
    Family::gauge("pictor_gpu_clock_max_hertz", &["uuid", "gpu", "clock"], "Fastest clock.");
const PERFORMANCE_STATE: Family =
    Family::gauge("pictor_gpu_performance_state", GPU, "P-state: 0 is the fastest.");
const THROTTLE_ACTIVE: Family = Family::gauge(
    "pictor_gpu_throttle_active",
    &["uuid", "gpu", "reason"],
    "Whether this keeps the clocks from being higher now.",
);
const THROTTLE_SECONDS: Family = Family::counter(
    "pictor_gpu_throttle_seconds_total",
    &["uuid", "gpu", "reason"],
    "Time for which this kept the clocks lower.",
);
const ECC: Family = Family::counter(
    "pictor_gpu_ecc_errors_total",
    &["uuid", "gpu", "severity", "scope"],
    "Memory errors: since the driver was loaded (volatile), or in the GPU's life (aggregate).",
);
const REMAPPED_ROWS: Family = Family::gauge(
    "pictor_gpu_remapped_rows",
    &["uuid", "gpu", "cause"],
    "Rows of memory replaced after errors.",
);
const REMAPPED_ROWS_PENDING: Family = Family::gauge(
    "pictor_gpu_remapped_rows_pending",
    GPU,
    "Whether rows wait to be replaced at the next reset.",
);
const REMAPPED_ROWS_FAILED: Family = Family::gauge(
    "pictor_gpu_remapped_rows_failed",
    GPU,
    "Whether a row could not be replaced: the GPU should be.",
);
const RETIRED_PAGES: Family = Family::gauge(
    "pictor_gpu_retired_pages",
    &["uuid", "gpu", "cause"],
    "Pages of memory no longer used after errors.",
);
const RETIRED_PAGES_PENDING: Family = Family::gauge(
    "pictor_gpu_retired_pages_pending",
    GPU,
    "Whether pages wait to be retired at the next reboot.",
);
const XID_ERRORS: Family = Family::counter(
    "pictor_gpu_xid_errors_total",
    &["uuid", "gpu", "xid"],
    "Errors the driver announced since the agent started, by NVIDIA's Xid number.",
);
const XID_LAST: Family = Family::gauge(
    "pictor_gpu_xid_last_timestamp_seconds",
    &["uuid", "gpu", "xid"],
    "When the driver last announced this error.",
);
const PCIE_GENERATION: Family =
    Family::gauge("pictor_gpu_pcie_link_generation", GPU, "PCIe generation in use; lower when idle.");
const PCIE_GENERATION_MAX: Family = Family::gauge(
    "pictor_gpu_pcie_link_generation_max",
    GPU,
    "Highest PCIe generation of GPU and machine together.",
);
const PCIE_WIDTH: Family = Family::gauge("pictor_gpu_pcie_link_width", GPU, "PCIe lanes in use.");
const PCIE_WIDTH_MAX: Family =
    Family::gauge("pictor_gpu_pcie_link_width_max", GPU, "Most PCIe lanes of GPU and machine together.");
const PCIE_REPLAYS: Family =
    Family::counter("pictor_gpu_pcie_replays_total", GPU, "PCIe packets that had to be sent again.");
const PCIE_BYTES: Family = Family::counter(
    "pictor_gpu_pcie_bytes_total",
    &["uuid", "gpu", "direction"],
    "PCIe traffic, received (rx) and sent (tx) by the GPU; with `pcie_throughput = true`. Where the GPU has no \
     counter, added up from samples of its rate.",
);
const PROCESSES: Family = Family::gauge("pictor_gpu_processes", GPU, "Programs that compute on the GPU.");
const PROCESS_MEMORY: Family = Family::gauge(
    "pictor_gpu_process_memory_bytes",
    &["uuid", "gpu", "pid", "name"],
    "GPU memory of one program; with `gpu_processes = true`.",
);
const RECOVERY_ACTION: Family = Family::gauge(
    "pictor_gpu_recovery_action",
    GPU,
    "What the GPU needs: 0 nothing, 1 a reset, 2 a reboot, 3 peer-to-peer traffic drained, 4 drained and reset.",
);

pub const FAMILIES: [Family; 39] = [
    VISIBLE,
    EXPECTED,
    UP,
    INFO,
    UTILIZATION,
    MEMORY_UTILIZATION,
    ENCODER_UTILIZATION,
    DECODER_UTILIZATION,
    MEMORY_TOTAL,
    MEMORY_USED,
    MEMORY_FREE,
    MEMORY_RESERVED,
    TEMPERATURE,
    THRESHOLD,
    POWER,
    ENERGY,
    FAN,
    CLOCK,
    CLOCK_MAX,
    PERFORMANCE_STATE,
    THROTTLE_ACTIVE,
    THROTTLE_SECONDS,
    ECC,
    REMAPPED_ROWS,
    REMAPPED_ROWS_PENDING,
    REMAPPED_ROWS_FAILED,
    RETIRED_PAGES,
    RETIRED_PAGES_PENDING,
    XID_ERRORS,
    XID_LAST,
    PCIE_GENERATION,
    PCIE_GENERATION_MAX,
    PCIE_WIDTH,
    PCIE_WIDTH_MAX,
    PCIE_REPLAYS,
    PCIE_BYTES,
    PROCESSES,
    PROCESS_MEMORY,
    RECOVERY_ACTION,
];

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
