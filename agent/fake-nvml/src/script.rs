//! What a script says. Values stand in NVML's own units; what is left out is not supported.

use std::collections::BTreeMap;

use nvml_wrapper_sys::bindings as nvml;
use serde::{Deserialize, Deserializer, de};
use toml::{Table, Value};

/// An NVML error, by its name in a script: `NOT_SUPPORTED` for `NVML_ERROR_NOT_SUPPORTED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub nvml::nvmlReturn_t);

impl Code {
    pub const NOT_SUPPORTED: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    pub const INVALID_ARGUMENT: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    pub const INSUFFICIENT_SIZE: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    pub const NOT_FOUND: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    pub const GPU_IS_LOST: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST);
    pub const UNINITIALIZED: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
    pub const TIMEOUT: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT);
    pub const UNKNOWN: Code = Code(nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN);
    /// No error of NVML: the call does not come back until the script says something else.
    pub const HANG: Code = Code(nvml::nvmlReturn_t::MAX);

    fn named(name: &str) -> Option<Code> {
        Some(match name {
            "NOT_SUPPORTED" => Self::NOT_SUPPORTED,
            "INVALID_ARGUMENT" => Self::INVALID_ARGUMENT,
            "NOT_FOUND" => Self::NOT_FOUND,
            "GPU_IS_LOST" => Self::GPU_IS_LOST,
            "UNINITIALIZED" => Self::UNINITIALIZED,
            "TIMEOUT" => Self::TIMEOUT,
            "UNKNOWN" => Self::UNKNOWN,
            "NO_PERMISSION" => Code(nvml::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION),
            "DRIVER_NOT_LOADED" => Code(nvml::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED),
            "IRQ_ISSUE" => Code(nvml::nvmlReturn_enum_NVML_ERROR_IRQ_ISSUE),
            "RESET_REQUIRED" => Code(nvml::nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED),
            "LIB_RM_VERSION_MISMATCH" => Code(nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH),
            "NO_DATA" => Code(nvml::nvmlReturn_enum_NVML_ERROR_NO_DATA),
            "HANG" => Self::HANG,
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Code::named(&name)
            .ok_or_else(|| de::Error::custom(format!("{name} is no error of NVML that is known here")))
    }
}

/// One number as a call answers it: `61`, `"UNKNOWN"` (an error), or one that moves with the time since the library
/// was loaded: `{ from = 40, per_second = 0.5, until = 90 }`, where `until` makes it start over.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Reading {
    /// Negative ones stand for sentinels: -1 is all bits set.
    Number(i64),
    Error(Code),
    Moving {
        from: u64,
        per_second: f64,
        until: Option<u64>,
    },
}

impl Reading {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn at(&self, seconds: f64) -> Result<u64, Code> {
        match self {
            Reading::Number(number) => Ok(*number as u64),
            Reading::Error(code) => Err(*code),
            Reading::Moving { from, per_second, until } => {
                let grown = (seconds * per_second) as u64;
                let span = until.and_then(|until| until.checked_sub(*from));
                Ok(from + span.and_then(|span| grown.checked_rem(span)).unwrap_or(grown))
            }
        }
    }
}

/// Absent is not supported.
pub type Answer = Option<Reading>;

/// Function name to the error that it answers, whatever else stands in the script.
pub type Errors = BTreeMap<String, Code>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub driver_version: Option<String>,
    pub nvml_version: Option<String>,
    /// 12080 is 12.8.
    pub cuda_version: Answer,
    /// Of the functions that ask about no single GPU.
    #[serde(default)]
    pub errors: Errors,
    /// Functions that this driver is too old for: [`crate::install`] takes them out of the library.
    #[serde(default)]
    pub hidden_symbols: Vec<String>,
    /// By index. One taken out of the script is gone, and its handle is lost.
    #[serde(default, rename = "gpu")]
    pub gpus: Vec<Gpu>,
}

impl Script {
    /// Reads a script's text. What stands in `[every_gpu]` stands in each `[[gpu]]` that does not say otherwise.
    ///
    /// # Errors
    /// Says in a line or two what is wrong with the text.
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut script: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        if let Some(Value::Table(every)) = script.remove("every_gpu") {
            let gpus = script.get_mut("gpu").and_then(Value::as_array_mut).into_iter().flatten();
            gpus.filter_map(Value::as_table_mut).for_each(|gpu| add_missing(gpu, &every));
        }
        script.try_into().map_err(|error: toml::de::Error| error.to_string())
    }
}

fn add_missing(table: &mut Table, more: &Table) {
    for (key, value) in more {
        match (table.get_mut(key), value) {
            (None, value) => {
                table.insert(key.clone(), value.clone());
            }
            (Some(Value::Table(inner)), Value::Table(value)) => add_missing(inner, value),
            (Some(_), _) => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Up,
    /// Fallen off the bus: counted, but each call answers `GPU_IS_LOST`.
    Lost,
    /// Each call about it blocks while this stands here, asking for its handle included.
    Hung,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    pub uuid: String,
    #[serde(default)]
    pub state: State,
    /// Of the functions that ask about this GPU; `"HANG"` makes one of them block.
    #[serde(default)]
    pub errors: Errors,
    pub name: Option<String>,
    pub serial: Option<String>,
    pub minor_number: Answer,
    pub pci_bus_id: Option<String>,
    pub memory_bytes: Option<Memory>,
    #[serde(default)]
    pub utilization_percent: Utilization,
    pub temperature_celsius: Answer,
    #[serde(default)]
    pub temperature_threshold_celsius: Thresholds,
    pub power_milliwatts: Answer,
    pub power_limit_milliwatts: Answer,
    pub energy_millijoules: Answer,
    /// Absent: counting fans is not supported. Empty: there are none.
    pub fans_percent: Option<Vec<Reading>>,
    #[serde(default)]
    pub clocks_megahertz: Clocks,
    #[serde(default)]
    pub max_clocks_megahertz: Clocks,
    pub performance_state: Answer,
    /// Bits of `nvmlClocksEventReason…`.
    pub throttle_reasons: Answer,
    #[serde(default)]
    pub violation_nanoseconds: Violations,
    /// 1 is on.
    pub ecc_mode: Answer,
    #[serde(default)]
    pub ecc_errors: EccErrors,
    pub retired_pages: Option<RetiredPages>,
    pub retired_pages_pending: Answer,
    pub remapped_rows: Option<RemappedRows>,
    #[serde(default)]
    pub pcie: Pcie,
    pub compute_processes: Option<Vec<Process>>,
    pub graphics_processes: Option<Vec<Process>>,
    /// What `nvmlDeviceGetFieldValues` answers, by field id.
    #[serde(default)]
    pub fields: BTreeMap<String, Reading>,
    /// 1 is on.
    pub mig_mode: Answer,
    /// Bits of `nvmlEventType…`; 8 is Xid errors.
    pub event_types: Answer,
    /// Xid errors so far; what is added while an event set listens is an event.
    #[serde(default)]
    pub xids: Vec<u64>,
}

/// Without what is free: that is the rest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub total: u64,
    pub reserved: u64,
    pub used: Reading,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Utilization {
    pub gpu: Answer,
    pub memory: Answer,
    pub encoder: Answer,
    pub decoder: Answer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    pub shutdown: Answer,
    pub slowdown: Answer,
    pub gpu_max: Answer,
    pub memory_max: Answer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    pub graphics: Answer,
    pub sm: Answer,
    pub memory: Answer,
    pub video: Answer,
}

/// What `nvmlDeviceGetViolationStatus` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Violations {
    pub power: Answer,
    pub thermal: Answer,
    pub sync_boost: Answer,
    pub board_limit: Answer,
    pub low_utilization: Answer,
    pub reliability: Answer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EccErrors {
    pub volatile_corrected: Answer,
    pub volatile_uncorrected: Answer,
    pub aggregate_corrected: Answer,
    pub aggregate_uncorrected: Answer,
}

/// Their addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredPages {
    pub single_bit: Vec<u64>,
    pub double_bit: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemappedRows {
    pub corrected: Reading,
    pub uncorrected: Reading,
    pub pending: Reading,
    pub failed: Reading,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcie {
    pub generation: Answer,
    pub width: Answer,
    pub generation_max: Answer,
    pub width_max: Answer,
    pub replays: Answer,
    pub rx_kilobytes_per_second: Answer,
    pub tx_kilobytes_per_second: Answer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    /// -1 where the driver cannot tell.
    pub memory_bytes: i64,
}
