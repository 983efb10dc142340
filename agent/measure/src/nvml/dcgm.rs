//! The common families of NVIDIA's dcgm-exporter, with its names, labels and units, for dashboards made for it.

use pictor_family::Family;

use super::{
    Families, float,
    sample::{GpuSample, Part},
    xid::Xids,
};

const LABELS: &[&str] =
    &["gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION"];
const MEBIBYTE: f64 = 1_048_576.0;

type Reading = (Family, fn(&GpuSample) -> Option<f64>);

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family::gauge(name, LABELS, help)
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family::counter(name, LABELS, help)
}

const READINGS: [Reading; 26] = [
    (gauge("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz)."), |gpu| megahertz(&gpu.clocks_hertz, "sm")),
    (gauge("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz)."), |gpu| {
        megahertz(&gpu.clocks_hertz, "memory")
    }),
    (gauge("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C)."), |gpu| gpu.temperature_celsius),
    (gauge("DCGM_FI_DEV_MEMORY_TEMP", "Memory temperature (in C)."), |gpu| gpu.memory_temperature_celsius),
    (gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W)."), |gpu| gpu.power_average_watts),
    (gauge("DCGM_FI_DEV_POWER_USAGE_INSTANT", "Power draw now (in W)."), |gpu| gpu.power_instant_watts),
    (gauge("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "Power limit in force (in W)."), |gpu| gpu.power_limit_watts),
    (counter("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "Energy used (in mJ)."), |gpu| {
        Some((gpu.energy_joules? * 1_000.0).round())
    }),
    (counter("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "PCIe packets sent again."), |gpu| gpu.pcie_replays),
    (gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)."), |gpu| percent(gpu.utilization_ratio)),
    (gauge("DCGM_FI_DEV_MEM_COPY_UTIL", "Memory utilization (in %)."), |gpu| {
        percent(gpu.memory_utilization_ratio)
    }),
    (gauge("DCGM_FI_DEV_ENC_UTIL", "Encoder utilization (in %)."), |gpu| {
        percent(gpu.encoder_utilization_ratio)
    }),
    (gauge("DCGM_FI_DEV_DEC_UTIL", "Decoder utilization (in %)."), |gpu| {
        percent(gpu.decoder_utilization_ratio)
    }),
    (gauge("DCGM_FI_DEV_FB_TOTAL", "Memory (in MiB)."), |gpu| mebibytes(gpu.memory_total_bytes)),
    (gauge("DCGM_FI_DEV_FB_FREE", "Memory that is free (in MiB)."), |gpu| mebibytes(gpu.memory_free_bytes)),
    (gauge("DCGM_FI_DEV_FB_USED", "Memory in use (in MiB)."), |gpu| mebibytes(gpu.memory_used_bytes)),
    (gauge("DCGM_FI_DEV_FB_RESERVED", "Memory that the driver keeps (in MiB)."), |gpu| {
        mebibytes(gpu.memory_reserved_bytes)
    }),
    (gauge("DCGM_FI_DEV_PSTATE", "P-state."), |gpu| gpu.performance_state.map(f64::from)),
    (gauge("DCGM_FI_DEV_FAN_SPEED", "Speed of the first fan (in %)."), |gpu| {
        percent(gpu.fan_speed_ratios.first().map(|(_, ratio)| *ratio))
    }),
    (
        counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Corrected memory errors since the driver was loaded."),
        |gpu| ecc(gpu, "corrected", "volatile"),
    ),
    (
        counter("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "Uncorrected memory errors since the driver was loaded."),
        |gpu| ecc(gpu, "uncorrected", "volatile"),
    ),
    (counter("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", "Corrected memory errors in the GPU's life."), |gpu| {
        ecc(gpu, "corrected", "aggregate")
    }),
    (counter("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "Uncorrected memory errors in the GPU's life."), |gpu| {
        ecc(gpu, "uncorrected", "aggregate")
    }),
    (counter("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "Rows replaced after corrected errors."), |gpu| {
        part(&gpu.remapped_rows, "corrected")
    }),
    (counter("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "Rows replaced after uncorrected errors."), |gpu| {
        part(&gpu.remapped_rows, "uncorrected")
    }),
    (gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE", "Whether a row could not be replaced."), |gpu| {
        gpu.remapped_rows_failed
    }),
];
const XID: Family = gauge("DCGM_FI_DEV_XID_ERRORS", "The last Xid error; absent until there is one.");

/// With `dcgm_names = true`.
pub fn families() -> Vec<Family> {
    READINGS.iter().map(|(family, _)| *family).chain([XID]).collect()
}

pub(super) fn measured(families: &mut Families, gpus: &[GpuSample], xids: &Xids, hostname: &str) {
    for (family, read) in &READINGS {
        families.rows(family, gpus.iter().filter_map(|gpu| Some((labels(gpu, hostname), read(gpu)?))));
    }
    let last = |gpu: &GpuSample| Some((labels(gpu, hostname), float(xids.last_of(&gpu.uuid)?)));
    families.rows(&XID, gpus.iter().filter_map(last));
}

fn labels(gpu: &GpuSample, hostname: &str) -> Vec<String> {
    vec![
        gpu.index.to_string(),
        gpu.uuid.clone(),
        gpu.pci_bus_id.as_deref().unwrap_or_default().to_uppercase(),
        format!("nvidia{}", gpu.index),
        gpu.name.clone().unwrap_or_default(),
        hostname.to_owned(),
        gpu.driver_version.clone().unwrap_or_default(),
    ]
}

fn part(parts: &[Part], name: &str) -> Option<f64> {
    parts.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
}

fn megahertz(clocks: &[Part], name: &str) -> Option<f64> {
    part(clocks, name).map(|hertz| hertz / 1e6)
}

fn percent(ratio: Option<f64>) -> Option<f64> {
    ratio.map(|ratio| (ratio * 100.0).round())
}

fn mebibytes(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| (float(bytes) / MEBIBYTE).floor())
}

fn ecc(gpu: &GpuSample, severity: &str, scope: &str) -> Option<f64> {
    let errors = gpu.ecc_errors.iter();
    errors.filter(|(a, b, _)| *a == severity && *b == scope).map(|(_, _, count)| *count).next()
}
