//! Where tasks run: each slot's state, what its attempt has done so far, and who wants it stopped.

mod closing;
mod work;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pictor_blender::Device;
use pictor_protocol::{
    AttemptId, Check, DesiredState, Lease, ReasonCode, ReportedSlot, SlotDesired, SlotReason, SlotStatus,
};
use tokio::sync::{Notify, watch};

pub use work::WorkView;

use crate::eta::EtaPoint;
use work::Work;

/// Why an attempt's render is to end early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The task has another attempt, or has ended.
    Lost,
    /// The owner paused the worker, or this slot of it, in the console or on this machine.
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
    /// What is wanted of it on this machine.
    here: DesiredState,
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
            state: Mutex::new(State {
                desired: DesiredState::Active,
                here: DesiredState::Active,
                is_closed: false,
                slots,
            }),
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
        let of_worker = state.of_worker();
        let takes = |slot: &Slot| !state.is_closed && slot.takes(of_worker);
        state.numbered().filter(|(_, slot)| takes(slot)).map(|(number, _)| number).collect()
    }

    /// Waits until `free` may have changed. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives a slot its task; `None` when the slot does not exist, has one, or takes none at present.
    pub fn take(&self, lease: &Lease) -> Option<StopSignal> {
        let mut state = self.lock();
        let (of_worker, is_closed) = (state.of_worker(), state.is_closed);
        let slot = state.slot(lease.slot).filter(|slot| !is_closed && slot.takes(of_worker))?;
        let (stop, signal) = watch::channel(None);
        slot.doing = SlotState::Working(Box::new(Work::new(lease.clone(), stop)));
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
        let is_closed = state.is_closed;
        let free = state.slot(slot).filter(|slot| !is_closed && matches!(slot.doing, SlotState::Free));
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
        self.with_work(slot, Work::frame_started);
    }

    pub fn frame_progress(&self, slot: u32, ratio: f64, remaining: Option<Duration>) {
        self.with_work(slot, |work| work.frame_progress(ratio, remaining));
    }

    pub fn frame_finished(&self, slot: u32) {
        self.with_work(slot, Work::frame_finished);
    }

    /// How wrong the estimates of a slot's task were, now that it is rendered.
    pub fn eta_errors(&self, slot: u32) -> Vec<(EtaPoint, f64)> {
        let mut errors = Vec::new();
        self.with_work(slot, |work| errors = work.eta_errors());
        errors
    }

    /// How long each slot has had a task, all in all.
    pub fn busy(&self) -> Vec<Duration> {
        self.lock().slots.iter().map(Slot::busy).collect()
    }

    /// What its owner wants of the worker: of all its slots, where that is the same of each.
    pub fn desired(&self) -> DesiredState {
        let state = self.lock();
        let of_worker = state.of_worker();
        let mut slots = state.slots.iter().map(|slot| slot.wanted(of_worker));
        match slots.next() {
            Some(first) if slots.all(|other| other == first) => first,
            _ => of_worker,
        }
    }

    /// What is wanted of the worker on this machine, whatever the console wants.
    pub fn desired_here(&self) -> DesiredState {
        self.lock().here
    }

    /// What the registry wants of this worker and of single slots; whether that is news.
    pub fn set_desired(&self, desired: DesiredState, slots: &[SlotDesired]) -> bool {
        let wants = |number: u32| {
            let wanted = slots.iter().find(|wanted| wanted.slot == number);
            wanted.map_or(DesiredState::Active, |wanted| wanted.desired)
        };
        self.change_wanted(|state| {
            state.desired = desired;
            for (number, slot) in (0..).zip(&mut state.slots) {
                slot.desired = wants(number);
            }
        })
    }

    /// What is wanted of this worker on its own machine; whether that is news.
    pub fn set_desired_here(&self, here: DesiredState) -> bool {
        self.change_wanted(|state| state.here = here)
    }

    /// A pause ends frames in progress.
    fn change_wanted(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.lock();
        let said = |state: &State| {
            (state.desired, state.here, state.slots.iter().map(|slot| slot.desired).collect::<Vec<_>>())
        };
        let (said_before, before) = (said(&state), state.wanted());
        change(&mut state);
        let (is_news, after) = (said(&state) != said_before, state.wanted());
        for ((number, slot), (before, wanted)) in state.numbered().zip(before.into_iter().zip(after)) {
            if wanted != before {
                tracing::info!(slot = number, "the slot is now {wanted}");
            }
            if let (true, DesiredState::Paused, Some(work)) = (is_news, wanted, slot.work()) {
                work.ask_to_stop(&Stop::Paused);
            }
        }
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
        is_news
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
        let reported = slots.map(|((number, slot), device)| slot.reported(number, device, &state));
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

    /// What is wanted of the whole worker: the stricter of the console's word and this machine's.
    fn of_worker(&self) -> DesiredState {
        self.desired.stricter(self.here)
    }

    /// What is wanted of each slot.
    fn wanted(&self) -> Vec<DesiredState> {
        self.slots.iter().map(|slot| slot.wanted(self.of_worker())).collect()
    }
}

impl Slot {
    fn work(&self) -> Option<&Work> {
        match &self.doing {
            SlotState::Free | SlotState::Testing => None,
            SlotState::Working(work) => Some(work),
        }
    }

    /// What is wanted of it: the stricter of what is wanted of the worker and of the slot.
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

    fn reported(&self, number: u32, device: &Device, state: &State) -> ReportedSlot {
        let (wanted, hold, work) = (self.wanted(state.of_worker()), self.hold.as_ref(), self.work());
        let is_testing = matches!(self.doing, SlotState::Testing);
        let status = match (work, wanted, hold) {
            (Some(_), _, _) => SlotStatus::Busy,
            (None, DesiredState::Active, None) if is_testing => SlotStatus::Busy,
            (None, DesiredState::Paused, _) => SlotStatus::Paused,
            (None, DesiredState::Draining, _) | (None, DesiredState::Active, Some(_)) => SlotStatus::Draining,
            (None, DesiredState::Active, None) => SlotStatus::Idle,
        };
        let of_hold = |hold: &Hold| SlotReason::found(hold.check, &hold.reason);
        ReportedSlot {
            slot: number,
            gpu_uuid: device.gpu_uuid().map(str::to_owned),
            status,
            attempt_id: work.map(|work| work.lease.id),
            reasons: SlotReason::of_console(self.wanted(state.desired))
                .into_iter()
                .chain(SlotReason::of_machine(state.here))
                .chain(hold.map(of_hold))
                .chain(is_testing.then_some(SlotReason::new(ReasonCode::TestRender)))
                .collect(),
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
        assert_eq!(reported[1].reasons, [SlotReason::found(Check::GpuXid, "Xid 79")]);
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
    async fn a_pause_on_the_machine_stands_whatever_the_console_wants() {
        let slots = Slots::new(vec![Device::Cpu]);
        let mut signal = slots.take(&lease(0)).unwrap();
        assert!(
            slots.set_desired_here(DesiredState::Draining) && !slots.set_desired_here(DesiredState::Draining)
        );
        assert!(slots.set_desired_here(DesiredState::Paused));
        assert_eq!(signal.stopped().await, Stop::Paused);
        slots.leave(0);
        assert!(!slots.set_desired(DesiredState::Active, &[]));
        assert!(slots.take(&lease(0)).is_none());
        let reported = slots.reported().remove(0);
        assert_eq!(reported.status, SlotStatus::Paused);
        assert_eq!(reported.reasons, [SlotReason::new(ReasonCode::PausedHere)]);
        assert!(slots.set_desired(DesiredState::Draining, &[]));
        assert_eq!((slots.desired(), slots.desired_here()), (DesiredState::Paused, DesiredState::Paused));
        assert!(slots.set_desired_here(DesiredState::Active));
        let reported = slots.reported().remove(0);
        assert_eq!(reported.reasons, [SlotReason::new(ReasonCode::DrainedByConsole)]);
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
        assert_eq!(seen[0], (SlotStatus::Paused, vec![ReasonCode::PausedByConsole]));
        assert_eq!(seen[1], (SlotStatus::Draining, vec![ReasonCode::DrainedByConsole]));
        assert_eq!(seen[2], (SlotStatus::Idle, vec![]));
        assert!(slots.set_desired(DesiredState::Active, &[]));
        assert_eq!(slots.free(), [0, 1, 2]);
    }
}
