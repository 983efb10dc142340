//! What happened to each GPU over time. No clock, no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pictor_blender::Device;
use pictor_measure::nvml::{GpuSample, Gpus};
use pictor_protocol::{AttemptId, JobId};
use tokio::time::Instant;

use crate::{findings::WatchedGpus, slots::WorkView};

/// For this long without a break, throttling is no peak.
const THROTTLED_FOR: Duration = Duration::from_secs(300);
/// Held back by these, a GPU renders slower than it could, and its owner can do something about it.
const REASONS: [&str; 4] = ["hw_thermal", "hw_power_brake", "hw_slowdown", "sw_thermal"];
/// A frame that comes on this long, over this many measurements of an idle GPU, is rendered by something else. The first
/// of them may have begun before the frame did.
const UNUSED_FOR: Duration = Duration::from_secs(10);
const UNUSED_SAMPLES: u32 = 5;
/// How far a frame has come is a stranger's word, so one job proves nothing.
const UNUSED_JOBS: usize = 2;
/// After this long a GPU that was not used gets another try.
const UNUSED_TRY_AGAIN: Duration = Duration::from_secs(1_800);

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct GpuHistory {
    /// Since when each GPU is held back, and by what.
    throttled: BTreeMap<String, (Instant, &'static str)>,
    /// The attempts under way that were seen to use their GPU.
    used: BTreeSet<AttemptId>,
    /// How many measurements found the GPU idle while each attempt came on.
    idle: BTreeMap<AttemptId, u32>,
    /// The jobs that rendered without the GPU they were meant for, by GPU, and when the last of them did.
    unused: BTreeMap<String, (BTreeSet<JobId>, Instant)>,
}

impl GpuHistory {
    /// Takes a new measurement into account.
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
        self.idle.retain(|attempt, _| under_way(attempt));
        self.unused.retain(|_, (_, at)| now.saturating_duration_since(*at) < UNUSED_TRY_AGAIN);
        for work in work {
            let device = usize::try_from(work.slot).ok().and_then(|slot| devices.get(slot));
            let uuid = device.and_then(Device::gpu_uuid);
            let gpu = gpus.visible.iter().find(|gpu| Some(gpu.uuid.as_str()) == uuid);
            if let Some(gpu) = gpu {
                self.compare(work, gpu, now);
            }
        }
    }

    fn compare(&mut self, work: &WorkView, gpu: &GpuSample, now: Instant) {
        // A GPU that does not tell its use proves nothing.
        let Some(utilization) = gpu.utilization_ratio else { return };
        if utilization > 0.0 || gpu.processes.is_some_and(|processes| processes > 0) {
            self.used.insert(work.lease.id);
            self.unused.remove(&gpu.uuid);
        }
        let renders = work.in_frame.is_some_and(|(elapsed, ratio)| elapsed >= UNUSED_FOR && ratio > 0.0);
        if !renders || !work.with_cycles || self.used.contains(&work.lease.id) {
            return;
        }
        let idle = self.idle.entry(work.lease.id).or_default();
        *idle += 1;
        if *idle >= UNUSED_SAMPLES {
            let (jobs, at) = self.unused.entry(gpu.uuid.clone()).or_insert((BTreeSet::new(), now));
            jobs.insert(work.lease.job_id);
            *at = now;
        }
    }

    /// Whether tasks rendered without this GPU.
    fn is_unused(&self, uuid: &str) -> bool {
        self.unused.get(uuid).is_some_and(|(jobs, _)| jobs.len() >= UNUSED_JOBS)
    }

    fn throttled(&self, gpus: &Gpus, now: Instant) -> Vec<(u32, &'static str)> {
        let long = |uuid: &String| {
            let (since, reason) = self.throttled.get(uuid)?;
            (now.saturating_duration_since(*since) >= THROTTLED_FOR).then_some(*reason)
        };
        gpus.visible.iter().filter_map(|gpu| Some((gpu.index, long(&gpu.uuid)?))).collect()
    }

    /// What was measured now, with what it means together with what was before.
    pub(super) fn seen(&self, measured: Gpus, without_slot: Vec<u32>, now: Instant) -> WatchedGpus {
        let throttled = self.throttled(&measured, now);
        let unused = self.unused.keys().filter(|uuid| self.is_unused(uuid)).cloned().collect();
        WatchedGpus { measured, without_slot, throttled, unused }
    }
}

/// The gravest reason that holds the GPU back and that its owner can do something about.
fn hindrance(gpu: &GpuSample) -> Option<&'static str> {
    let active = gpu.throttle_reasons.as_ref()?;
    REASONS.into_iter().find(|reason| active.contains(reason))
}

#[cfg(test)]
mod tests {
    use pictor_measure::nvml::{Missing, MissingGpu, XidEvent};
    use pictor_protocol::{Check, Lease, SlotReason};

    use super::super::holds;
    use super::*;
    use crate::{findings::Moment, slots::tests::lease};

    /// What keeps slots from taking tasks because of it.
    fn held_by(history: &GpuHistory, gpus: &Gpus, devices: &[Device]) -> Vec<Option<SlotReason>> {
        let seen = history.seen(gpus.clone(), Vec::new(), Instant::now());
        holds::of(devices, &Moment { gpus: Some(seen), ..Moment::default() })
    }

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

    fn work(job: u8, elapsed_seconds: u64, ratio: f64) -> WorkView {
        WorkView {
            slot: 0,
            lease: Lease {
                id: AttemptId::from_parts(1, [job; 10]),
                job_id: JobId::from_parts(1, [job; 10]),
                ..lease(0)
            },
            progress_ratio: ratio,
            elapsed: Duration::from_secs(elapsed_seconds),
            remaining: None,
            in_frame: Some((Duration::from_secs(elapsed_seconds), ratio)),
            with_cycles: true,
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
        assert_eq!(held_by(&history, &hot, &device()), [None], "it slows, it does not stop");
    }

    fn history(looks: u32, utilization: Option<f64>, works: &[WorkView], now: Instant) -> GpuHistory {
        let mut history = GpuHistory::default();
        for work in works {
            for _ in 0..looks {
                history.look(&gpu(utilization, vec![]), &device(), std::slice::from_ref(work), now);
            }
        }
        history
    }

    #[test]
    fn two_jobs_that_leave_their_gpu_idle_are_a_fallback() {
        let now = Instant::now();
        let jobs =
            |elapsed_seconds, ratio| [work(1, elapsed_seconds, ratio), work(2, elapsed_seconds, ratio)];
        for (looks, utilization, works, is_unused) in [
            (5, Some(0.0), jobs(10, 0.1), true),
            (4, Some(0.0), jobs(10, 0.1), false),
            (5, Some(0.0), jobs(9, 0.1), false),
            (5, Some(0.0), jobs(60, 0.0), false),
            (5, Some(0.02), jobs(60, 0.5), false),
            (5, None, jobs(60, 0.5), false),
            (5, Some(0.0), [work(1, 60, 0.5), work(1, 60, 0.5)], false),
            (5, Some(0.0), jobs(60, 0.5).map(|work| WorkView { with_cycles: false, ..work }), false),
        ] {
            let history = history(looks, utilization, &works, now);
            let hold = held_by(&history, &gpu(utilization, vec![]), &device()).remove(0);
            assert_eq!(hold.is_some(), is_unused, "{looks} {utilization:?} {works:?}");
            assert!(hold.is_none_or(|hold| hold.check == Some(Check::GpuFallback)));
        }
    }

    #[test]
    fn a_fallback_ends_with_the_gpus_next_use_or_after_a_while() {
        let now = Instant::now();
        let works = [work(1, 60, 0.5), work(2, 60, 0.5)];
        let mut used = history(5, Some(0.0), &works, now);
        used.look(&gpu(Some(0.9), vec![]), &device(), &[work(3, 1, 0.0)], now);
        assert!(!used.is_unused("GPU-1"));
        let mut later = history(5, Some(0.0), &works, now);
        later.look(&gpu(Some(0.0), vec![]), &device(), &[], now + UNUSED_TRY_AGAIN);
        assert!(!later.is_unused("GPU-1"));
    }

    #[test]
    fn a_lost_gpu_and_a_fatal_xid_hold_their_own_slot() {
        let history = GpuHistory::default();
        let mut gpus = gpu(None, vec![]);
        let devices = [device().to_vec(), vec![Device::Cpu]].concat();
        gpus.xids = vec![XidEvent { uuid: "GPU-1".to_owned(), index: 0, xid: 79, at_seconds: 1.0 }];
        let held = held_by(&history, &gpus, &devices);
        assert!(held[0].as_ref().is_some_and(|hold| hold.check == Some(Check::GpuXid)) && held[1].is_none());
        gpus.missing = vec![MissingGpu { uuid: "GPU-1".to_owned(), index: 0, reason: Missing::Lost }];
        let held = held_by(&history, &gpus, &devices);
        assert!(held[0].as_ref().is_some_and(|hold| hold.check == Some(Check::Gpus)) && held[1].is_none());
    }
}
