//! What each check finds, in words, from evidence that others gathered.

use std::path::Path;

use pictor_blender::{Installed, Sandbox, sandbox};
use pictor_measure::nvml::{Missing, MissingGpu, XidEvent};
use pictor_protocol::Check;

use super::Finding;
use crate::readiness;

/// Leases are counted from when a call is sent, so a wrong clock costs no money, but it blurs every graph.
const CLOCK_SKEW_SECONDS_MAX: f64 = 5.0;
/// A few large scenes and their frames.
const DISK_FREE_BYTES_LOW: u64 = 5 << 30;
/// Xids after which the GPU needs a reset, or the machine a technician; the others are an application's own faults.
/// prometheus/alerts/gpus.yml names the same.
const XIDS_FATAL: [u64; 13] = [46, 48, 61, 62, 64, 74, 79, 95, 109, 119, 120, 140, 143];

pub fn disk(folder: &Path) -> Finding {
    let make_room = "make room, or choose another disk with --data";
    match readiness::disk_free_bytes(folder) {
        Some(free) if free < readiness::DISK_FREE_BYTES_MIN => {
            Finding::fail(Check::Disk, format!("{} MB free", free >> 20), make_room)
        }
        Some(free) if free < DISK_FREE_BYTES_LOW => {
            Finding::warn(Check::Disk, format!("nearly full: {:.1} GB free", gigabytes(free)), make_room)
        }
        Some(free) => Finding::ok(Check::Disk, format!("{} GB free", free >> 30)),
        None => Finding::warn(Check::Disk, "free space is not known", "see the check of the data folder"),
    }
}

// Sizes of disks are far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

pub fn blender(chosen: Result<&Installed, &str>) -> Finding {
    match chosen {
        Ok(found) if found.path.exists() => {
            Finding::ok(Check::Blender, format!("Blender {} ({})", found.version, found.path.display()))
        }
        Ok(gone) => Finding::fail(
            Check::Blender,
            format!("Blender is gone from {}", gone.path.display()),
            "install it again, or name another with --blender",
        ),
        Err(reason) => Finding::fail(
            Check::Blender,
            reason,
            "install Blender 3.4 or newer, or name one with --blender or `path` under [blender]",
        ),
    }
}

pub fn sandbox(probed: Result<&Sandbox, &str>) -> Finding {
    match probed {
        Ok(found) if found.mode() == sandbox::Mode::Off => Finding::warn(
            Check::Sandbox,
            found.describe(),
            "write `mode = \"auto\"` under [sandbox], unless something else isolates this machine",
        ),
        Ok(found) => Finding::ok(Check::Sandbox, found.describe()),
        Err(reason) => Finding::fail(
            Check::Sandbox,
            reason,
            "do what the message says; until then this machine takes no tasks",
        ),
    }
}

/// `skew_seconds` is how far this machine is ahead.
pub fn clock(skew_seconds: Option<f64>) -> Finding {
    match skew_seconds {
        Some(skew) if skew.abs() > CLOCK_SKEW_SECONDS_MAX => Finding::warn(
            Check::Clock,
            format!("this machine is {:.0} s {}", skew.abs(), if skew > 0.0 { "ahead" } else { "behind" }),
            "let the system set its clock: `timedatectl set-ntp true`",
        ),
        Some(_) => Finding::ok(Check::Clock, "as the registry's"),
        None => Finding::warn(Check::Clock, "the registry tells no time", "nothing, if the clock is right"),
    }
}

/// `without_slot` are the indexes of those that came after the agent was started.
pub fn gpus(visible: usize, missing: &[MissingGpu], without_slot: &[u32]) -> Finding {
    if missing.is_empty() && !without_slot.is_empty() {
        let named: Vec<String> = without_slot.iter().map(|index| format!("GPU {index}")).collect();
        return Finding::warn(
            Check::Gpus,
            format!("not rendered on, for the agent started without: {}", named.join(", ")),
            "start the agent again",
        );
    }
    if missing.is_empty() {
        return Finding::ok(Check::Gpus, format!("all {visible} are there"));
    }
    let named: Vec<String> = missing.iter().map(|gpu| named(gpu, visible)).collect();
    Finding::fail(
        Check::Gpus,
        named.join("; "),
        "look for Xid in the kernel's log, reset the GPU or restart the machine, then look at its power and seat; \
         if it was taken out on purpose: `pictor-agent doctor --accept-gpus`",
    )
}

fn named(gpu: &MissingGpu, visible: usize) -> String {
    let what = match gpu.reason {
        Missing::Lost => "is lost: it fell off the bus or needs a reset",
        Missing::Hung => "hangs: the driver does not answer about it",
        Missing::Absent if visible == 0 => "is not shown: the driver shows no GPU at all",
        Missing::Absent => "is not there any more",
    };
    format!("GPU {} ({}) {what}", gpu.index, gpu.uuid)
}

pub fn is_fatal(event: &XidEvent) -> bool {
    XIDS_FATAL.contains(&event.xid)
}

pub fn gpu_xid(events: &[XidEvent]) -> Finding {
    let fatal: Vec<String> = events
        .iter()
        .filter(|event| is_fatal(event))
        .map(|event| format!("GPU {} ({}) reported Xid {}", event.index, event.uuid, event.xid))
        .collect();
    if fatal.is_empty() {
        return Finding::ok(Check::GpuXid, "none that a GPU does not recover from");
    }
    Finding::fail(
        Check::GpuXid,
        fatal.join("; "),
        "reset the GPU (`nvidia-smi --gpu-reset`) or restart the machine, then start the agent again; if it comes back, \
         the GPU needs replacing",
    )
}

/// The GPUs that have been held back by heat or by the hardware for a while, and by what.
pub fn gpu_throttling(throttled: &[(u32, &'static str)]) -> Finding {
    if throttled.is_empty() {
        return Finding::ok(Check::GpuThrottling, "no GPU is held back by heat or power");
    }
    let named: Vec<String> =
        throttled.iter().map(|(index, reason)| format!("GPU {index} is held back: {reason}")).collect();
    Finding::warn(
        Check::GpuThrottling,
        named.join("; "),
        "clean its fans and filters, cool the room or lower its power limit; for hw_power_brake, look at the power supply",
    )
}

/// The GPUs whose task rendered without using them.
pub fn gpu_fallback(unused: &[u32]) -> Finding {
    if unused.is_empty() {
        return Finding::ok(Check::GpuFallback, "tasks run on the GPU they are meant for");
    }
    let named: Vec<String> = unused.iter().map(|index| format!("GPU {index}")).collect();
    Finding::fail(
        Check::GpuFallback,
        format!("a task meant for {} rendered without it, so on the CPU", named.join(", ")),
        "use a Blender from blender.org and a current driver, look at the task's log, then start the agent again; \
         to render on the CPU on purpose write `device = \"cpu\"` under [blender]",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn xid(xid: u64) -> XidEvent {
        XidEvent { uuid: "GPU-1".to_owned(), index: 1, xid, at_seconds: 1.0 }
    }

    #[test]
    fn an_applications_xid_is_no_reason_to_stop() {
        assert_eq!(gpu_xid(&[xid(31), xid(43)]).status, Status::Ok);
        let fatal = gpu_xid(&[xid(31), xid(79)]);
        assert!(fatal.status == Status::Fail && fatal.found == "GPU 1 (GPU-1) reported Xid 79", "{fatal:?}");
    }

    #[test]
    fn the_alert_names_the_same_xids() {
        let alerts = include_str!("../../../prometheus/alerts/gpus.yml");
        let fatal = XIDS_FATAL.map(|xid| xid.to_string()).join("|");
        assert!(alerts.contains(&format!("xid=~\"{fatal}\"")), "prometheus/alerts/gpus.yml has other ones");
    }

    #[test]
    fn a_clock_is_judged_in_both_directions() {
        assert_eq!(clock(Some(-4.0)).status, Status::Ok);
        assert!(clock(Some(-60.0)).found.ends_with("60 s behind"));
        assert!(clock(Some(60.0)).found.ends_with("60 s ahead"));
    }
}
