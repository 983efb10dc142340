//! What happened to each GPU over time, and which slots are of no use because of it. No clock, no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pictor_protocol::AttemptId;
use tokio::time::Instant;

use super::{Check, findings};
use crate::{
    blender::Device,
    collectors::nvml::{GpuSample, Gpus},
    slots::{Hold, WorkView},
};

/// For this long without a break, throttling is no peak.
const THROTTLED_FOR: Duration = Duration::from_secs(300);
/// Held back by these, a GPU renders slower than it could, and its owner can do something about it.
const REASONS: [&str; 4] = ["hw_thermal", "hw_power_brake", "hw_slowdown", "sw_thermal"];
/// A frame that has come this far in this time without the GPU is rendered by something else.
const UNUSED_FOR: Duration = Duration::from_secs(10);

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct GpuHistory {
    /// Since when each GPU is held back, and by what.
    throttled: BTreeMap<String, (Instant, &'static str)>,
    /// The attempts under way that were seen to use their GPU.
    used: BTreeSet<AttemptId>,
    /// GPUs that a task rendered without.
    pub(super) unused: BTreeSet<String>,
}

impl GpuHistory {
    pub(super) fn look(&mut self, gpus: &Gpus, devices: &[Device], work: &[WorkView], now: Instant) {
        let mut throttled = BTreeMap::new();
        for gpu in &gpus.visible {
            if let Some(reason) = hindrance(gpu) {
                let since = self.throttled.get(&gpu.uuid).map_or(now, |(since, _)| *since);
                throttled.insert(gpu.uuid.clone(), (since, reason));
            }
        }
        self.throttled = throttled;
        let under_way = |attempt: &AttemptId| work.iter().any(|work| work.lease.id == *attempt);
        self.used.retain(under_way);
        for work in work {
            let device = usize::try_from(work.slot).ok().and_then(|slot| devices.get(slot));
            let Some(Device::Gpu { uuid, .. }) = device else { continue };
            let Some(gpu) = gpus.visible.iter().find(|gpu| gpu.uuid == *uuid) else { continue };
            self.compare(work, gpu);
        }
    }

    fn compare(&mut self, work: &WorkView, gpu: &GpuSample) {
        // A GPU that does not tell its use proves nothing.
        let Some(utilization) = gpu.utilization_ratio else { return };
        if utilization > 0.0 || gpu.processes.is_some_and(|processes| processes > 0) {
            self.used.insert(work.lease.id);
        }
        let renders = work.in_frame.is_some_and(|(elapsed, ratio)| elapsed >= UNUSED_FOR && ratio > 0.0);
        if renders && !self.used.contains(&work.lease.id) {
            self.unused.insert(gpu.uuid.clone());
        }
    }

    pub(super) fn throttled(&self, gpus: &Gpus, now: Instant) -> Vec<(u32, &'static str)> {
        let long = |uuid: &String| {
            let (since, reason) = self.throttled.get(uuid)?;
            (now.saturating_duration_since(*since) >= THROTTLED_FOR).then_some(*reason)
        };
        gpus.visible.iter().filter_map(|gpu| Some((gpu.index, long(&gpu.uuid)?))).collect()
    }

    /// Why each slot is to take no task, in the order of the slots.
    pub(super) fn holds(&self, gpus: &Gpus, devices: &[Device]) -> Vec<Option<Hold>> {
        devices
            .iter()
            .map(|device| match device {
                Device::Cpu => None,
                Device::Gpu { uuid, index, .. } => self.hold(gpus, uuid, *index),
            })
            .collect()
    }

    fn hold(&self, gpus: &Gpus, uuid: &str, index: u32) -> Option<Hold> {
        let missing: Vec<_> = gpus.missing.iter().filter(|gpu| gpu.uuid == *uuid).cloned().collect();
        let xids: Vec<_> = gpus.xids.iter().filter(|event| event.uuid == *uuid).cloned().collect();
        let (check, found) = if !missing.is_empty() {
            (Check::Gpus, findings::gpus(gpus.visible.len(), &missing).found)
        } else if xids.iter().any(findings::is_fatal) {
            (Check::GpuXid, findings::gpu_xid(&xids).found)
        } else if self.unused.contains(uuid) {
            (Check::GpuFallback, findings::gpu_fallback(&[index]).found)
        } else {
            return None;
        };
        Some(Hold { check, reason: found })
    }
}

/// The gravest reason that holds the GPU back and that its owner can do something about.
fn hindrance(gpu: &GpuSample) -> Option<&'static str> {
    let active = gpu.throttle_reasons.as_ref()?;
    REASONS.into_iter().find(|reason| active.contains(reason))
}

#[cfg(test)]
mod tests {
    use pictor_protocol::{FrameRange, JobId, Lease, TaskId};

    use super::*;
    use crate::collectors::nvml::{Missing, MissingGpu, XidEvent};

    fn gpu(utilization_ratio: Option<f64>, throttle_reasons: Vec<&'static str>) -> Gpus {
        let gpu = GpuSample {
            uuid: "GPU-1".to_owned(),
            utilization_ratio,
            throttle_reasons: Some(throttle_reasons),
            ..GpuSample::default()
        };
        Gpus { visible: vec![gpu], ..Gpus::default() }
    }

    fn device() -> [Device; 1] {
        [Device::Gpu { uuid: "GPU-1".to_owned(), index: 0, minor: 0 }]
    }

    fn work(elapsed_seconds: u64, ratio: f64) -> WorkView {
        WorkView {
            slot: 0,
            lease: Lease {
                id: AttemptId::from_parts(1, [1; 10]),
                slot: 0,
                task_id: TaskId::from_parts(1, [0; 10]),
                job_id: JobId::from_parts(1, [0; 10]),
                frames: FrameRange::new(1, 4).unwrap(),
                scene_sha256: String::new(),
                scene_bytes: 0,
                width: None,
                height: None,
                lease_seconds: 60,
                timeout_seconds: 60,
                traceparent: None,
            },
            progress_ratio: ratio,
            elapsed: Duration::from_secs(elapsed_seconds),
            remaining: None,
            in_frame: Some((Duration::from_secs(elapsed_seconds), ratio)),
        }
    }

    #[test]
    fn throttling_counts_once_it_lasts() {
        let mut history = GpuHistory::default();
        let (start, hot) = (Instant::now(), gpu(None, vec!["sw_power_cap", "sw_thermal"]));
        let after = |seconds| start + Duration::from_secs(seconds);
        history.look(&hot, &device(), &[], start);
        history.look(&hot, &device(), &[], after(299));
        assert!(history.throttled(&hot, after(299)).is_empty());
        assert_eq!(history.throttled(&hot, after(300)), [(0, "sw_thermal")]);
        history.look(&gpu(None, vec!["sw_power_cap"]), &device(), &[], after(301));
        history.look(&hot, &device(), &[], after(302));
        assert!(history.throttled(&hot, after(601)).is_empty(), "a break starts the count again");
        assert_eq!(history.holds(&hot, &device()), [None], "it slows, it does not stop");
    }

    #[test]
    fn a_task_that_leaves_its_gpu_idle_is_a_fallback() {
        let now = Instant::now();
        for (before, utilization, elapsed_seconds, ratio, is_unused) in [
            (None, Some(0.0), 10, 0.1, true),
            (None, Some(0.0), 9, 0.1, false),
            (None, Some(0.0), 60, 0.0, false),
            (None, Some(0.02), 60, 0.5, false),
            (None, None, 60, 0.5, false),
            (Some(0.5), Some(0.0), 60, 0.5, false),
        ] {
            let mut history = GpuHistory::default();
            if let Some(before) = before {
                history.look(&gpu(Some(before), vec![]), &device(), &[work(1, 0.0)], now);
            }
            let gpus = gpu(utilization, vec![]);
            history.look(&gpus, &device(), &[work(elapsed_seconds, ratio)], now);
            let hold = history.holds(&gpus, &device()).remove(0);
            assert_eq!(hold.is_some(), is_unused, "{utilization:?} {elapsed_seconds} {ratio}");
            if let Some(hold) = hold {
                assert_eq!(hold.check, Check::GpuFallback);
            }
        }
    }

    #[test]
    fn a_lost_gpu_and_a_fatal_xid_hold_their_own_slot() {
        let history = GpuHistory::default();
        let mut gpus = gpu(None, vec![]);
        let devices = [device().to_vec(), vec![Device::Cpu]].concat();
        gpus.xids = vec![XidEvent { uuid: "GPU-1".to_owned(), index: 0, xid: 79, at_seconds: 1.0 }];
        let held = history.holds(&gpus, &devices);
        assert!(held[0].as_ref().is_some_and(|hold| hold.check == Check::GpuXid) && held[1].is_none());
        gpus.missing = vec![MissingGpu { uuid: "GPU-1".to_owned(), index: 0, reason: Missing::Lost }];
        let held = history.holds(&gpus, &devices);
        assert!(held[0].as_ref().is_some_and(|hold| hold.check == Check::Gpus) && held[1].is_none());
    }
}
