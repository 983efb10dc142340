//! The functions about no single GPU.

use std::ffi::{CStr, c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings as nvml;

use crate::{
    given::{give, give_text},
    library::{answer, find, lock, lock_at_any_time},
    script::Code,
};

fn init() -> nvml::nvmlReturn_t {
    let mut library = lock_at_any_time();
    if let Some(code) = library.moment().script.errors.get("nvmlInit_v2") {
        return code.0;
    }
    library.users += 1;
    nvml::nvmlReturn_enum_NVML_SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvml::nvmlReturn_t {
    init()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvml::nvmlReturn_t {
    init()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvml::nvmlReturn_t {
    match lock() {
        Ok(mut library) => {
            library.users -= 1;
            nvml::nvmlReturn_enum_NVML_SUCCESS
        }
        Err(code) => code.0,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(_code: nvml::nvmlReturn_t) -> *const c_char {
    const TEXT: &CStr = c"an error of the fake NVML";
    TEXT.as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvml::nvmlReturn_t {
    let known = answer("nvmlSystemGetDriverVersion", |now| {
        now.script.driver_version.clone().ok_or(Code::NOT_SUPPORTED)
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give_text(version, length, known) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> nvml::nvmlReturn_t {
    let known =
        answer("nvmlSystemGetNVMLVersion", |now| now.script.nvml_version.clone().ok_or(Code::NOT_SUPPORTED));
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give_text(version, length, known) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvml::nvmlReturn_t {
    let known = answer("nvmlSystemGetCudaDriverVersion_v2", |now| now.read_uint(now.script.cuda_version));
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(version.cast(), known) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> nvml::nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract.
    unsafe { nvmlSystemGetCudaDriverVersion_v2(version) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetProcessName(
    pid: c_uint,
    name: *mut c_char,
    length: c_uint,
) -> nvml::nvmlReturn_t {
    let known = answer("nvmlSystemGetProcessName", |now| {
        let gpus = now.script.gpus.iter();
        let mut processes =
            gpus.flat_map(|gpu| [&gpu.compute_processes, &gpu.graphics_processes]).flatten().flatten();
        processes
            .find(|process| process.pid == pid)
            .map(|process| process.name.clone())
            .ok_or(Code::NOT_FOUND)
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give_text(name, length, known) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvml::nvmlReturn_t {
    let known = answer("nvmlDeviceGetCount_v2", |now| {
        u32::try_from(now.script.gpus.len()).map_err(|_| Code::UNKNOWN)
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(count, known) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvml::nvmlDevice_t,
) -> nvml::nvmlReturn_t {
    let found = find("nvmlDeviceGetHandleByIndex_v2", |place, _| place == index as usize);
    // Of an index there is none of, NVML does not say NOT_FOUND.
    let found = found.map_err(|code| if code == Code::NOT_FOUND { Code::INVALID_ARGUMENT } else { code });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(device, found) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut nvml::nvmlDevice_t,
) -> nvml::nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract.
    unsafe {
        let uuid = CStr::from_ptr(uuid).to_string_lossy();
        give(device, find("nvmlDeviceGetHandleByUUID", |_, gpu| gpu.uuid == uuid))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus_id: *const c_char,
    device: *mut nvml::nvmlDevice_t,
) -> nvml::nvmlReturn_t {
    // SAFETY: the caller keeps NVML's contract.
    unsafe {
        let bus_id = CStr::from_ptr(bus_id).to_string_lossy();
        let sought = |gpu: &crate::script::Gpu| {
            gpu.pci_bus_id.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(&bus_id))
        };
        give(device, find("nvmlDeviceGetHandleByPciBusId_v2", |_, gpu| sought(gpu)))
    }
}
