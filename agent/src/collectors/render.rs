//! The agent's own work: slots, tasks, frames, scene cache, outbox.

use std::{sync::Arc, time::Duration};

use pictor_blender::Device;
use pictor_family::families;
use pictor_measure::exposition::{Collector, Families, float};
use pictor_protocol::{DesiredState, SlotStatus, WorkerStatus};
use tokio::sync::watch;

use super::Entry;
use crate::{
    connection::Connection,
    counters::{self, Counters},
    finding::{Finding, Grade},
    idle::Idle,
    outbox::Outbox,
    slots::Slots,
};

const NAME: &str = "render";

families! {
    FAMILIES:
    /// Where the worker stands: 1 for its status, 0 for the others.
    STATUS = gauge("pictor_worker_status", ["status"]);
    /// Slots by status.
    SLOTS = gauge("pictor_slots", ["status"]);
    /// Whether the slot has a task.
    RUNNING = gauge("pictor_task_running", ["slot"]);
    /// The task of a slot.
    TASK = gauge("pictor_task_info", ["slot", "job_id", "task_id"]);
    /// How much of the task is rendered.
    PROGRESS = gauge("pictor_task_progress_ratio", ["slot"]);
    /// Time since the task was taken.
    ELAPSED = gauge("pictor_task_elapsed_seconds", ["slot"]);
    /// Time until the task is rendered, estimated.
    REMAINING = gauge("pictor_task_remaining_seconds", ["slot"]);
    /// 1 where a check finds nothing to do, 0 where it does: `pictor-agent doctor` says what.
    HEALTH = gauge("pictor_health", ["check"]);
    /// Time in which the slot had a task.
    SLOT_BUSY = counter("pictor_slot_busy_seconds_total", ["slot"]);
    /// Time in which the GPU's slot had a task.
    GPU_BUSY = counter("pictor_gpu_busy_seconds_total", ["uuid", "gpu"]);
    /// Results that wait to be sent.
    OUTBOX = gauge("pictor_outbox_entries", []);
    /// Whether the owner's own program runs on the slot's GPU; absent for slots without one.
    IDLE_RUNNING = gauge("pictor_idle_workload_running", ["slot"]);
    /// Time in which the owner's own program ran on the slot's GPU.
    IDLE_SECONDS = counter("pictor_idle_workload_seconds_total", ["slot"]);
}

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    families: || vec![(NAME, [&FAMILIES[..], &counters::FAMILIES[..]].concat())],
    make: |sources| {
        Ok(Box::new(Render {
            slots: Arc::clone(&sources.slots),
            outbox: Arc::clone(&sources.outbox),
            counters: Arc::clone(&sources.counters),
            idle: Arc::clone(&sources.idle),
            connection: sources.connection.clone(),
            health: sources.health.clone(),
        }))
    },
};

struct Render {
    slots: Arc<Slots>,
    outbox: Arc<Outbox>,
    counters: Arc<Counters>,
    idle: Arc<Idle>,
    connection: watch::Receiver<Connection>,
    health: watch::Receiver<Vec<Finding>>,
}

impl Render {
    fn status(&self) -> WorkerStatus {
        if !self.connection.borrow().is_up() {
            return WorkerStatus::Offline;
        }
        match self.slots.desired() {
            DesiredState::Paused => WorkerStatus::Paused,
            DesiredState::Draining => WorkerStatus::Draining,
            DesiredState::Active if self.slots.is_working() => WorkerStatus::Busy,
            // Every slot is held: as the registry has it.
            DesiredState::Active if self.slots.is_held() => WorkerStatus::Draining,
            DesiredState::Active => WorkerStatus::Idle,
        }
    }

    fn worker(&self, families: &mut Families) {
        let current = self.status();
        families.rows(
            &STATUS,
            WorkerStatus::ALL
                .iter()
                .map(|status| (vec![status.to_string()], f64::from(u8::from(*status == current)))),
        );
        let reported = self.slots.reported();
        families.rows(
            &SLOTS,
            SlotStatus::ALL.iter().map(|status| {
                let count = reported.iter().filter(|slot| slot.status == *status).count();
                (vec![status.to_string()], float(u64::try_from(count).unwrap_or(0)))
            }),
        );
        families.rows(
            &RUNNING,
            reported
                .iter()
                .map(|slot| (vec![slot.slot.to_string()], f64::from(u8::from(slot.attempt_id.is_some())))),
        );
    }

    fn busy(&self, families: &mut Families) {
        let slots: Vec<_> = (0_u32..).zip(self.slots.devices().iter().zip(self.slots.busy())).collect();
        families.rows(
            &SLOT_BUSY,
            slots.iter().map(|(slot, (_, busy))| (vec![slot.to_string()], busy.as_secs_f64())),
        );
        let gpus = slots.iter().filter_map(|(_, (device, busy))| match device {
            Device::Cpu => None,
            Device::Gpu { uuid, index, .. } => {
                Some((vec![uuid.clone(), index.to_string()], busy.as_secs_f64()))
            }
        });
        families.rows(&GPU_BUSY, gpus);
    }

    fn tasks(&self, families: &mut Families) {
        let work = self.slots.work();
        let slot = |slot: u32| vec![slot.to_string()];
        families.rows(
            &TASK,
            work.iter().map(|work| {
                let ids = [work.lease.job_id.to_string(), work.lease.task_id.to_string()];
                (slot(work.slot).into_iter().chain(ids).collect(), 1.0)
            }),
        );
        families.rows(&PROGRESS, work.iter().map(|work| (slot(work.slot), work.progress_ratio)));
        families.rows(&ELAPSED, work.iter().map(|work| (slot(work.slot), work.elapsed.as_secs_f64())));
        families.rows(
            &REMAINING,
            work.iter().filter_map(|work| Some((slot(work.slot), work.remaining?.as_secs_f64()))),
        );
    }
}

impl Collector for Render {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        let mut families = Families::default();
        self.worker(&mut families);
        self.tasks(&mut families);
        self.busy(&mut families);
        families.rows(
            &HEALTH,
            self.health.borrow().iter().map(|finding| {
                let is_well = finding.status == Grade::Ok;
                (vec![finding.check.as_str().to_owned()], f64::from(u8::from(is_well)))
            }),
        );
        families.extend(self.counters.collect());
        families.value(&counters::SCENE_BYTES, Some(float(self.counters.scene_bytes())));
        let waiting = float(u64::try_from(self.outbox.entries()).unwrap_or(u64::MAX));
        families.value(&OUTBOX, Some(waiting));
        let idle = self.idle.counts();
        let running = |is_running: bool| f64::from(u8::from(is_running));
        families.rows(
            &IDLE_RUNNING,
            idle.iter().map(|count| (vec![count.slot.to_string()], running(count.is_running))),
        );
        families.rows(
            &IDLE_SECONDS,
            idle.iter().map(|count| (vec![count.slot.to_string()], count.running.as_secs_f64())),
        );
        Ok(families)
    }
}
