//! The functions about one GPU.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::{
    given::{give, give_text},
    library::{Moment, answer_about},
    script::{Answer, Clocks, Code, Gpu, Process},
};

const SUCCESS: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_SUCCESS;

/// Functions that answer one number.
macro_rules! numbers {
    ($($function:ident: $type:ty = $method:ident $answer:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(device: nvmlDevice_t, out: *mut $type) -> nvmlReturn_t {
            let answer: fn(&Gpu) -> Answer = $answer;
            let known = answer_about(stringify!($function), device, |now, gpu| now.$method(answer(gpu)));
            // SAFETY: the caller keeps NVML's contract.
            unsafe { give(out, known) }
        }
    )* };
}

numbers! {
    nvmlDeviceGetMinorNumber: c_uint = read_uint |gpu| gpu.minor_number;
    nvmlDeviceGetPowerUsage: c_uint = read_uint |gpu| gpu.power_milliwatts;
    nvmlDeviceGetEnforcedPowerLimit: c_uint = read_uint |gpu| gpu.power_limit_milliwatts;
    nvmlDeviceGetPowerManagementLimit: c_uint = read_uint |gpu| gpu.power_limit_milliwatts;
    nvmlDeviceGetTotalEnergyConsumption: c_ulonglong = read |gpu| gpu.energy_millijoules;
    nvmlDeviceGetPerformanceState: nvml::nvmlPstates_t = read_uint |gpu| gpu.performance_state;
    nvmlDeviceGetCurrentClocksThrottleReasons: c_ulonglong = read |gpu| gpu.throttle_reasons;
    nvmlDeviceGetCurrentClocksEventReasons: c_ulonglong = read |gpu| gpu.throttle_reasons;
    nvmlDeviceGetRetiredPagesPendingStatus: c_uint = read_uint |gpu| gpu.retired_pages_pending;
    nvmlDeviceGetCurrPcieLinkGeneration: c_uint = read_uint |gpu| gpu.pcie.generation;
    nvmlDeviceGetCurrPcieLinkWidth: c_uint = read_uint |gpu| gpu.pcie.width;
    nvmlDeviceGetMaxPcieLinkGeneration: c_uint = read_uint |gpu| gpu.pcie.generation_max;
    nvmlDeviceGetMaxPcieLinkWidth: c_uint = read_uint |gpu| gpu.pcie.width_max;
    nvmlDeviceGetPcieReplayCounter: c_uint = read_uint |gpu| gpu.pcie.replays;
    nvmlDeviceGetSupportedEventTypes: c_ulonglong = read |gpu| gpu.event_types;
}

/// Functions that answer one number of several, chosen by their second argument.
macro_rules! chosen_numbers {
    ($($function:ident($of:ty): $type:ty = $method:ident $answer:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(device: nvmlDevice_t, choice: $of, out: *mut $type) -> nvmlReturn_t {
            let answer: fn(&Gpu, $of) -> Result<Answer, Code> = $answer;
            let known = answer_about(stringify!($function), device, |now, gpu| now.$method(answer(gpu, choice)?));
            // SAFETY: the caller keeps NVML's contract.
            unsafe { give(out, known) }
        }
    )* };
}

chosen_numbers! {
    nvmlDeviceGetTemperature(nvml::nvmlTemperatureSensors_t): c_uint = read_uint |gpu, sensor| match sensor {
        nvml::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU => Ok(gpu.temperature_celsius),
        _ => Err(Code::INVALID_ARGUMENT),
    };
    nvmlDeviceGetTemperatureThreshold(nvml::nvmlTemperatureThresholds_t): c_uint = read_uint threshold;
    nvmlDeviceGetFanSpeed_v2(c_uint): c_uint = read_uint |gpu, fan| {
        let fans = gpu.fans_percent.as_ref().ok_or(Code::NOT_SUPPORTED)?;
        fans.get(fan as usize).map(|fan| Some(*fan)).ok_or(Code::INVALID_ARGUMENT)
    };
    nvmlDeviceGetClockInfo(nvml::nvmlClockType_t): c_uint = read_uint
        |gpu, which| clock(&gpu.clocks_megahertz, which);
    nvmlDeviceGetMaxClockInfo(nvml::nvmlClockType_t): c_uint = read_uint
        |gpu, which| clock(&gpu.max_clocks_megahertz, which);
    nvmlDeviceGetPcieThroughput(nvml::nvmlPcieUtilCounter_t): c_uint = read_uint |gpu, counter| match counter {
        nvml::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_RX_BYTES => Ok(gpu.pcie.rx_kilobytes_per_second),
        nvml::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_TX_BYTES => Ok(gpu.pcie.tx_kilobytes_per_second),
        _ => Err(Code::INVALID_ARGUMENT),
    };
}

fn threshold(gpu: &Gpu, which: nvml::nvmlTemperatureThresholds_t) -> Result<Answer, Code> {
    let thresholds = &gpu.temperature_threshold_celsius;
    Ok(match which {
        nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SHUTDOWN => thresholds.shutdown,
        nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SLOWDOWN => thresholds.slowdown,
        nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_GPU_MAX => thresholds.gpu_max,
        nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_MEM_MAX => thresholds.memory_max,
        _ => None,
    })
}

fn clock(clocks: &Clocks, which: nvml::nvmlClockType_t) -> Result<Answer, Code> {
    Ok(match which {
        nvml::nvmlClockType_enum_NVML_CLOCK_GRAPHICS => clocks.graphics,
        nvml::nvmlClockType_enum_NVML_CLOCK_SM => clocks.sm,
        nvml::nvmlClockType_enum_NVML_CLOCK_MEM => clocks.memory,
        nvml::nvmlClockType_enum_NVML_CLOCK_VIDEO => clocks.video,
        _ => return Err(Code::INVALID_ARGUMENT),
    })
}

/// Functions that answer a text.
macro_rules! texts {
    ($($function:ident = $answer:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(device: nvmlDevice_t, out: *mut c_char, length: c_uint) -> nvmlReturn_t {
            let answer: fn(&Gpu) -> Option<String> = $answer;
            let known = answer_about(stringify!($function), device, |_, gpu| answer(gpu).ok_or(Code::NOT_SUPPORTED));
            // SAFETY: the caller keeps NVML's contract.
            unsafe { give_text(out, length, known) }
        }
    )* };
}

texts! {
    nvmlDeviceGetUUID = |gpu| Some(gpu.uuid.clone());
    nvmlDeviceGetName = |gpu| gpu.name.clone();
    nvmlDeviceGetSerial = |gpu| gpu.serial.clone();
}

/// Functions that answer what `read` makes of the script.
macro_rules! answers {
    ($($function:ident: $type:ty = $read:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(device: nvmlDevice_t, out: *mut $type) -> nvmlReturn_t {
            let read: fn(&Moment, &Gpu) -> Result<$type, Code> = $read;
            // SAFETY: the caller keeps NVML's contract.
            unsafe { give(out, answer_about(stringify!($function), device, read)) }
        }
    )* };
}

answers! {
    nvmlDeviceGetIndex: c_uint = |now, gpu| {
        let place = now.script.gpus.iter().position(|other| other.uuid == gpu.uuid);
        place.and_then(|place| u32::try_from(place).ok()).ok_or(Code::UNKNOWN)
    };
    nvmlDeviceGetPciInfo_v3: nvml::nvmlPciInfo_t = |_, gpu| pci(gpu);
    nvmlDeviceGetMemoryInfo: nvml::nvmlMemory_t = |now, gpu| {
        let (total, reserved, used) = memory(now, gpu)?;
        let used = used.saturating_add(reserved);
        Ok(nvml::nvmlMemory_t { total, free: total.saturating_sub(used), used })
    };
    nvmlDeviceGetUtilizationRates: nvml::nvmlUtilization_t = |now, gpu| Ok(nvml::nvmlUtilization_t {
        gpu: now.read_uint(gpu.utilization_percent.gpu)?,
        memory: now.read_uint(gpu.utilization_percent.memory)?,
    });
    nvmlDeviceGetNumFans: c_uint = |_, gpu| {
        let fans = gpu.fans_percent.as_ref().ok_or(Code::NOT_SUPPORTED)?;
        u32::try_from(fans.len()).map_err(|_| Code::UNKNOWN)
    };
}

fn pci(gpu: &Gpu) -> Result<nvml::nvmlPciInfo_t, Code> {
    let bus_id = gpu.pci_bus_id.as_ref().ok_or(Code::NOT_SUPPORTED)?;
    let mut parts = bus_id.split([':', '.']).map(|part| u32::from_str_radix(part, 16));
    let mut part = || parts.next().and_then(Result::ok).ok_or(Code::UNKNOWN);
    let (domain, bus, device) = (part()?, part()?, part()?);
    let mut info = nvml::nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain,
        bus,
        device,
        pciDeviceId: 0,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    let copy = |text: &str, to: &mut [c_char]| {
        // The last byte stays the text's end.
        let room = to.len() - 1;
        #[allow(clippy::cast_possible_wrap)]
        to.iter_mut().take(room).zip(text.bytes()).for_each(|(to, byte)| *to = byte as c_char);
    };
    copy(bus_id, &mut info.busId);
    copy(&bus_id[bus_id.len().saturating_sub(12)..], &mut info.busIdLegacy);
    Ok(info)
}

/// Total, reserved and used besides.
fn memory(now: &Moment, gpu: &Gpu) -> Result<(u64, u64, u64), Code> {
    let memory = gpu.memory_bytes.as_ref().ok_or(Code::NOT_SUPPORTED)?;
    Ok((memory.total, memory.reserved, now.read(memory.used)?))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    out: *mut nvml::nvmlMemory_v2_t,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract.
    let Some(version) = (unsafe { out.as_ref() }).map(|out| out.version) else {
        return Code::INVALID_ARGUMENT.0;
    };
    if version as usize != size_of::<nvml::nvmlMemory_v2_t>() | 2 << 24 {
        return nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    let known = answer_about("nvmlDeviceGetMemoryInfo_v2", device, |now, gpu| {
        let (total, reserved, used) = memory(now, gpu)?;
        Ok(nvml::nvmlMemory_v2_t {
            version,
            total,
            reserved,
            free: total.saturating_sub(reserved.saturating_add(used)),
            used,
        })
    });
    // SAFETY: as above.
    unsafe { give(out, known) }
}

/// Functions that answer two numbers.
macro_rules! pairs {
    ($($function:ident = $answer:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(device: nvmlDevice_t, first: *mut c_uint, second: *mut c_uint) -> nvmlReturn_t {
            let answers: fn(&Gpu) -> [Answer; 2] = $answer;
            let known = answer_about(stringify!($function), device, |now, gpu| {
                let [first, second] = answers(gpu);
                Ok((now.read_uint(first)?, now.read_uint(second)?))
            });
            match known {
                // SAFETY: the caller keeps NVML's contract.
                Ok((a, b)) => unsafe { give(first, Ok(a)).max(give(second, Ok(b))) },
                Err(code) => code.0,
            }
        }
    )* };
}

/// Microseconds that utilisation was measured over.
const SAMPLING_PERIOD: Answer = Some(crate::script::Reading::Number(167_000));

pairs! {
    nvmlDeviceGetEncoderUtilization = |gpu| [gpu.utilization_percent.encoder, SAMPLING_PERIOD];
    nvmlDeviceGetDecoderUtilization = |gpu| [gpu.utilization_percent.decoder, SAMPLING_PERIOD];
    nvmlDeviceGetEccMode = |gpu| [gpu.ecc_mode, gpu.ecc_mode];
    nvmlDeviceGetMigMode = |gpu| [gpu.mig_mode, gpu.mig_mode];
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetViolationStatus(
    device: nvmlDevice_t,
    policy: nvml::nvmlPerfPolicyType_t,
    out: *mut nvml::nvmlViolationTime_t,
) -> nvmlReturn_t {
    let known = answer_about("nvmlDeviceGetViolationStatus", device, |now, gpu| {
        let violations = &gpu.violation_nanoseconds;
        let answer = match policy {
            nvml::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_POWER => violations.power,
            nvml::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_THERMAL => violations.thermal,
            nvml::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_SYNC_BOOST => violations.sync_boost,
            nvml::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_BOARD_LIMIT => violations.board_limit,
            nvml::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_LOW_UTILIZATION => violations.low_utilization,
            nvml::nvmlPerfPolicyType_enum_NVML_PERF_POLICY_RELIABILITY => violations.reliability,
            _ => None,
        };
        Ok(nvml::nvmlViolationTime_t { referenceTime: 0, violationTime: now.read(answer)? })
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(out, known) }
}

fn ecc(
    now: &Moment,
    gpu: &Gpu,
    kind: nvml::nvmlMemoryErrorType_t,
    counter: nvml::nvmlEccCounterType_t,
) -> Result<u64, Code> {
    const CORRECTED: nvml::nvmlMemoryErrorType_t =
        nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED;
    const UNCORRECTED: nvml::nvmlMemoryErrorType_t =
        nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED;
    const VOLATILE: nvml::nvmlEccCounterType_t = nvml::nvmlEccCounterType_enum_NVML_VOLATILE_ECC;
    const AGGREGATE: nvml::nvmlEccCounterType_t = nvml::nvmlEccCounterType_enum_NVML_AGGREGATE_ECC;
    now.read(match (counter, kind) {
        (VOLATILE, CORRECTED) => gpu.ecc_errors.volatile_corrected,
        (VOLATILE, UNCORRECTED) => gpu.ecc_errors.volatile_uncorrected,
        (AGGREGATE, CORRECTED) => gpu.ecc_errors.aggregate_corrected,
        (AGGREGATE, UNCORRECTED) => gpu.ecc_errors.aggregate_uncorrected,
        _ => return Err(Code::INVALID_ARGUMENT),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    kind: nvml::nvmlMemoryErrorType_t,
    counter: nvml::nvmlEccCounterType_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    let known = answer_about("nvmlDeviceGetTotalEccErrors", device, |now, gpu| ecc(now, gpu, kind, counter));
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(out, known) }
}

/// All errors are in the GPU's memory.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryErrorCounter(
    device: nvmlDevice_t,
    kind: nvml::nvmlMemoryErrorType_t,
    counter: nvml::nvmlEccCounterType_t,
    location: nvml::nvmlMemoryLocation_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    let known = answer_about("nvmlDeviceGetMemoryErrorCounter", device, |now, gpu| {
        let all = ecc(now, gpu, kind, counter)?;
        Ok(if location == nvml::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_DRAM { all } else { 0 })
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(out, known) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetDetailedEccErrors(
    device: nvmlDevice_t,
    kind: nvml::nvmlMemoryErrorType_t,
    counter: nvml::nvmlEccCounterType_t,
    out: *mut nvml::nvmlEccErrorCounts_t,
) -> nvmlReturn_t {
    let known = answer_about("nvmlDeviceGetDetailedEccErrors", device, |now, gpu| {
        let all = ecc(now, gpu, kind, counter)?;
        Ok(nvml::nvmlEccErrorCounts_t { l1Cache: 0, l2Cache: 0, deviceMemory: all, registerFile: 0 })
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(out, known) }
}

/// Writes a list as NVML does: with too little room it says how much it needs.
///
/// # Safety
/// `count` is null or may be read and written, and so may that many items at `out`, which may be null for none.
unsafe fn give_list<T: Copy>(count: *mut c_uint, out: *mut T, answer: Result<Vec<T>, Code>) -> nvmlReturn_t {
    let items = match answer {
        Ok(items) => items,
        Err(code) => return code.0,
    };
    // SAFETY: by this function's contract.
    unsafe {
        let Some(count) = count.as_mut() else { return Code::INVALID_ARGUMENT.0 };
        let room = *count as usize;
        *count = items.len() as c_uint;
        if items.len() > room {
            return Code::INSUFFICIENT_SIZE.0;
        }
        if !items.is_empty() {
            out.copy_from_nonoverlapping(items.as_ptr(), items.len());
        }
    }
    SUCCESS
}

fn retired_pages(
    function: &str,
    device: nvmlDevice_t,
    cause: nvml::nvmlPageRetirementCause_t,
) -> Result<Vec<u64>, Code> {
    answer_about(function, device, |_, gpu| {
        let pages = gpu.retired_pages.as_ref().ok_or(Code::NOT_SUPPORTED)?;
        match cause {
            nvml::nvmlPageRetirementCause_enum_NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS => {
                Ok(pages.single_bit.clone())
            }
            nvml::nvmlPageRetirementCause_enum_NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR => {
                Ok(pages.double_bit.clone())
            }
            _ => Err(Code::INVALID_ARGUMENT),
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRetiredPages(
    device: nvmlDevice_t,
    cause: nvml::nvmlPageRetirementCause_t,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
) -> nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give_list(count, addresses, retired_pages("nvmlDeviceGetRetiredPages", device, cause)) }
}

/// When a page was retired is not in the script: the beginning of time.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRetiredPages_v2(
    device: nvmlDevice_t,
    cause: nvml::nvmlPageRetirementCause_t,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
    timestamps: *mut c_ulonglong,
) -> nvmlReturn_t {
    let pages = retired_pages("nvmlDeviceGetRetiredPages_v2", device, cause);
    let times = pages.as_ref().map(|pages| vec![0; pages.len()]).map_err(|code| *code);
    // SAFETY: the caller keeps NVML's contract.
    unsafe {
        let given = give_list(count, addresses, pages);
        if given == SUCCESS { give_list(count, timestamps, times) } else { given }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    device: nvmlDevice_t,
    corrected: *mut c_uint,
    uncorrected: *mut c_uint,
    pending: *mut c_uint,
    failed: *mut c_uint,
) -> nvmlReturn_t {
    let known = answer_about("nvmlDeviceGetRemappedRows", device, |now, gpu| {
        let rows = gpu.remapped_rows.as_ref().ok_or(Code::NOT_SUPPORTED)?;
        let all = [rows.corrected, rows.uncorrected, rows.pending, rows.failed];
        all.into_iter().map(|row| now.read_uint(row)).collect::<Result<Vec<u32>, Code>>()
    });
    match known {
        // SAFETY: the caller keeps NVML's contract.
        Ok(rows) => unsafe {
            let outs = [corrected, uncorrected, pending, failed];
            outs.into_iter().zip(rows).fold(SUCCESS, |worst, (out, row)| worst.max(give(out, Ok(row))))
        },
        Err(code) => code.0,
    }
}

/// Functions that list processes.
macro_rules! processes {
    ($($function:ident = $processes:expr;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(
            device: nvmlDevice_t,
            count: *mut c_uint,
            infos: *mut nvml::nvmlProcessInfo_t,
        ) -> nvmlReturn_t {
            let processes: fn(&Gpu) -> &Option<Vec<Process>> = $processes;
            let known = answer_about(stringify!($function), device, |_, gpu| {
                Ok(processes(gpu).as_ref().ok_or(Code::NOT_SUPPORTED)?.iter().map(info).collect())
            });
            // SAFETY: the caller keeps NVML's contract.
            unsafe { give_list(count, infos, known) }
        }
    )* };
}

processes! {
    nvmlDeviceGetComputeRunningProcesses_v2 = |gpu| &gpu.compute_processes;
    nvmlDeviceGetComputeRunningProcesses_v3 = |gpu| &gpu.compute_processes;
    nvmlDeviceGetGraphicsRunningProcesses_v2 = |gpu| &gpu.graphics_processes;
    nvmlDeviceGetGraphicsRunningProcesses_v3 = |gpu| &gpu.graphics_processes;
}

#[allow(clippy::cast_sign_loss)]
fn info(process: &Process) -> nvml::nvmlProcessInfo_t {
    nvml::nvmlProcessInfo_t {
        pid: process.pid,
        usedGpuMemory: process.memory_bytes as u64,
        // Not on a MIG instance.
        gpuInstanceId: u32::MAX,
        computeInstanceId: u32::MAX,
    }
}

/// Each value has its own error; the call fails only when the GPU cannot be asked.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvml::nvmlFieldValue_t,
) -> nvmlReturn_t {
    let Ok(count) = usize::try_from(count) else { return Code::INVALID_ARGUMENT.0 };
    if values.is_null() {
        return Code::INVALID_ARGUMENT.0;
    }
    // SAFETY: the caller keeps NVML's contract.
    let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
    let wanted: Vec<String> = values.iter().map(|value| value.fieldId.to_string()).collect();
    let known = answer_about("nvmlDeviceGetFieldValues", device, |now, gpu| {
        let read = |id: &String| match now.read(gpu.fields.get(id).copied()) {
            Err(Code::HANG) => Err(Code::HANG),
            known => Ok(known),
        };
        wanted.iter().map(read).collect::<Result<Vec<_>, Code>>()
    });
    let known = match known {
        Ok(known) => known,
        Err(code) => return code.0,
    };
    for (value, known) in values.iter_mut().zip(known) {
        value.timestamp = 0;
        value.latencyUsec = 0;
        value.nvmlReturn = known.err().map_or(SUCCESS, |code| code.0);
        (value.valueType, value.value) = field(value.fieldId, known.unwrap_or(0));
    }
    SUCCESS
}

/// A field's type is the driver's choice: most counts are 64 bits wide, these are not.
#[allow(clippy::cast_possible_truncation)]
fn field(id: c_uint, value: u64) -> (nvml::nvmlValueType_t, nvml::nvmlValue_t) {
    match id {
        82 | 142..=145 | 185..=187 | 230 => {
            (nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT, nvml::nvmlValue_t { uiVal: value as u32 })
        }
        _ => {
            (nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, nvml::nvmlValue_t { ullVal: value })
        }
    }
}
