//! Everything the Rendering page shows, once: for the page, for `pictor-agent status` and for programs.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use pictor_look::text;
use pictor_measure::nvml::GpuSample;
use pictor_protocol::{DesiredState, Earned, ReasonCode, SlotReason, SlotStatus};
use serde::{Deserialize, Serialize};

use super::{App, history};
use crate::{
    clock,
    connection::Line,
    finding::{Finding, Grade},
    findings::Refusal,
    readiness::Verdict,
    slots::WorkView,
};

/// A worker as its own machine sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub worker_id: String,
    pub worker_name: String,
    pub wallet_address: Option<String>,
    pub registry: String,
    pub agent_version: String,
    pub status: SlotStatus,
    /// Why it is that, for people.
    pub reasons: Vec<String>,
    /// What was chosen here: `active`, `paused` or `draining`.
    pub desired_here: DesiredState,
    pub is_connected: bool,
    pub connection: String,
    /// What is wrong, with what to do about it.
    pub findings: Vec<Finding>,
    pub cpu_name: Option<String>,
    pub cpu_utilization_ratio: Option<f64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    /// Of this worker, all time.
    #[serde(flatten)]
    pub earned: Option<Earned>,
    pub slots: Vec<Slot>,
    /// SVG path data.
    #[serde(skip)]
    pub cpu_graph: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slot {
    pub slot: u32,
    /// The GPU's name, or the processor's.
    pub device: String,
    pub status: SlotStatus,
    pub reasons: Vec<String>,
    pub gpu: Option<Gpu>,
    pub task: Option<Task>,
    #[serde(skip)]
    pub gpu_graph: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Gpu {
    pub uuid: String,
    pub utilization_ratio: Option<f64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    pub job_id: String,
    pub task_id: String,
    pub attempt_id: String,
    pub frames: String,
    pub progress_ratio: f64,
    pub elapsed_seconds: f64,
    pub remaining_seconds: Option<f64>,
    /// When it will be done, as far as can be told.
    pub completes_at: Option<Timestamp>,
}

/// What an idle worker does that could work.
const WAITING: &str = "Waiting for a task.";

impl Status {
    /// Whether nothing but the lack of a task keeps it idle.
    pub fn is_waiting(&self) -> bool {
        self.is_connected && self.reasons.iter().any(|reason| reason == WAITING)
    }

    /// Of the whole processor, which serves all slots.
    pub fn cpu(&self) -> String {
        text::percent_or_unknown(&self.cpu_utilization_ratio)
    }

    pub fn memory(&self) -> String {
        text::part_of(&self.memory_used_bytes, &self.memory_total_bytes)
    }

    pub fn earnings(&self) -> String {
        let earned = self.earned.as_ref();
        earned.map_or_else(
            || text::UNKNOWN.to_owned(),
            |earned| text::money(&earned.earnings_micros, &earned.currency),
        )
    }

    pub fn points(&self) -> String {
        let earned = self.earned.as_ref();
        earned.map_or_else(|| text::UNKNOWN.to_owned(), |earned| text::thousands(earned.points))
    }
}

impl App {
    /// As of now.
    pub(super) fn status(&self) -> Status {
        let connection = self.connection.borrow().clone();
        let host = self.host.borrow().clone();
        let slots = self.slot_views(host.as_ref().and_then(|host| host.cpu_name.as_deref()));
        let (status, reasons) = self.overall(&slots);
        Status {
            worker_id: self.config.identity.0.worker_id.to_string(),
            worker_name: self.worker_name(),
            wallet_address: self.config.identity.0.wallet_address.clone(),
            registry: self.config.identity.0.registry.to_string(),
            agent_version: self.updates.status().current,
            status,
            reasons,
            desired_here: self.pause.desired(),
            is_connected: connection.line == Line::Up,
            connection: match &connection.line {
                Line::Starting => "connecting".to_owned(),
                Line::Up => "connected".to_owned(),
                Line::Down => "not reached; tried again until it answers".to_owned(),
                Line::Refused => connection.refusal.unwrap_or_else(|| "refused".to_owned()),
            },
            findings: self
                .health
                .findings()
                .into_iter()
                .filter(|finding| finding.status != Grade::Ok)
                .collect(),
            cpu_name: host.as_ref().and_then(|host| host.cpu_name.clone()),
            cpu_utilization_ratio: host.as_ref().and_then(|host| host.cpu_utilization_ratio),
            memory_used_bytes: host.as_ref().map(|host| host.memory_used_bytes),
            memory_total_bytes: host.as_ref().map(|host| host.memory_total_bytes),
            earned: self.earned.borrow().clone(),
            slots,
            cpu_graph: history::path(&self.history.cpu()),
        }
    }

    /// The name by which the registry knows the worker, for it may be changed there.
    pub(super) fn worker_name(&self) -> String {
        let heard = self.connection.borrow().worker_name.clone();
        heard.unwrap_or_else(|| self.config.identity.0.worker_name.clone()).to_string()
    }

    fn slot_views(&self, cpu_name: Option<&str>) -> Vec<Slot> {
        let gpus = self.gpus.borrow().clone().unwrap_or_default().visible;
        let mut work = self.slots.work();
        let reported = self.slots.reported().into_iter();
        reported
            .map(|slot| {
                let gpu = slot.gpu_uuid.as_ref().and_then(|uuid| gpus.iter().find(|gpu| gpu.uuid == *uuid));
                let device = match (&slot.gpu_uuid, gpu) {
                    (_, Some(gpu)) => gpu.name.clone().unwrap_or_else(|| gpu.uuid.clone()),
                    (Some(uuid), None) => format!("{uuid}, which does not answer"),
                    (None, _) => cpu_name.unwrap_or("CPU").to_owned(),
                };
                let task =
                    work.iter().position(|work| work.slot == slot.slot).map(|index| work.remove(index));
                Slot {
                    slot: slot.slot,
                    device,
                    status: slot.status,
                    reasons: slot.reasons.iter().map(sentence).collect(),
                    gpu_graph: gpu.map(|gpu| history::path(&self.history.gpu(&gpu.uuid))).unwrap_or_default(),
                    gpu: gpu.map(Gpu::of),
                    task: task.as_ref().map(Task::of),
                }
            })
            .collect()
    }

    /// The worker's status, and why it renders nothing.
    fn overall(&self, slots: &[Slot]) -> (SlotStatus, Vec<String>) {
        let is = |status| slots.iter().any(|slot| slot.status == status);
        let refusal = match self.readiness.probed().verdict {
            Verdict::Ready(_) => None,
            Verdict::Probing => Some("Looking at this machine: Blender, sandbox, disk.".to_owned()),
            Verdict::Refused(Refusal { reason, .. }) => Some(format!("It takes no tasks: {reason}.")),
        };
        let status = [SlotStatus::Busy, SlotStatus::Draining, SlotStatus::Idle]
            .into_iter()
            .find(|status| is(*status))
            .unwrap_or(SlotStatus::Paused);
        let mut reasons: Vec<String> = refusal.into_iter().collect();
        for reason in slots.iter().flat_map(|slot| &slot.reasons) {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
        if reasons.is_empty() && status == SlotStatus::Idle {
            reasons.push(WAITING.to_owned());
        }
        (status, reasons)
    }
}

/// Why a slot does not run, for who sits at the machine.
fn sentence(reason: &SlotReason) -> String {
    match reason.code {
        ReasonCode::PausedByConsole => "Paused in the console, where it can be resumed.".to_owned(),
        ReasonCode::DrainedByConsole => {
            "Draining, from the console: it finishes its task and takes no other.".to_owned()
        }
        ReasonCode::PausedHere => "Paused on this machine.".to_owned(),
        ReasonCode::DrainedHere => {
            "Draining, from this machine: it finishes its task and takes no other.".to_owned()
        }
        ReasonCode::TestRenderWaits => "Kept for a test render, which begins when it is free.".to_owned(),
        ReasonCode::TestRender => "A test render is under way.".to_owned(),
        ReasonCode::Updating => "An update is about to be installed.".to_owned(),
        _ => {
            let words = reason.detail.clone().unwrap_or_else(|| reason.to_string());
            format!("{}.", text::capitalised(&words))
        }
    }
}

impl Gpu {
    fn of(gpu: &GpuSample) -> Gpu {
        Gpu {
            uuid: gpu.uuid.clone(),
            utilization_ratio: gpu.utilization_ratio,
            memory_used_bytes: gpu.memory_used_bytes,
            memory_total_bytes: gpu.memory_total_bytes,
            temperature_celsius: gpu.temperature_celsius,
            power_watts: gpu.power_average_watts,
        }
    }

    pub fn utilization(&self) -> String {
        text::percent_or_unknown(&self.utilization_ratio)
    }

    /// Its memory, its temperature and its power, as far as they are known.
    pub fn readings(&self) -> String {
        let memory = text::part_of(&self.memory_used_bytes, &self.memory_total_bytes);
        let celsius = self.temperature_celsius.as_ref().map(text::celsius);
        let watts = self.power_watts.as_ref().map(text::watts);
        [Some(memory), celsius, watts].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Task {
    fn of(work: &WorkView) -> Task {
        let remaining = work.remaining.filter(|_| work.progress_ratio < 1.0);
        let ends_in = remaining.and_then(|remaining| jiff::SignedDuration::try_from(remaining).ok());
        Task {
            job_id: work.lease.job_id.to_string(),
            task_id: work.lease.task_id.to_string(),
            attempt_id: work.lease.id.to_string(),
            frames: work.lease.frames.to_string(),
            progress_ratio: work.progress_ratio,
            elapsed_seconds: work.elapsed.as_secs_f64(),
            remaining_seconds: remaining.as_ref().map(Duration::as_secs_f64),
            completes_at: ends_in.and_then(|ends_in| clock::timestamp().checked_add(ends_in).ok()),
        }
    }

    pub fn done(&self) -> String {
        text::percent(&self.progress_ratio)
    }

    pub fn elapsed(&self) -> String {
        text::clock(&Some(self.elapsed_seconds))
    }

    pub fn remaining(&self) -> String {
        text::clock(&self.remaining_seconds)
    }

    /// In this machine's zone.
    pub fn completes(&self) -> String {
        self.completes_at.map_or_else(
            || text::UNKNOWN.to_owned(),
            |at| at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::Check;

    use super::*;

    #[test]
    fn reasons_are_sentences() {
        let said = |code| sentence(&SlotReason::new(code));
        assert_eq!(sentence(&SlotReason::found(Check::Gpus, "GPU 0 is lost")), "GPU 0 is lost.");
        assert_eq!(said(ReasonCode::TestRender), "A test render is under way.");
        assert_eq!(said(ReasonCode::PausedHere), "Paused on this machine.");
    }
}
