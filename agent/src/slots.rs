//! Where tasks run: each slot's state, what its attempt has done so far, and who wants it stopped.

mod closing;
mod holders;
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
use holders::{Holder, Holders, Source, Wants};
use work::Work;

/// Why an attempt's render is to end early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The task has another attempt, or has ended.
    Lost,
    /// The owner paused the worker, or this slot of it, in the console or on this machine.
    Paused,
    /// Its GPU is gone or of no use any more: Blender would wait for it for ever, or failed because of it.
    Held(SlotReason),
    /// The agent ends.
    Shutdown,
    /// The registry does not take what was rendered.
    Rejected(String),
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
    /// Those who hold every slot: what the console and this machine's owner want of the whole worker, and an update.
    holders: Holders,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    doing: SlotState,
    /// Those who hold this one besides.
    holders: Holders,
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
        let free =
            |_: &Device| Slot { doing: SlotState::Free, holders: Holders::default(), busy: Duration::ZERO };
        let slots = devices.iter().map(free).collect();
        Slots {
            devices,
            state: Mutex::new(State { holders: Holders::default(), slots }),
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
        state.numbered().filter(|(_, slot)| state.takes(slot)).map(|(number, _)| number).collect()
    }

    /// Waits until `free` may have changed. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives a slot its task; `None` when the slot does not exist, has one, or takes none at present.
    pub fn take(&self, lease: &Lease) -> Option<StopSignal> {
        let mut state = self.lock();
        let index = usize::try_from(lease.slot).ok()?;
        if !state.takes(state.slots.get(index)?) {
            return None;
        }
        let (stop, signal) = watch::channel(None);
        state.slots.get_mut(index)?.doing = SlotState::Working(Box::new(Work::new(lease.clone(), stop)));
        Some(StopSignal(signal))
    }

    /// Keeps these slots, and no others, for a test render.
    pub fn reserve(&self, slots: &[u32]) {
        let waits = Holder::draining(Source::TestRender, SlotReason::new(ReasonCode::TestRenderWaits));
        self.change_holders(|state| {
            for (number, slot) in (0..).zip(&mut state.slots) {
                let waits = slots.contains(&number).then(|| waits.clone());
                slot.holders.set(Source::TestRender, waits);
            }
        });
    }

    /// Gives a slot to a test render, whatever the console wants of it otherwise; whether it was free. It is
    /// to be left like a task.
    pub fn take_for_test(&self, slot: u32) -> bool {
        let mut state = self.lock();
        let is_updating = state.holders.of(Source::Update).is_some();
        let free = state.slot(slot).filter(|slot| !is_updating && matches!(slot.doing, SlotState::Free));
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
        let mut slots = state.slots.iter().map(|slot| state.holders(slot).owner_wants());
        let wants = match slots.next() {
            Some(first) if slots.all(|other| other == first) => first,
            _ => state.holders.owner_wants(),
        };
        Wants::desired(wants)
    }

    /// What is wanted of the worker on this machine, whatever the console wants.
    pub fn desired_here(&self) -> DesiredState {
        Wants::desired(self.lock().holders.of(Source::App).map(|holder| holder.wants))
    }

    /// What the registry wants of this worker and of single slots; whether that is news.
    pub fn set_desired(&self, desired: DesiredState, slots: &[SlotDesired]) -> bool {
        self.change_holders(|state| {
            state.holders.set(Source::Console, Holder::console(desired));
            for (number, slot) in (0..).zip(&mut state.slots) {
                let wanted = slots.iter().find(|wanted| wanted.slot == number);
                let holder = wanted.and_then(|wanted| Holder::console(wanted.desired));
                slot.holders.set(Source::Console, holder);
            }
        })
    }

    /// What is wanted of this worker on its own machine; whether that is news.
    pub fn set_desired_here(&self, here: DesiredState) -> bool {
        self.change_holders(|state| state.holders.set(Source::App, Holder::app(here)))
    }

    /// What this machine found about each slot. A task under way goes on, unless its GPU is gone.
    pub fn set_health(&self, found: Vec<Option<SlotReason>>) {
        self.change_holders(|state| {
            for (slot, found) in state.slots.iter_mut().zip(found) {
                if let (Some(work), Some(found)) = (slot.work(), &found)
                    && found.check == Some(Check::Gpus)
                {
                    work.ask_to_stop(&Stop::Held(found.clone()));
                }
                let holder = found.map(|found| Holder::draining(Source::Health, found));
                slot.holders.set(Source::Health, holder);
            }
        });
    }

    /// A slot's own task showed that it cannot render, or it may try again. Its neighbours go on.
    pub fn set_fault(&self, slot: u32, fault: Option<SlotReason>) {
        self.change_holders(|state| {
            if let Some(slot) = state.slot(slot) {
                let holder = fault.map(|fault| Holder::draining(Source::Task, fault));
                slot.holders.set(Source::Task, holder);
            }
        });
    }

    /// Why each slot that its last task showed to be of no use takes none.
    pub fn faults(&self) -> Vec<(u32, SlotReason)> {
        let state = self.lock();
        let fault = |slot: &Slot| Some(slot.holders.of(Source::Task)?.reason.clone());
        state.numbered().filter_map(|(number, slot)| Some((number, fault(slot)?))).collect()
    }

    /// Who holds what is changed here alone; whether that is news. A pause ends tasks under way.
    fn change_holders(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.lock();
        let (said_before, before) = (state.said(), state.all_holders());
        change(&mut state);
        if state.said() == said_before {
            return false;
        }
        for ((number, slot), before) in state.numbered().zip(before) {
            let holders = state.holders(slot);
            // Whoever holds it for the machine's sake says so himself.
            if holders.owner_wants() != before.owner_wants() {
                tracing::info!(slot = number, "the slot is now {}", Wants::desired(holders.owner_wants()));
            }
            if let (Some(Wants::Paused), Some(work)) = (holders.wants(), slot.work()) {
                work.ask_to_stop(&Stop::Paused);
            }
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Whether no slot takes tasks because of something else than its owner's word.
    pub fn is_held(&self) -> bool {
        let state = self.lock();
        let is_held = |slot| state.holders(slot).iter().any(|holder| !holder.source.is_owner());
        !state.slots.is_empty() && state.slots.iter().all(is_held)
    }

    /// What this machine found about the slot, if that keeps it from taking tasks.
    pub fn health(&self, slot: u32) -> Option<SlotReason> {
        Some(self.lock().slot(slot)?.holders.of(Source::Health)?.reason.clone())
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

    /// The slots as a heartbeat reports them, with everybody who holds each.
    pub fn reported(&self) -> Vec<ReportedSlot> {
        let state = self.lock();
        let slots = state.numbered().zip(&self.devices);
        slots.map(|((number, slot), device)| slot.reported(number, device, &state.holders(slot))).collect()
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

    /// Everybody who holds the slot.
    fn holders(&self, slot: &Slot) -> Holders {
        slot.holders.and(&self.holders)
    }

    fn all_holders(&self) -> Vec<Holders> {
        self.slots.iter().map(|slot| self.holders(slot)).collect()
    }

    /// Whether it is free, and nobody holds it.
    fn takes(&self, slot: &Slot) -> bool {
        matches!(slot.doing, SlotState::Free) && self.holders.is_empty() && slot.holders.is_empty()
    }

    /// What each holder says, of the worker and of each slot apart.
    fn said(&self) -> (Holders, Vec<Holders>) {
        (self.holders.clone(), self.slots.iter().map(|slot| slot.holders.clone()).collect())
    }
}

impl Slot {
    fn work(&self) -> Option<&Work> {
        match &self.doing {
            SlotState::Free | SlotState::Testing => None,
            SlotState::Working(work) => Some(work),
        }
    }

    fn busy(&self) -> Duration {
        self.busy + self.work().map_or(Duration::ZERO, |work| work.started.elapsed())
    }

    fn reported(&self, number: u32, device: &Device, holders: &Holders) -> ReportedSlot {
        let status = match (&self.doing, holders.wants()) {
            (SlotState::Working(_), _) | (SlotState::Testing, None) => SlotStatus::Busy,
            (_, Some(Wants::Paused)) => SlotStatus::Paused,
            (_, Some(Wants::Draining)) => SlotStatus::Draining,
            (SlotState::Free, None) => SlotStatus::Idle,
        };
        let held = holders.iter().map(|holder| holder.reason.clone());
        let tests = matches!(self.doing, SlotState::Testing);
        let testing = tests.then_some(SlotReason::new(ReasonCode::TestRender));
        ReportedSlot {
            slot: number,
            gpu_uuid: device.gpu_uuid().map(str::to_owned),
            status,
            attempt_id: self.work().map(|work| work.lease.id),
            reasons: held.chain(testing).collect(),
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
            scene_sha256: [0; 32].into(),
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
        let xid = || Some(SlotReason::found(Check::GpuXid, "Xid 79"));
        let lost = SlotReason::found(Check::Gpus, "GPU 0 is lost");
        slots.set_health(vec![xid(), xid()]);
        assert!(slots.free().is_empty() && slots.take(&lease(1)).is_none());
        let reported = slots.reported();
        assert_eq!([reported[0].status, reported[1].status], [SlotStatus::Busy, SlotStatus::Draining]);
        assert_eq!(reported[1].reasons, [SlotReason::found(Check::GpuXid, "Xid 79")]);
        slots.set_health(vec![Some(lost.clone()), None]);
        assert_eq!(signal.stopped().await, Stop::Held(lost), "with its GPU gone it never would finish");
        slots.leave(0);
        slots.set_health(vec![None, xid()]);
        assert_eq!(
            (slots.free(), slots.health(0), slots.health(1), slots.health(2)),
            (vec![0], None, xid(), None)
        );
    }

    #[test]
    fn a_slots_own_fault_holds_no_neighbour() {
        let slots = Slots::new(vec![Device::Cpu, Device::Cpu, Device::Cpu]);
        let fault = SlotReason::found(Check::GpuFallback, "Cycles finds no GPU");
        let _signal = slots.take(&lease(0)).unwrap();
        slots.set_fault(1, Some(fault.clone()));
        slots.set_fault(7, Some(fault.clone()));
        assert_eq!((slots.free(), slots.faults()), (vec![2], vec![(1, fault.clone())]));
        assert_eq!((slots.is_held(), slots.desired()), (false, DesiredState::Active));
        assert_eq!(slots.reported()[1].reasons, [fault]);
        assert!(slots.take_for_test(1), "a test render finds out whether it still stands");
        slots.leave(1);
        slots.set_fault(1, None);
        assert_eq!(slots.free(), [1, 2]);
    }

    #[test]
    fn a_slot_kept_for_a_test_render_says_so() {
        let slots = Slots::new(vec![Device::Cpu, Device::Cpu]);
        let _signal = slots.take(&lease(0)).unwrap();
        slots.reserve(&[0, 1]);
        let waits = SlotReason::new(ReasonCode::TestRenderWaits);
        let seen: Vec<_> = slots.reported().into_iter().map(|slot| (slot.status, slot.reasons)).collect();
        assert_eq!(seen[0], (SlotStatus::Busy, vec![waits.clone()]));
        assert_eq!(seen[1], (SlotStatus::Draining, vec![waits]));
        assert!(slots.take(&lease(1)).is_none() && slots.take_for_test(1));
        slots.reserve(&[0]);
        let seen = slots.reported().remove(1);
        assert_eq!(
            (seen.status, seen.reasons),
            (SlotStatus::Busy, vec![SlotReason::new(ReasonCode::TestRender)])
        );
        slots.leave(1);
        slots.reserve(&[]);
        assert_eq!(slots.free(), [1]);
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
