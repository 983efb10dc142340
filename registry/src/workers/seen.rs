//! What one worker was last heard to be, and what a heartbeat makes of it.

use std::net::IpAddr;
use std::sync::Arc;

use pictor_protocol::{
    AccountId, BlenderInstall, Check, HealthFinding, HeartbeatRequest, UnixMillis, WorkerId,
};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::error::Result;
use crate::row::parsed;

/// A machine that is refused tries again every half minute: one that was not heard for longer has gone.
const INTRUDER_MILLIS: i64 = 120_000;

/// What is known of a worker that has been heard from.
#[derive(Debug, Clone)]
pub struct Seen {
    pub account_id: AccountId,
    pub report: Arc<HeartbeatRequest>,
    /// Where its heartbeats come from.
    pub ip: Option<IpAddr>,
    pub last_heartbeat_at: UnixMillis,
    /// When its agent last came online.
    pub online_since: UnixMillis,
    /// It said goodbye then, and was not heard since.
    pub stopped_at: Option<UnixMillis>,
    /// All time, online and able to work.
    pub online_millis: i64,
    pub(super) written_online_millis: i64,
    /// When its hardware or software last changed, as far as this process saw.
    pub(super) changed_at: UnixMillis,
    /// Whether it was able to work, so that the time until the next heartbeat counts.
    pub(super) able: bool,
    /// The boot that the present one followed. Heard again, two machines share one disk image.
    pub(super) earlier_boot_id: Option<String>,
    /// Another machine that used this worker's config file: when it last tried, and what it was told.
    pub(super) intruder: Option<(UnixMillis, String)>,
    pub(super) unwritten: bool,
}

/// A heartbeat as it came in.
pub struct Beat {
    pub worker_id: WorkerId,
    pub account_id: AccountId,
    pub ip: Option<IpAddr>,
    /// Accepts tasks, and its owner wants it to.
    pub able: bool,
    pub report: Arc<HeartbeatRequest>,
    pub now: UnixMillis,
    pub offline_after_seconds: i64,
}

impl Seen {
    pub fn is_online(&self, now: UnixMillis, offline_after_seconds: i64) -> bool {
        self.stopped_at.is_none() && now.0 - self.last_heartbeat_at.0 <= offline_after_seconds * 1_000
    }

    /// Another machine's use of this worker, while that goes on.
    pub(super) fn duplicate(&self, now: UnixMillis) -> Option<HealthFinding> {
        let (at, found) = self.intruder.as_ref()?;
        (now.0 - at.0 <= INTRUDER_MILLIS).then(|| HealthFinding {
            check: Check::DuplicateWorker.as_str().to_owned(),
            found: found.clone(),
            advice: DUPLICATE_ADVICE.to_owned(),
        })
    }

    pub(super) fn stored(row: &AnyRow, report: HeartbeatRequest) -> Result<Seen> {
        let last_heartbeat_at = UnixMillis(row.try_get("last_heartbeat_at")?);
        let online_millis = row.try_get("online_millis")?;
        Ok(Seen {
            account_id: parsed(row, "account_id")?,
            able: report.accepts_tasks,
            report: Arc::new(report),
            ip: row.try_get::<Option<String>, _>("ip")?.and_then(|ip| ip.parse().ok()),
            last_heartbeat_at,
            online_since: row
                .try_get::<Option<i64>, _>("online_since")?
                .map_or(last_heartbeat_at, UnixMillis),
            stopped_at: row.try_get::<Option<i64>, _>("stopped_at")?.map(UnixMillis),
            online_millis,
            written_online_millis: online_millis,
            changed_at: UnixMillis(0),
            earlier_boot_id: None,
            intruder: None,
            unwritten: false,
        })
    }

    pub(super) fn first(beat: &Beat) -> Seen {
        Seen {
            account_id: beat.account_id,
            report: beat.report.clone(),
            ip: beat.ip,
            last_heartbeat_at: beat.now,
            online_since: beat.now,
            stopped_at: beat.report.stopping.then_some(beat.now),
            online_millis: 0,
            written_online_millis: 0,
            changed_at: beat.now,
            able: beat.able,
            earlier_boot_id: None,
            intruder: None,
            unwritten: true,
        }
    }

    /// What stands here before and the heartbeat: the same agent going on, or come back.
    pub(super) fn after(&self, beat: &Beat) -> Seen {
        let online = self.is_online(beat.now, beat.offline_after_seconds);
        let same_boot = self.report.boot_id == beat.report.boot_id;
        let passed = (beat.now.0 - self.last_heartbeat_at.0).max(0);
        let changed = facts(&self.report) != facts(&beat.report);
        Seen {
            online_since: if online && same_boot { self.online_since } else { beat.now },
            online_millis: self.online_millis + if online && self.able { passed } else { 0 },
            written_online_millis: self.written_online_millis,
            changed_at: if changed { beat.now } else { self.changed_at },
            earlier_boot_id: if same_boot {
                self.earlier_boot_id.clone()
            } else {
                Some(self.report.boot_id.clone())
            },
            intruder: self.intruder.clone(),
            ..Seen::first(beat)
        }
    }

    /// Another machine speaks for this worker: another machine id, or, from a cloned disk, a boot that
    /// another boot of the same id had followed.
    pub(super) fn contradicts(&self, beat: &Beat) -> bool {
        self.is_online(beat.now, beat.offline_after_seconds)
            && (self.report.machine_id != beat.report.machine_id
                || self.earlier_boot_id.as_ref() == Some(&beat.report.boot_id))
    }
}

/// What of a report is the machine and its software, and not what it does just now.
fn facts(report: &HeartbeatRequest) -> impl PartialEq + use<'_> {
    let cpu = report.cpu.as_ref().map(|cpu| (&cpu.name, cpu.cores));
    let gpus = report
        .gpus
        .iter()
        .map(|gpu| (&gpu.uuid, gpu.index, &gpu.name, &gpu.driver_version, gpu.memory_total_bytes));
    let gpus: Vec<_> = gpus.collect();
    let blender: &[BlenderInstall] = &report.blender;
    (&report.os, &report.agent_version, blender, cpu, report.memory_total_bytes, gpus)
}

pub(super) const DUPLICATE_ADVICE: &str = "Stop the agent on one of them; a machine of its own needs a worker of its own, with its \
     own config file (a cloned disk keeps the original's)";

pub(super) fn duplicate(first: &Seen, second: &Beat) -> String {
    format!(
        "two machines use the config file of this worker: '{}' ({}) and '{}' ({})",
        first.report.hostname,
        first.ip.map_or_else(|| "address unknown".to_owned(), |ip| ip.to_string()),
        second.report.hostname,
        second.report.local_ip.as_deref().unwrap_or("address unknown"),
    )
}
