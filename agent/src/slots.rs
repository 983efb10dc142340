//! Where tasks run: each slot's state, what its attempt has done so far, and who wants it stopped.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pictor_protocol::{
    AttemptId, AttemptReport, DesiredState, Lease, ReportedSlot, SlotDesired, SlotReason, SlotStatus,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    blender::Device,
    eta::{Estimates, EtaPoint},
    health::Check,
};

/// Why an attempt's render is to end early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The task has another attempt, or has ended.
    Lost,
    /// The owner paused the worker, or this slot of it.
    Paused,
    /// Its GPU is gone or of no use any more: Blender would wait for it for ever, or failed because of it.
    Held(Hold),
    /// The agent ends.
    Shutdown,
    /// The registry does not take what was rendered.
    Rejected(String),
}

/// Why a slot takes no task, found by this machine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub check: Check,
    pub reason: String,
}

/// One place where a task can run.
#[derive(Debug)]
enum SlotState {
    Free,
    Working(Box<Work>),
}

/// A task under way.
#[derive(Debug)]
struct Work {
    lease: Lease,
    started: Instant,
    frames_done: u32,
    /// How long the finished frames took together.
    frames_time: Duration,
    frame_started: Option<Instant>,
    frame_ratio: f64,
    frame_remaining: Option<Duration>,
    estimates: Estimates,
    with_cycles: bool,
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

/// All slots of this worker.
#[derive(Debug)]
pub struct Slots {
    devices: Vec<Device>,
    state: Mutex<State>,
    /// Rings when a slot becomes free or the desired state changes.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// What the console wants of the whole worker.
    desired: DesiredState,
    /// What it wants of each slot besides.
    slots_desired: Vec<DesiredState>,
    slots: Vec<SlotState>,
    holds: Vec<Option<Hold>>,
    /// How long each slot's ended tasks have kept it busy.
    busy: Vec<Duration>,
}

/// A slot's right to its lease's work; what it is asked to stop for.
#[derive(Debug)]
pub struct StopSignal(watch::Receiver<Option<Stop>>);

impl StopSignal {
    /// Waits until the work shall end.
    pub async fn stopped(&mut self) -> Stop {
        match self.0.wait_for(Option::is_some).await {
            Ok(stop) => stop.clone().unwrap_or(Stop::Shutdown),
            // The sender lives in the slot; it is gone when the slot was freed.
            Err(_) => Stop::Shutdown,
        }
    }
}

impl Slots {
    /// One slot for each device.
    pub fn new(devices: Vec<Device>) -> Slots {
        let slots = devices.iter().map(|_| SlotState::Free).collect();
        let (holds, busy) = (vec![None; devices.len()], vec![Duration::ZERO; devices.len()]);
        let (desired, slots_desired) = (DesiredState::Active, vec![DesiredState::Active; devices.len()]);
        Slots {
            devices,
            state: Mutex::new(State { desired, slots_desired, slots, holds, busy }),
            changed: Notify::new(),
        }
    }

    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// What a slot renders on; `None` where there is no such slot.
    pub fn device(&self, slot: u32) -> Option<&Device> {
        self.devices.get(usize::try_from(slot).ok()?)
    }

    /// The slots that can take a task now.
    pub fn free(&self) -> Vec<u32> {
        let state = self.lock();
        let is_free = |number: usize| matches!(state.slots[number], SlotState::Free) && state.takes(number);
        let free = (0..state.slots.len()).filter(|number| is_free(*number));
        free.filter_map(|number| u32::try_from(number).ok()).collect()
    }

    /// Waits until `free` may have changed. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives a slot its task; `None` when the slot does not exist, has one, or takes none at present.
    pub fn take(&self, lease: &Lease) -> Option<StopSignal> {
        let mut state = self.lock();
        let number = usize::try_from(lease.slot).ok()?;
        let takes = state.takes(number);
        let slot = state.slots.get_mut(number)?;
        if !takes || !matches!(slot, SlotState::Free) {
            return None;
        }
        let (stop, signal) = watch::channel(None);
        *slot = SlotState::Working(Box::new(Work {
            lease: lease.clone(),
            started: Instant::now(),
            frames_done: 0,
            frames_time: Duration::ZERO,
            frame_started: None,
            frame_ratio: 0.0,
            frame_remaining: None,
            estimates: Estimates::default(),
            with_cycles: false,
            stop,
        }));
        Some(StopSignal(signal))
    }

    /// The slot's task has ended, whatever came of it.
    pub fn leave(&self, slot: u32) {
        let mut state = self.lock();
        let State { slots, busy, .. } = &mut *state;
        let number = usize::try_from(slot).unwrap_or(usize::MAX);
        if let Some((slot, busy)) = slots.get_mut(number).zip(busy.get_mut(number)) {
            *busy += slot.work().map_or(Duration::ZERO, |work| work.started.elapsed());
            *slot = SlotState::Free;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Other engines find a device of their own.
    pub fn renders_with_cycles(&self, slot: u32) {
        self.with_work(slot, |work| work.with_cycles = true);
    }

    pub fn frame_started(&self, slot: u32) {
        self.with_work(slot, |work| {
            work.frame_started = Some(Instant::now());
            work.frame_ratio = 0.0;
            work.frame_remaining = None;
        });
    }

    pub fn frame_progress(&self, slot: u32, ratio: f64, remaining: Option<Duration>) {
        self.with_work(slot, |work| {
            work.frame_ratio = ratio.clamp(0.0, 1.0);
            work.frame_remaining = remaining;
            work.estimate();
        });
    }

    pub fn frame_finished(&self, slot: u32) {
        self.with_work(slot, |work| {
            work.frames_done += 1;
            work.frames_time += work.frame_started.take().map_or(Duration::ZERO, |started| started.elapsed());
            work.frame_ratio = 0.0;
            work.frame_remaining = None;
            work.estimate();
        });
    }

    /// How wrong the estimates of a slot's task were, now that it is rendered.
    pub fn eta_errors(&self, slot: u32) -> Vec<(EtaPoint, f64)> {
        let mut errors = Vec::new();
        self.with_work(slot, |work| errors = work.estimates.errors(Instant::now()));
        errors
    }

    /// How long each slot has had a task, all in all.
    pub fn busy(&self) -> Vec<Duration> {
        let state = self.lock();
        let under_way = |slot: &SlotState| slot.work().map_or(Duration::ZERO, |work| work.started.elapsed());
        state.slots.iter().zip(&state.busy).map(|(slot, busy)| *busy + under_way(slot)).collect()
    }

    /// What the console wants of the worker: of all its slots, where it wants the same of each.
    pub fn desired(&self) -> DesiredState {
        let state = self.lock();
        let mut slots = (0..state.slots.len()).map(|number| state.wanted(number));
        match slots.next() {
            Some(first) if slots.all(|other| other == first) => first,
            _ => state.desired,
        }
    }

    /// What the registry wants of this worker and of single slots; whether that is news. A pause ends
    /// frames in progress.
    pub fn set_desired(&self, desired: DesiredState, slots: &[SlotDesired]) -> bool {
        let mut state = self.lock();
        let wants = |slot: u32| slots.iter().find(|wanted| wanted.slot == slot).map(|wanted| wanted.desired);
        let slots_desired: Vec<DesiredState> = (0_u32..)
            .take(state.slots.len())
            .map(|slot| wants(slot).unwrap_or(DesiredState::Active))
            .collect();
        if state.desired == desired && state.slots_desired == slots_desired {
            return false;
        }
        let before: Vec<DesiredState> = (0..state.slots.len()).map(|number| state.wanted(number)).collect();
        (state.desired, state.slots_desired) = (desired, slots_desired);
        for (number, before) in before.into_iter().enumerate() {
            let wanted = state.wanted(number);
            if wanted != before {
                tracing::info!(slot = number, "the slot is now {wanted}");
            }
            if let (DesiredState::Paused, Some(work)) = (wanted, state.slots[number].work()) {
                work.ask_to_stop(&Stop::Paused);
            }
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// What keeps each slot from taking tasks. A task under way goes on, unless its GPU is gone.
    pub fn set_holds(&self, holds: Vec<Option<Hold>>) {
        let mut state = self.lock();
        if holds.len() != state.slots.len() || holds == state.holds {
            return;
        }
        for (slot, hold) in state.slots.iter().zip(&holds) {
            if let (Some(work), Some(hold)) = (slot.work(), hold)
                && hold.check == Check::Gpus
            {
                work.ask_to_stop(&Stop::Held(hold.clone()));
            }
        }
        state.holds = holds;
        drop(state);
        self.changed.notify_one();
    }

    /// Whether no slot takes tasks because of what this machine found.
    pub fn is_held(&self) -> bool {
        let state = self.lock();
        !state.holds.is_empty() && state.holds.iter().all(Option::is_some)
    }

    /// Why the slot takes no task, if this machine keeps it from that.
    pub fn hold(&self, slot: u32) -> Option<Hold> {
        self.lock().holds.get(usize::try_from(slot).ok()?)?.clone()
    }

    /// Ends the attempt's render if it is under way.
    pub fn stop(&self, attempt: AttemptId, stop: &Stop) {
        for work in self.lock().slots.iter().filter_map(SlotState::work) {
            if work.lease.id == attempt {
                work.ask_to_stop(stop);
            }
        }
    }

    /// Ends all renders.
    pub fn stop_all(&self, stop: &Stop) {
        stop_each(&self.lock(), stop);
    }

    /// The slots as a heartbeat reports them, with everything that holds each.
    pub fn reported(&self) -> Vec<ReportedSlot> {
        let state = self.lock();
        let of_hold =
            |hold: &Hold| SlotReason::new(&format!("health {}: {}", hold.check.as_str(), hold.reason), None);
        let slot = |(number, device): (usize, &Device)| {
            let (wanted, hold, work) =
                (state.wanted(number), state.holds[number].as_ref(), state.slots[number].work());
            let status = match (work, wanted, hold) {
                (Some(_), _, _) => SlotStatus::Busy,
                (None, DesiredState::Paused, _) => SlotStatus::Paused,
                (None, DesiredState::Draining, _) | (None, DesiredState::Active, Some(_)) => {
                    SlotStatus::Draining
                }
                (None, DesiredState::Active, None) => SlotStatus::Idle,
            };
            ReportedSlot {
                slot: u32::try_from(number).unwrap_or(u32::MAX),
                gpu_uuid: device.gpu_uuid().map(str::to_owned),
                status,
                attempt_id: work.map(|work| work.lease.id),
                reasons: SlotReason::of_console(wanted).into_iter().chain(hold.map(of_hold)).collect(),
            }
        };
        self.devices.iter().enumerate().map(slot).collect()
    }

    /// Whether any slot has a task.
    pub fn is_working(&self) -> bool {
        self.lock().slots.iter().any(|slot| slot.work().is_some())
    }

    /// The tasks under way.
    pub fn work(&self) -> Vec<WorkView> {
        let state = self.lock();
        numbered(&state.slots).filter_map(|(slot, state)| Some(state.work()?.view(slot))).collect()
    }

    fn with_work(&self, slot: u32, change: impl FnOnce(&mut Work)) {
        let mut state = self.lock();
        let slot = usize::try_from(slot).ok().and_then(|slot| state.slots.get_mut(slot));
        if let Some(SlotState::Working(work)) = slot {
            change(work);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the console wants of a slot: the stricter of what it wants of the worker and of the slot.
    fn wanted(&self, number: usize) -> DesiredState {
        let slot = self.slots_desired.get(number).copied().unwrap_or(DesiredState::Active);
        self.desired.stricter(slot)
    }

    /// Whether nothing keeps a slot from taking tasks.
    fn takes(&self, number: usize) -> bool {
        self.wanted(number) == DesiredState::Active && self.holds.get(number).is_some_and(Option::is_none)
    }
}

impl SlotState {
    fn work(&self) -> Option<&Work> {
        match self {
            SlotState::Free => None,
            SlotState::Working(work) => Some(work),
        }
    }
}

impl Work {
    fn estimate(&mut self) {
        let view = self.view(0);
        if let Some(remaining) = view.remaining {
            self.estimates.add(view.progress_ratio, remaining, Instant::now());
        }
    }

    fn ask_to_stop(&self, stop: &Stop) {
        // The first reason stands, but a lost lease outdoes a pause: nothing of it is to be sent.
        self.stop.send_if_modified(|current| {
            let is_news = current.is_none() || (*stop == Stop::Lost && *current != Some(Stop::Lost));
            if is_news {
                *current = Some(stop.clone());
            }
            is_news
        });
    }

    fn view(&self, slot: u32) -> WorkView {
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

fn stop_each(state: &State, stop: &Stop) {
    for work in state.slots.iter().filter_map(SlotState::work) {
        work.ask_to_stop(stop);
    }
}

fn numbered(slots: &[SlotState]) -> impl Iterator<Item = (u32, &SlotState)> {
    (0_u32..).zip(slots)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pictor_protocol::{FrameRange, JobId, TaskId};

    pub(crate) fn lease(slot: u32) -> Lease {
        Lease {
            id: AttemptId::from_parts(1, [u8::try_from(slot).unwrap(); 10]),
            slot,
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
        }
    }

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

    #[tokio::test]
    async fn a_held_slot_finishes_its_task_and_takes_no_other() {
        let slots = Slots::new(vec![Device::Cpu, Device::Cpu]);
        let mut signal = slots.take(&lease(0)).unwrap();
        let hold = || Some(Hold { check: Check::GpuXid, reason: "Xid 79".to_owned() });
        let lost = Hold { check: Check::Gpus, reason: "GPU 0 is lost".to_owned() };
        slots.set_holds(vec![hold(), hold()]);
        assert!(slots.free().is_empty() && slots.take(&lease(1)).is_none());
        let reported = slots.reported();
        assert_eq!([reported[0].status, reported[1].status], [SlotStatus::Busy, SlotStatus::Draining]);
        assert_eq!(reported[1].reasons[0].code, "health gpu_xid: Xid 79");
        slots.set_holds(vec![Some(lost.clone()), None]);
        assert_eq!(signal.stopped().await, Stop::Held(lost), "with its GPU gone it never would finish");
        slots.leave(0);
        slots.set_holds(vec![None, hold()]);
        assert_eq!(
            (slots.free(), slots.hold(0), slots.hold(1), slots.hold(2)),
            (vec![0], None, hold(), None)
        );
    }

    #[tokio::test]
    async fn a_pause_stops_work_and_takes_none() {
        let slots = Slots::new(vec![Device::Cpu, Device::Cpu]);
        let mut signal = slots.take(&lease(0)).unwrap();
        assert!(slots.take(&lease(0)).is_none(), "a slot has one task");
        assert!(slots.take(&lease(2)).is_none(), "there is no such slot");
        assert!(slots.set_desired(DesiredState::Paused, &[]));
        assert_eq!(signal.stopped().await, Stop::Paused);
        assert!(slots.take(&lease(1)).is_none() && slots.free().is_empty());
        slots.stop(lease(0).id, &Stop::Lost);
        assert_eq!(signal.stopped().await, Stop::Lost);
        let statuses: Vec<_> = slots.reported().into_iter().map(|slot| slot.status).collect();
        assert_eq!(statuses, [SlotStatus::Busy, SlotStatus::Paused]);
        slots.leave(0);
        slots.set_desired(DesiredState::Active, &[]);
        assert_eq!(slots.free(), [0, 1]);
    }

    #[tokio::test]
    async fn a_paused_slot_stops_and_the_others_go_on() {
        let slots = Slots::new(vec![Device::Cpu, Device::Cpu, Device::Cpu]);
        let mut paused = slots.take(&lease(0)).unwrap();
        let draining = slots.take(&lease(1)).unwrap();
        let wanted = [
            SlotDesired { slot: 0, desired: DesiredState::Paused },
            SlotDesired { slot: 1, desired: DesiredState::Draining },
            SlotDesired { slot: 9, desired: DesiredState::Paused },
        ];
        assert!(slots.set_desired(DesiredState::Active, &wanted));
        assert!(!slots.set_desired(DesiredState::Active, &wanted), "said again, it is no news");
        assert_eq!(paused.stopped().await, Stop::Paused);
        assert!(draining.0.borrow().is_none(), "a drained slot finishes its task");
        assert_eq!((slots.free(), slots.desired()), (vec![2], DesiredState::Active));
        slots.leave(0);
        slots.leave(1);
        assert!(slots.take(&lease(0)).is_none() && slots.take(&lease(1)).is_none());
        let seen: Vec<_> = slots
            .reported()
            .into_iter()
            .map(|slot| (slot.status, slot.reasons.into_iter().map(|reason| reason.code).collect::<Vec<_>>()))
            .collect();
        assert_eq!(seen[0], (SlotStatus::Paused, vec![SlotReason::PAUSED_BY_CONSOLE.to_owned()]));
        assert_eq!(seen[1], (SlotStatus::Draining, vec![SlotReason::DRAINED_BY_CONSOLE.to_owned()]));
        assert_eq!(seen[2], (SlotStatus::Idle, vec![]));
        assert!(slots.set_desired(DesiredState::Active, &[]));
        assert_eq!(slots.free(), [0, 1, 2]);
    }
}
