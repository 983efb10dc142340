//! Event sets. An Xid error that is added to a GPU's list in the script is an event for each set that the GPU is
//! registered with.

use std::{
    ffi::{c_uint, c_ulonglong},
    os::fd::OwnedFd,
    path::Path,
    ptr, thread,
    time::{Duration, Instant},
};

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventSet_t, nvmlReturn_t};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
};

use crate::{
    given::give,
    library::{LOOK_AGAIN, Library, answer_about, lock},
    script::{Code, State},
    sets::{EventSet, Listened},
};

fn with_set<T>(
    set: nvmlEventSet_t,
    act: impl FnOnce(&mut Library, usize) -> Result<T, Code>,
) -> Result<T, Code> {
    let mut library = lock()?;
    let place = set.addr().checked_sub(1).ok_or(Code::INVALID_ARGUMENT)?;
    match library.event_sets.get(place) {
        Some(Some(_)) => act(&mut library, place),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

fn code(answer: Result<(), Code>) -> nvmlReturn_t {
    answer.map_or_else(|code| code.0, |()| nvml::nvmlReturn_enum_NVML_SUCCESS)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) -> nvmlReturn_t {
    let made = lock().and_then(|mut library| {
        if let Some(code) = library.moment().script.errors.get("nvmlEventSetCreate") {
            return Err(*code);
        }
        library.event_sets.push(Some(EventSet::default()));
        Ok(ptr::without_provenance_mut(library.event_sets.len()))
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(set, made) }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    code(with_set(set, |library, place| {
        library.event_sets[place] = None;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    types: c_ulonglong,
    set: nvmlEventSet_t,
) -> nvmlReturn_t {
    let listened = answer_about("nvmlDeviceRegisterEvents", device, |now, gpu| {
        let supported = now.read(gpu.event_types)?;
        if types & !supported != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        Ok(Listened { uuid: gpu.uuid.clone(), types, told: gpu.xids.len() })
    });
    code(listened.and_then(|listened| {
        with_set(set, |library, place| {
            if let Some(set) = &mut library.event_sets[place] {
                set.listened.push(listened);
            }
            Ok(())
        })
    }))
}

/// The next event of a set: a GPU's UUID and its Xid error.
fn next(set: nvmlEventSet_t) -> Result<(nvmlDevice_t, u64), Code> {
    with_set(set, |library, place| {
        let script = library.moment().script;
        let Some(set) = &mut library.event_sets[place] else { return Err(Code::INVALID_ARGUMENT) };
        let mut lost = false;
        let mut event = None;
        for listened in &mut set.listened {
            let Some(gpu) = script.gpus.iter().find(|gpu| gpu.uuid == listened.uuid) else { continue };
            lost |= gpu.state == State::Lost;
            if let (None, Some(xid)) = (event, gpu.xids.get(listened.told)) {
                listened.told += 1;
                if listened.types & u64::from(nvml::nvmlEventTypeXidCriticalError) != 0 {
                    event = Some((&gpu.uuid, *xid));
                }
            }
        }
        match event {
            Some((uuid, xid)) => Ok((library.handle(uuid), xid)),
            None if lost => Err(Code::GPU_IS_LOST),
            None => Err(Code::TIMEOUT),
        }
    })
}

/// Sleeps until the script changes, as the real one sleeps until the driver has news: the agent's CPU is measured with
/// this library.
fn wait(set: nvmlEventSet_t, timeout_ms: c_uint) -> Result<(nvmlDevice_t, u64), Code> {
    let until = Instant::now() + Duration::from_millis(timeout_ms.into());
    let folder = lock()?.folder();
    // From before the first look on, so that no change is missed.
    let changes = changes(&folder).map_err(|_| Code::UNKNOWN)?;
    loop {
        let event = next(set);
        let left = until.saturating_duration_since(Instant::now());
        if event.as_ref().err() != Some(&Code::TIMEOUT) || left.is_zero() {
            return event;
        }
        let left = Timespec::try_from(left).map_err(|_| Code::INVALID_ARGUMENT)?;
        if poll(&mut [PollFd::new(&changes, PollFlags::IN)], Some(&left)).is_ok_and(|ready| ready > 0) {
            // What changed is told by looking at the script; once it may be looked at again.
            while rustix::io::read(&changes, &mut [0; 4096]).is_ok() {}
            thread::sleep(LOOK_AGAIN);
        }
    }
}

fn changes(folder: &Path) -> rustix::io::Result<OwnedFd> {
    let changes = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&changes, folder, inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CLOSE_WRITE)?;
    Ok(changes)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    data: *mut nvml::nvmlEventData_t,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let event = wait(set, timeout_ms).map(|(device, xid)| nvml::nvmlEventData_t {
        device,
        eventType: nvml::nvmlEventTypeXidCriticalError.into(),
        eventData: xid,
        gpuInstanceId: u32::MAX,
        computeInstanceId: u32::MAX,
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(data, event) }
}

/// What the first version fills: its caller has no room for more.
#[repr(C)]
struct EventDataV1 {
    device: nvmlDevice_t,
    kind: c_ulonglong,
    data: c_ulonglong,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetWait(
    set: nvmlEventSet_t,
    data: *mut nvml::nvmlEventData_t,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let event = wait(set, timeout_ms).map(|(device, xid)| EventDataV1 {
        device,
        kind: nvml::nvmlEventTypeXidCriticalError.into(),
        data: xid,
    });
    // SAFETY: the caller keeps NVML's contract.
    unsafe { give(data.cast(), event) }
}
