//! Whose memory is in use on a GPU.

use nvml_wrapper::{Device, Nvml, enums::device::UsedGpuMemory, struct_wrappers::device::ProcessInfo};

use super::{fields::is_number64, sample::ProcessMemory};

/// Longer names are cut by NVML.
const NAME_BYTES_MAX: usize = 256;

pub(super) fn memory(nvml: &Nvml, device: &Device<'_>) -> Vec<ProcessMemory> {
    let mut found: Vec<(u32, u64)> = Vec::new();
    // One that computes on several parts of a split GPU stands there once for each.
    for (pid, bytes) in used(device.running_compute_processes().unwrap_or_default()) {
        match found.iter_mut().find(|(other, _)| *other == pid) {
            Some((_, total)) => *total += bytes,
            None => found.push((pid, bytes)),
        }
    }
    // One that also draws stands in both lists, with all its memory.
    for (pid, bytes) in used(device.running_graphics_processes().unwrap_or_default()) {
        if !found.iter().any(|(other, _)| *other == pid) {
            found.push((pid, bytes));
        }
    }
    let named = |(pid, bytes)| {
        let path = nvml.sys_process_name(pid, NAME_BYTES_MAX).unwrap_or_default();
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        ProcessMemory { pid, name, bytes }
    };
    found.into_iter().map(named).collect()
}

fn used(processes: Vec<ProcessInfo>) -> impl Iterator<Item = (u32, u64)> {
    processes.into_iter().filter_map(|process| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) if is_number64(bytes) => Some((process.pid, bytes)),
        _ => None,
    })
}
