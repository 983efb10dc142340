//! The GPUs: whether they are there, whether tasks use them, what holds them back, and the errors they reported.

use pictor_measure::nvml::{Gpus, Missing, MissingGpu, XidEvent};
use pictor_protocol::Check;

use crate::{
    devices::DeviceChoice,
    finding::Finding,
    probe::{Inventory, Silence},
};

/// Xids after which the GPU needs a reset, or the machine a technician; the others are an application's own faults.
/// prometheus/alerts/gpus.yml names the same.
const XIDS_FATAL: [u64; 13] = [46, 48, 61, 62, 64, 74, 79, 95, 109, 119, 120, 140, 143];

/// What a running agent has seen of its GPUs.
#[derive(Debug, Clone, Default)]
pub struct WatchedGpus {
    pub measured: Gpus,
    /// The indexes of those that came after the agent was started.
    pub without_slot: Vec<u32>,
    /// Those that have been held back by heat or by the hardware for a while, and by what.
    pub throttled: Vec<(u32, &'static str)>,
    /// Those whose tasks rendered without them.
    pub unused: Vec<String>,
}

/// As one look finds them.
pub(super) fn at_a_look(gpus: &Inventory) -> Finding {
    if gpus.choice == DeviceChoice::Cpu {
        return Finding::ok(Check::Gpus, "not used: `device = \"cpu\"`");
    }
    let missing = gpus.missing();
    if !missing.is_empty() {
        return presence(gpus.visible.len(), &missing, &[]);
    }
    if !gpus.visible.is_empty() {
        let names = gpus.visible.iter().map(|gpu| gpu.name.clone().unwrap_or_else(|| gpu.uuid.clone()));
        let driver = gpus.visible.iter().find_map(|gpu| gpu.driver_version.clone()).unwrap_or_default();
        let names = names.collect::<Vec<_>>().join(", ");
        return Finding::ok(Check::Gpus, format!("{names}, driver {driver}"));
    }
    let reason = match &gpus.silence {
        Some(Silence::Error(error)) => error,
        Some(Silence::NoAnswer) => "NVML does not answer",
        None => "NVML shows no GPU",
    };
    let advice = "install the NVIDIA driver to render on a GPU";
    match gpus.choice {
        DeviceChoice::Gpu => Finding::fail(Check::Gpus, reason, advice),
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            Finding::warn(Check::Gpus, format!("{reason}; tasks render on the CPU"), advice)
        }
    }
}

/// As a running agent sees them. A machine that never had a GPU has nothing to check.
pub(super) fn watched(gpus: &WatchedGpus) -> Vec<Finding> {
    let Gpus { visible, missing, xids } = &gpus.measured;
    if visible.is_empty() && missing.is_empty() {
        return Vec::new();
    }
    let unused: Vec<u32> =
        visible.iter().filter(|gpu| gpus.unused.contains(&gpu.uuid)).map(|gpu| gpu.index).collect();
    vec![
        presence(visible.len(), missing, &gpus.without_slot),
        xid(xids),
        throttling(&gpus.throttled),
        fallback(&unused),
    ]
}

/// What makes one GPU useless: the gravest alone.
pub(super) fn useless(gpus: &WatchedGpus, uuid: &str, index: u32) -> Option<Finding> {
    let Gpus { visible, missing, xids } = &gpus.measured;
    let missing: Vec<_> = missing.iter().filter(|gpu| gpu.uuid == uuid).cloned().collect();
    let xids: Vec<_> = xids.iter().filter(|event| event.uuid == uuid).cloned().collect();
    let unused: Vec<_> = gpus.unused.iter().filter(|unused| *unused == uuid).map(|_| index).collect();
    let found = [presence(visible.len(), &missing, &[]), xid(&xids), fallback(&unused)];
    found.into_iter().find(Finding::is_failure)
}

fn presence(visible: usize, missing: &[MissingGpu], without_slot: &[u32]) -> Finding {
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

fn xid(events: &[XidEvent]) -> Finding {
    let fatal: Vec<String> = events
        .iter()
        .filter(|event| XIDS_FATAL.contains(&event.xid))
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

fn throttling(throttled: &[(u32, &'static str)]) -> Finding {
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

fn fallback(unused: &[u32]) -> Finding {
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
    use super::*;
    use crate::finding::Grade;

    fn event(xid: u64) -> XidEvent {
        XidEvent { uuid: "GPU-1".to_owned(), index: 1, xid, at_seconds: 1.0 }
    }

    #[test]
    fn an_applications_xid_is_no_reason_to_stop() {
        assert_eq!(xid(&[event(31), event(43)]).status, Grade::Ok);
        let fatal = xid(&[event(31), event(79)]);
        assert!(fatal.status == Grade::Fail && fatal.found == "GPU 1 (GPU-1) reported Xid 79", "{fatal:?}");
    }

    #[test]
    fn the_alert_names_the_same_xids() {
        let alerts = include_str!("../../../prometheus/alerts/gpus.yml");
        let fatal = XIDS_FATAL.map(|xid| xid.to_string()).join("|");
        assert!(alerts.contains(&format!("xid=~\"{fatal}\"")), "prometheus/alerts/gpus.yml has other ones");
    }

    #[test]
    fn a_gpu_is_useless_for_its_gravest_reason() {
        let lost = MissingGpu { uuid: "GPU-1".to_owned(), index: 1, reason: Missing::Lost };
        let mut gpus = WatchedGpus { unused: vec!["GPU-1".to_owned()], ..WatchedGpus::default() };
        let check = |gpus: &WatchedGpus| useless(gpus, "GPU-1", 1).map(|finding| finding.check);
        assert_eq!(check(&gpus), Some(Check::GpuFallback));
        gpus.measured.xids = vec![event(79)];
        assert_eq!(check(&gpus), Some(Check::GpuXid));
        gpus.measured.missing = vec![lost];
        assert_eq!(check(&gpus), Some(Check::Gpus));
        assert_eq!(useless(&gpus, "GPU-2", 2), None, "its neighbour is well");
    }
}
