//! A task under way on a slot: how far it is, and how long it will take.

use std::time::Duration;

use pictor_protocol::{AttemptReport, Lease};
use tokio::{sync::watch, time::Instant};

use super::Stop;
use crate::eta::{Estimates, EtaPoint};

/// A task under way.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) lease: Lease,
    pub(super) started: Instant,
    frames_done: u32,
    /// How long the finished frames took together.
    frames_time: Duration,
    frame_started: Option<Instant>,
    frame_ratio: f64,
    frame_remaining: Option<Duration>,
    estimates: Estimates,
    pub(super) with_cycles: bool,
    stop: watch::Sender<Option<Stop>>,
}

/// What a slot's task looks like from outside.
#[derive(Debug, Clone)]
pub struct WorkView {
    pub slot: u32,
    pub lease: Lease,
    pub progress_ratio: f64,
    pub elapsed: Duration,
    /// `None` until a frame says how long it takes.
    pub remaining: Option<Duration>,
    /// How long the frame in progress has been rendered, and how much of it.
    pub in_frame: Option<(Duration, f64)>,
    /// Whether Cycles renders it, on the device that it was told to use.
    pub with_cycles: bool,
}

impl Work {
    pub(super) fn new(lease: Lease, stop: watch::Sender<Option<Stop>>) -> Work {
        Work {
            lease,
            started: Instant::now(),
            frames_done: 0,
            frames_time: Duration::ZERO,
            frame_started: None,
            frame_ratio: 0.0,
            frame_remaining: None,
            estimates: Estimates::default(),
            with_cycles: false,
            stop,
        }
    }

    pub(super) fn frame_started(&mut self) {
        self.frame_started = Some(Instant::now());
        self.frame_ratio = 0.0;
        self.frame_remaining = None;
    }

    pub(super) fn frame_progress(&mut self, ratio: f64, remaining: Option<Duration>) {
        self.frame_ratio = ratio.clamp(0.0, 1.0);
        self.frame_remaining = remaining;
        self.estimate();
    }

    pub(super) fn frame_finished(&mut self) {
        self.frames_done += 1;
        self.frames_time += self.frame_started.take().map_or(Duration::ZERO, |started| started.elapsed());
        self.frame_ratio = 0.0;
        self.frame_remaining = None;
        self.estimate();
    }

    /// How wrong its estimates were, now that it is rendered.
    pub(super) fn eta_errors(&self) -> Vec<(EtaPoint, f64)> {
        self.estimates.errors(Instant::now())
    }

    fn estimate(&mut self) {
        let view = self.view(0);
        if let Some(remaining) = view.remaining {
            self.estimates.add(view.progress_ratio, remaining, Instant::now());
        }
    }

    pub(super) fn ask_to_stop(&self, stop: &Stop) {
        // The first reason stands, but a lost lease outdoes a pause: nothing of it is to be sent.
        self.stop.send_if_modified(|current| {
            let is_news = current.is_none() || (*stop == Stop::Lost && *current != Some(Stop::Lost));
            if is_news {
                *current = Some(stop.clone());
            }
            is_news
        });
    }

    pub(super) fn view(&self, slot: u32) -> WorkView {
        let frames = u32::try_from(self.lease.frames.count()).unwrap_or(u32::MAX).max(1);
        let left = f64::from(frames.saturating_sub(self.frames_done)) - self.frame_ratio;
        let progress_ratio = ((f64::from(self.frames_done) + self.frame_ratio) / f64::from(frames)).min(1.0);
        let in_frame = self.frame_started.map(|started| started.elapsed());
        let per_frame = match (self.frames_done, in_frame.zip(self.frame_remaining)) {
            (0, None) => None,
            (0, Some((elapsed, remaining))) => Some(elapsed + remaining),
            (done, _) => Some(self.frames_time / done),
        };
        WorkView {
            slot,
            lease: self.lease.clone(),
            progress_ratio,
            elapsed: self.started.elapsed(),
            remaining: per_frame.map(|per_frame| per_frame.mul_f64(left.max(0.0))),
            in_frame: in_frame.map(|elapsed| (elapsed, self.frame_ratio)),
            with_cycles: self.with_cycles,
        }
    }
}

impl WorkView {
    /// As a heartbeat reports it.
    pub fn report(&self) -> AttemptReport {
        AttemptReport {
            attempt_id: self.lease.id,
            progress_ratio: Some(self.progress_ratio),
            elapsed_seconds: Some(self.elapsed.as_secs_f64()),
            remaining_seconds: self.remaining.map(|remaining| remaining.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Slots, tests::lease};
    use super::*;
    use pictor_blender::Device;

    #[test]
    fn progress_counts_frames_and_parts_of_one() {
        let slots = Slots::new(vec![Device::Cpu]);
        let _signal = slots.take(&lease(0)).unwrap();
        slots.frame_started(0);
        assert_eq!(slots.work().remove(0).remaining, None);
        slots.frame_progress(0, 0.5, Some(Duration::from_secs(4)));
        let view = slots.work().remove(0);
        let remaining = view.remaining.unwrap();
        assert_eq!(view.progress_ratio, 0.125);
        assert!((14.0..15.0).contains(&remaining.as_secs_f64()), "3.5 frames of 4 s: {remaining:?}");
        slots.frame_finished(0);
        let view = slots.work().remove(0);
        assert_eq!(view.progress_ratio, 0.25);
        assert!(view.remaining.unwrap() < Duration::from_secs(1));
    }
}
