//! Where tasks run: each slot's state, what its attempt has done so far, and who wants it stopped.

mod closing;

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

/// Why a slot that renders a test scene takes no task, in words.
const TESTING: &str = "a test render is under way";

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
    /// Renders a test scene, which is no task.
    Testing,
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
    /// Rings for all who wait when a slot's task has ended.
    left: Notify,
}

#[derive(Debug)]
struct State {
    /// What the console wants of the whole worker.
    desired: DesiredState,
    /// An update is about to be installed.
    is_closed: bool,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// What the console wants of it besides.
    desired: DesiredState,
    doing: SlotState,
    hold: Option<Hold>,
    /// A test render waits for it: it takes no further task.
    reserved: bool,
    /// How long its ended tasks have kept it busy.
    busy: Duration,
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
        let free = |_: &Device| Slot {
            desired: DesiredState::Active,
            doing: SlotState::Free,
            hold: None,
            reserved: false,
            busy: Duration::ZERO,
        };
        let slots = devices.iter().map(free).collect();
        Slots {
            devices,
            state: Mutex::new(State { desired: DesiredState::Active, is_closed: false, slots }),
            changed: Notify::new(),
            left: Notify::new(),
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
        let takes = |slot: &Slot| !state.is_closed && slot.takes(state.desired);
        state.numbered().filter(|(_, slot)| takes(slot)).map(|(number, _)| number).collect()
    }

    /// Waits until `free` may have changed. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives a slot its task; `None` when the slot does not exist, has one, or takes none at present.
    pub fn take(&self, lease: &Lease) -> Option<StopSignal> {
        let mut state = self.lock();
        let (desired, is_closed) = (state.desired, state.is_closed);
        let slot = state.slot(lease.slot).filter(|slot| !is_closed && slot.takes(desired))?;
        let (stop, signal) = watch::channel(None);
        slot.doing = SlotState::Working(Box::new(Work {
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

    /// Keeps these slots, and no others, for a test render.
    pub fn reserve(&self, slots: &[u32]) {
        let mut state = self.lock();
        let mut is_news = false;
        for (number, slot) in (0..).zip(&mut state.slots) {
            let reserved = slots.contains(&number);
            is_news |= slot.reserved != reserved;
            slot.reserved = reserved;
        }
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
    }

    /// Gives a slot to a test render, whatever the console wants of it otherwise; whether it was free. It is
    /// to be left like a task.
    pub fn take_for_test(&self, slot: u32) -> bool {
        let mut state = self.lock();
        let free = state.slot(slot).filter(|slot| matches!(slot.doing, SlotState::Free));
        free.map(|slot| slot.doing = SlotState::Testing).is_some()
    }

    /// The slot's task has ended, whatever came of it.
    pub fn leave(&self, slot: u32) {
        let mut state = self.lock();
        if let Some(slot) = state.slot(slot) {
            slot.busy = slot.busy();
            slot.doing = SlotState::Free;
        }
        drop(state);
        self.changed.notify_one();
        self.left.notify_waiters();
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
        self.lock().slots.iter().map(Slot::busy).collect()
    }

    /// What the console wants of the worker: of all its slots, where it wants the same of each.
    pub fn desired(&self) -> DesiredState {
        let state = self.lock();
        let mut slots = state.slots.iter().map(|slot| slot.wanted(state.desired));
        match slots.next() {
            Some(first) if slots.all(|other| other == first) => first,
            _ => state.desired,
        }
    }

    /// What the registry wants of this worker and of single slots; whether that is news. A pause ends
    /// frames in progress.
    pub fn set_desired(&self, desired: DesiredState, slots: &[SlotDesired]) -> bool {
        let mut state = self.lock();
        let wants = |number: u32| {
            let wanted = slots.iter().find(|wanted| wanted.slot == number);
            wanted.map_or(DesiredState::Active, |wanted| wanted.desired)
        };
        if state.desired == desired && state.numbered().all(|(number, slot)| slot.desired == wants(number)) {
            return false;
        }
        let before = std::mem::replace(&mut state.desired, desired);
        for (number, slot) in (0..).zip(&mut state.slots) {
            let before = slot.wanted(before);
            slot.desired = wants(number);
            let wanted = slot.wanted(desired);
            if wanted != before {
                tracing::info!(slot = number, "the slot is now {wanted}");
            }
            if let (DesiredState::Paused, Some(work)) = (wanted, slot.work()) {
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
        if holds.len() != state.slots.len() || state.slots.iter().map(|slot| &slot.hold).eq(&holds) {
            return;
        }
        for (slot, hold) in state.slots.iter_mut().zip(holds) {
            if let (Some(work), Some(hold)) = (slot.work(), &hold)
                && hold.check == Check::Gpus
            {
                work.ask_to_stop(&Stop::Held(hold.clone()));
            }
            slot.hold = hold;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Whether no slot takes tasks because of what this machine found.
    pub fn is_held(&self) -> bool {
        let state = self.lock();
        !state.slots.is_empty() && state.slots.iter().all(|slot| slot.hold.is_some())
    }

    /// Why the slot takes no task, if this machine keeps it from that.
    pub fn hold(&self, slot: u32) -> Option<Hold> {
        self.lock().slot(slot)?.hold.clone()
    }

    /// Ends the attempt's render if it is under way.
    pub fn stop(&self, attempt: AttemptId, stop: &Stop) {
        for work in self.lock().slots.iter().filter_map(Slot::work) {
            if work.lease.id == attempt {
                work.ask_to_stop(stop);
            }
        }
    }

    /// Ends all renders.
    pub fn stop_all(&self, stop: &Stop) {
        for work in self.lock().slots.iter().filter_map(Slot::work) {
            work.ask_to_stop(stop);
        }
    }

    /// The slots as a heartbeat reports them, with everything that holds each.
    pub fn reported(&self) -> Vec<ReportedSlot> {
        let state = self.lock();
        let slots = state.numbered().zip(&self.devices);
        let reported = slots.map(|((number, slot), device)| slot.reported(number, device, state.desired));
        if state.is_closed { reported.map(closing::reported).collect() } else { reported.collect() }
    }

    /// Whether any slot has a task.
    pub fn is_working(&self) -> bool {
        self.lock().slots.iter().any(|slot| slot.work().is_some())
    }

    /// The tasks under way.
    pub fn work(&self) -> Vec<WorkView> {
        self.lock().numbered().filter_map(|(number, slot)| Some(slot.work()?.view(number))).collect()
    }

    fn with_work(&self, slot: u32, change: impl FnOnce(&mut Work)) {
        let mut state = self.lock();
        if let Some(Slot { doing: SlotState::Working(work), .. }) = state.slot(slot) {
            change(work);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots)
    }
}

impl Slot {
    fn work(&self) -> Option<&Work> {
        match &self.doing {
            SlotState::Free | SlotState::Testing => None,
            SlotState::Working(work) => Some(work),
        }
    }

    /// What the console wants of it: the stricter of what it wants of the worker and of the slot.
    fn wanted(&self, of_worker: DesiredState) -> DesiredState {
        of_worker.stricter(self.desired)
    }

    /// Whether it is free, and nothing keeps it from taking a task.
    fn takes(&self, of_worker: DesiredState) -> bool {
        matches!(self.doing, SlotState::Free)
            && self.wanted(of_worker) == DesiredState::Active
            && self.hold.is_none()
            && !self.reserved
    }

    fn busy(&self) -> Duration {
        self.busy + self.work().map_or(Duration::ZERO, |work| work.started.elapsed())
    }

    fn reported(&self, number: u32, device: &Device, of_worker: DesiredState) -> ReportedSlot {
        let (wanted, hold, work) = (self.wanted(of_worker), self.hold.as_ref(), self.work());
        let is_testing = matches!(self.doing, SlotState::Testing);
        let status = match (work, wanted, hold) {
            (Some(_), _, _) => SlotStatus::Busy,
            (None, DesiredState::Active, None) if is_testing => SlotStatus::Busy,
            (None, DesiredState::Paused, _) => SlotStatus::Paused,
            (None, DesiredState::Draining, _) | (None, DesiredState::Active, Some(_)) => SlotStatus::Draining,
            (None, DesiredState::Active, None) => SlotStatus::Idle,
        };
        let of_hold =
            |hold: &Hold| SlotReason::new(&format!("health {}: {}", hold.check.as_str(), hold.reason), None);
        ReportedSlot {
            slot: number,
            gpu_uuid: device.gpu_uuid().map(str::to_owned),
            status,
            attempt_id: work.map(|work| work.lease.id),
            reasons: SlotReason::of_console(wanted)
                .into_iter()
                .chain(hold.map(of_hold))
                .chain(is_testing.then(|| SlotReason::new(TESTING, None)))
                .collect(),
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
