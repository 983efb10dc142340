//! A worker as its owner sees it: what the database knows, what its agent says, and what it holds.

use std::sync::Arc;

use pictor_protocol::{
    AttemptReport, Cpu, DesiredState, Gpu, HealthFinding, HeartbeatRequest, Micros, OfflineReason,
    ReasonCode, ReportedSlot, Slot, SlotReason, SlotStatus, UnixMillis, Worker, WorkerStatus,
};

use super::seen::Seen;
use super::store::{Held, WorkerRow};
use crate::tasks::Queue;

/// Everything that is known of one worker at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    pub row: WorkerRow,
    pub seen: Option<Seen>,
    pub held: Vec<Held>,
    pub status: WorkerStatus,
    pub offline_reason: Option<OfflineReason>,
    pub at: UnixMillis,
    queue: Arc<Queue>,
}

/// What a worker's status follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Evidence {
    contact: Contact,
    desired: DesiredState,
    /// What all its slots are, where that is one of `paused` and `draining`: the agent's own pause.
    slots: Option<SlotStatus>,
    holds_leases: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    Never,
    Online,
    Stopped,
    Lost,
}

fn derive(evidence: Evidence) -> (WorkerStatus, Option<OfflineReason>) {
    let offline = |reason| (WorkerStatus::Offline, Some(reason));
    match evidence.contact {
        Contact::Never => return offline(OfflineReason::NeverConnected),
        Contact::Stopped => return offline(OfflineReason::Stopped),
        Contact::Lost => return offline(OfflineReason::Lost),
        Contact::Online => {}
    }
    let status = match (evidence.desired, evidence.slots) {
        (DesiredState::Paused, _) | (_, Some(SlotStatus::Paused)) => WorkerStatus::Paused,
        (DesiredState::Draining, _) | (_, Some(SlotStatus::Draining)) => WorkerStatus::Draining,
        _ if evidence.holds_leases => WorkerStatus::Busy,
        _ => WorkerStatus::Idle,
    };
    (status, None)
}

/// What every slot says, or what is wanted of it, when they agree on a pause or a drain.
fn agreed(row: &WorkerRow, slots: &[ReportedSlot]) -> Option<SlotStatus> {
    let status = |slot: &ReportedSlot| match (row.own_desired(slot.slot), slot.status) {
        (DesiredState::Paused, _) | (_, SlotStatus::Paused) => SlotStatus::Paused,
        (DesiredState::Draining, _) => SlotStatus::Draining,
        (DesiredState::Active, reported) => reported,
    };
    let first = status(slots.first()?);
    let all = slots.iter().all(|slot| status(slot) == first);
    (all && matches!(first, SlotStatus::Paused | SlotStatus::Draining)).then_some(first)
}

impl Standing {
    pub(super) fn new(
        row: WorkerRow,
        seen: Option<Seen>,
        held: Vec<Held>,
        queue: Arc<Queue>,
        at: UnixMillis,
        offline_after_seconds: i64,
    ) -> Standing {
        let contact = match &seen {
            None => Contact::Never,
            Some(seen) if seen.stopped_at.is_some() => Contact::Stopped,
            Some(seen) if seen.is_online(at, offline_after_seconds) => Contact::Online,
            Some(_) => Contact::Lost,
        };
        let (status, offline_reason) = derive(Evidence {
            contact,
            desired: row.desired,
            slots: seen.as_ref().and_then(|seen| agreed(&row, &seen.report.slots)),
            holds_leases: !held.is_empty(),
        });
        Standing { row, seen, held, status, offline_reason, at, queue }
    }

    pub fn updated_at(&self) -> UnixMillis {
        self.seen.as_ref().map_or(self.row.updated_at, |seen| self.row.updated_at.max(seen.changed_at))
    }

    fn is_offline(&self) -> bool {
        self.status == WorkerStatus::Offline
    }

    pub fn worker(&self, (earnings_micros, points): (Micros, i64)) -> Worker {
        let report = self.seen.as_ref().map(|seen| &*seen.report);
        let slots = report.map(|report| self.slots(report)).unwrap_or_default();
        Worker {
            id: self.row.id,
            name: self.row.name.clone(),
            status: self.status,
            offline_reason: self.offline_reason,
            desired: self.row.desired,
            tags: self.row.tags.clone(),
            created_at: self.row.created_at,
            updated_at: self.updated_at(),
            last_heartbeat_at: self.seen.as_ref().map(|seen| seen.last_heartbeat_at),
            uptime_seconds: self
                .seen
                .as_ref()
                .filter(|_| !self.is_offline())
                .map(|seen| self.at.seconds_since(seen.online_since).max(0.0)),
            availability_ratio: self.availability_ratio(),
            os: report.map(|report| report.os.clone()),
            ip: self.seen.as_ref().and_then(|seen| seen.ip).map(|ip| ip.to_string()),
            local_ip: report.and_then(|report| report.local_ip.clone()),
            agent_version: report.map(|report| report.agent_version.clone()),
            blender: report.map(|report| report.blender.clone()).unwrap_or_default(),
            cpu: report.and_then(|report| report.cpu.clone()).map(|cpu| self.cpu(cpu)),
            memory_total_bytes: report.and_then(|report| report.memory_total_bytes),
            memory_used_bytes: report.and_then(|report| self.live(report.memory_used_bytes)),
            gpus: report.map_or(&[][..], |report| &report.gpus).iter().map(|gpu| self.gpu(gpu)).collect(),
            health: report.map(|report| self.health(report)).unwrap_or_default(),
            task: slots.iter().find(|slot| slot.status == SlotStatus::Busy).cloned(),
            slots,
            earnings_micros,
            points,
        }
    }

    fn availability_ratio(&self) -> Option<f64> {
        let seen = self.seen.as_ref()?;
        let existed_seconds = self.at.seconds_since(self.row.created_at);
        let online_seconds = UnixMillis(seen.online_millis).seconds_since(UnixMillis(0));
        (existed_seconds > 0.0).then(|| (online_seconds / existed_seconds).clamp(0.0, 1.0))
    }

    /// What was measured before the worker went offline is not known now.
    fn live<T>(&self, value: Option<T>) -> Option<T> {
        value.filter(|_| !self.is_offline())
    }

    fn cpu(&self, cpu: Cpu) -> Cpu {
        Cpu {
            utilization_ratio: self.live(cpu.utilization_ratio),
            temperature_celsius: self.live(cpu.temperature_celsius),
            ..cpu
        }
    }

    fn gpu(&self, gpu: &Gpu) -> Gpu {
        Gpu {
            memory_used_bytes: self.live(gpu.memory_used_bytes),
            utilization_ratio: self.live(gpu.utilization_ratio),
            temperature_celsius: self.live(gpu.temperature_celsius),
            power_watts: self.live(gpu.power_watts),
            ..gpu.clone()
        }
    }

    fn health(&self, report: &HeartbeatRequest) -> Vec<HealthFinding> {
        if self.is_offline() {
            return Vec::new();
        }
        let duplicate = self.seen.as_ref().and_then(|seen| seen.duplicate(self.at));
        duplicate.into_iter().chain(report.health.iter().cloned()).collect()
    }

    /// The slots of an agent that is there; of one that is not, nothing is known.
    fn slots(&self, report: &HeartbeatRequest) -> Vec<Slot> {
        if self.is_offline() {
            return Vec::new();
        }
        report.slots.iter().map(|slot| self.slot(slot, report)).collect()
    }

    fn slot(&self, reported: &ReportedSlot, report: &HeartbeatRequest) -> Slot {
        // An agent may hold a lease whose frames it still sends, besides the one that it renders.
        let on_slot = || self.held.iter().filter(|held| held.slot == reported.slot);
        let held = on_slot()
            .find(|held| Some(held.attempt_id) == reported.attempt_id)
            .or_else(|| on_slot().next_back());
        let progress: Option<&AttemptReport> = held
            .and_then(|held| report.attempts.iter().find(|attempt| attempt.attempt_id == held.attempt_id));
        let status = match (reported.status, held) {
            (SlotStatus::Idle | SlotStatus::Busy, Some(_)) => SlotStatus::Busy,
            // The registry knows first that a task has ended.
            (SlotStatus::Idle | SlotStatus::Busy, None) => free(self.row.slot_desired(reported.slot)),
            (status @ (SlotStatus::Paused | SlotStatus::Draining), _) => status,
        };
        Slot {
            slot: reported.slot,
            gpu_uuid: reported.gpu_uuid.clone(),
            status,
            desired: self.row.own_desired(reported.slot),
            reasons: self.reasons(status, reported, report),
            attempt_id: held.map(|held| held.attempt_id),
            job_id: held.map(|held| held.job_id),
            job_status: held.map(|held| held.job_status),
            task_id: held.map(|held| held.task_id),
            progress_ratio: progress.and_then(|progress| progress.progress_ratio),
            elapsed_seconds: progress.and_then(|progress| progress.elapsed_seconds),
            remaining_seconds: progress.and_then(|progress| progress.remaining_seconds),
        }
    }

    /// Why a slot does not run, or soon will not: who pauses it, what its agent says, what the queue has for it.
    fn reasons(
        &self,
        status: SlotStatus,
        reported: &ReportedSlot,
        report: &HeartbeatRequest,
    ) -> Vec<SlotReason> {
        // The registry knows first what the console wants; the agent has heard it at its last heartbeat.
        let console = SlotReason::of_console(self.row.slot_desired(reported.slot));
        let agents = reported.reasons.iter().filter(|reason| !reason.is_of_console()).cloned();
        let mut reasons: Vec<SlotReason> = console.into_iter().chain(agents).collect();
        if status == SlotStatus::Busy {
            return reasons;
        }
        if let (false, Some(refusal)) = (report.accepts_tasks, &report.refusal) {
            reasons.push(SlotReason::refused(refusal));
        }
        match status {
            _ if !reasons.is_empty() => reasons,
            SlotStatus::Idle => self.queue.reasons(self.row.id),
            _ => vec![SlotReason::new(ReasonCode::AboutToResume)],
        }
    }
}

/// What a slot without a task is.
fn free(desired: DesiredState) -> SlotStatus {
    match desired {
        DesiredState::Active => SlotStatus::Idle,
        DesiredState::Paused => SlotStatus::Paused,
        DesiredState::Draining => SlotStatus::Draining,
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::{DesiredState, OfflineReason, SlotStatus, WorkerStatus};

    use super::{Contact, Evidence, derive};

    #[test]
    fn the_first_that_holds_decides() {
        let evidence =
            |contact, desired, slots, holds_leases| Evidence { contact, desired, slots, holds_leases };
        use DesiredState::{Active, Draining, Paused};
        for (contact, reason) in [
            (Contact::Never, OfflineReason::NeverConnected),
            (Contact::Stopped, OfflineReason::Stopped),
            (Contact::Lost, OfflineReason::Lost),
        ] {
            for desired in DesiredState::ALL {
                let derived = derive(evidence(contact, *desired, None, true));
                assert_eq!(derived, (WorkerStatus::Offline, Some(reason)));
            }
        }
        for (desired, slots, holds_leases, status) in [
            (Active, None, false, WorkerStatus::Idle),
            (Active, None, true, WorkerStatus::Busy),
            (Active, Some(SlotStatus::Paused), true, WorkerStatus::Paused),
            (Active, Some(SlotStatus::Draining), true, WorkerStatus::Draining),
            (Draining, None, true, WorkerStatus::Draining),
            (Draining, Some(SlotStatus::Paused), true, WorkerStatus::Paused),
            (Paused, None, true, WorkerStatus::Paused),
            (Paused, Some(SlotStatus::Draining), false, WorkerStatus::Paused),
        ] {
            assert_eq!(derive(evidence(Contact::Online, desired, slots, holds_leases)), (status, None));
        }
    }
}
