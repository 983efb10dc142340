//! Who is there: the last heartbeat of every worker, in memory, written behind in batches.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pictor_protocol::{
    AccountId, BlenderInstall, Check, HealthFinding, HeartbeatRequest, UnixMillis, WorkerId,
};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::store;
use crate::App;
use crate::db::Db;
use crate::earnings;
use crate::error::{Error, Result};

const WRITE_SECONDS: u64 = 5;
/// A machine that is refused tries again every half minute: one that was not heard for longer has gone.
const INTRUDER_MILLIS: i64 = 120_000;
/// How many workers share one transaction: others wait no longer than it takes.
const BATCH_WORKERS: usize = 500;

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
    able: bool,
    /// The boot that the present one followed. Heard again, two machines share one disk image.
    earlier_boot_id: Option<String>,
    /// Another machine that used this worker's config file: when it last tried, and what it was told.
    intruder: Option<(UnixMillis, String)>,
    unwritten: bool,
}

/// A heartbeat as it came in.
pub(super) struct Beat {
    pub(super) worker_id: WorkerId,
    pub(super) account_id: AccountId,
    pub(super) ip: Option<IpAddr>,
    /// Accepts tasks, and its owner wants it to.
    pub(super) able: bool,
    pub(super) report: Arc<HeartbeatRequest>,
    pub(super) now: UnixMillis,
    pub(super) offline_after_seconds: i64,
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
            account_id: row.try_get::<String, _>("account_id")?.parse().map_err(anyhow::Error::from)?,
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

    fn first(beat: &Beat) -> Seen {
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
    fn after(&self, beat: &Beat) -> Seen {
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
    fn contradicts(&self, beat: &Beat) -> bool {
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

/// Every worker that has been heard from.
pub struct Presence {
    workers: Mutex<HashMap<WorkerId, Seen>>,
}

impl Presence {
    /// Begins with what the database remembers.
    pub async fn load(db: &Db) -> Result<Presence> {
        let seen = store::seen(&mut *db.read().await?).await?;
        Ok(Presence { workers: Mutex::new(seen.into_iter().collect()) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Seen>> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, worker_id: WorkerId) -> Option<Seen> {
        self.lock().get(&worker_id).cloned()
    }

    /// The last report of a worker that has not said goodbye since.
    pub fn report(&self, worker_id: WorkerId) -> Option<Arc<HeartbeatRequest>> {
        self.lock().get(&worker_id).filter(|seen| seen.stopped_at.is_none()).map(|seen| seen.report.clone())
    }

    pub(super) fn forget(&self, worker_id: WorkerId) {
        self.lock().remove(&worker_id);
    }

    /// Takes a heartbeat; whether it is worth writing at once: a worker that comes, changes or says goodbye.
    pub(super) fn record(&self, beat: &Beat) -> Result<bool> {
        let mut workers = self.lock();
        let Some(before) = workers.get_mut(&beat.worker_id) else {
            workers.insert(beat.worker_id, Seen::first(beat));
            return Ok(true);
        };
        if before.contradicts(beat) {
            let found = duplicate(before, beat);
            before.intruder = Some((beat.now, found.clone()));
            return Err(Error::conflict("duplicate_worker", format!("{found}. {DUPLICATE_ADVICE}")));
        }
        let after = before.after(beat);
        let at_once = after.stopped_at.is_some()
            || after.online_since != before.online_since
            || after.changed_at != before.changed_at;
        workers.insert(beat.worker_id, after);
        Ok(at_once)
    }

    fn unwritten(&self) -> Vec<(WorkerId, Seen)> {
        self.lock().iter().filter(|(_, seen)| seen.unwritten).map(|(id, seen)| (*id, seen.clone())).collect()
    }

    fn written(&self, batch: &[(WorkerId, Seen)]) {
        let mut workers = self.lock();
        for (id, written) in batch {
            if let Some(seen) = workers.get_mut(id) {
                seen.written_online_millis = written.online_millis;
                seen.unwritten = seen.last_heartbeat_at != written.last_heartbeat_at;
            }
        }
    }
}

const DUPLICATE_ADVICE: &str = "Stop the agent on one of them; a machine of its own needs a worker of its own, with its \
     own config file (a cloned disk keeps the original's)";

fn duplicate(first: &Seen, second: &Beat) -> String {
    format!(
        "two machines use the config file of this worker: '{}' ({}) and '{}' ({})",
        first.report.hostname,
        first.ip.map_or_else(|| "address unknown".to_owned(), |ip| ip.to_string()),
        second.report.hostname,
        second.report.local_ip.as_deref().unwrap_or("address unknown"),
    )
}

/// Writes the heartbeats that came in since the last time.
pub async fn write_presence(app: &App) -> Result<()> {
    let unwritten = app.presence.unwritten();
    for batch in unwritten.chunks(BATCH_WORKERS) {
        write(app, batch.to_vec()).await?;
    }
    Ok(())
}

/// Writes one worker's presence now.
pub(super) async fn write_one(app: &App, worker_id: WorkerId) -> Result<()> {
    match app.presence.get(worker_id) {
        Some(seen) => write(app, vec![(worker_id, seen)]).await,
        None => Ok(()),
    }
}

async fn write(app: &App, batch: Vec<(WorkerId, Seen)>) -> Result<()> {
    let (batch, now, settings) = (Arc::new(batch), app.clock.now(), app.settings.clone());
    let written = batch.clone();
    app.db
        .write(move |conn| {
            let (batch, settings) = (batch.clone(), settings.clone());
            Box::pin(async move {
                for (worker_id, seen) in batch.iter() {
                    store::write_seen(conn, *worker_id, seen, settings.points_per_hour, now).await?;
                    if let Some(told) = &seen.report.electricity {
                        let (at, currency) = (seen.last_heartbeat_at, &settings.currency);
                        earnings::electricity::record(conn, *worker_id, told, currency, at).await?;
                    }
                }
                Ok(())
            })
        })
        .await?;
    app.presence.written(&written);
    Ok(())
}

/// Writes behind every few seconds. What cannot be written now stays in memory for the next time.
pub async fn presence_loop(app: App) -> anyhow::Result<Infallible> {
    loop {
        tokio::time::sleep(Duration::from_secs(WRITE_SECONDS)).await;
        if let Err(error) = write_presence(&app).await {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "heartbeats could not be written"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use pictor_protocol::{AccountId, HeartbeatRequest, Role, UnixMillis, WorkerId};

    use super::{Beat, Presence, store};
    use crate::accounts::{self, store::NewAccount};
    use crate::db::Db;
    use crate::earnings::store::earned;
    use crate::error::Error;

    fn report(machine: &str, boot: &str) -> HeartbeatRequest {
        serde_json::from_value(serde_json::json!({
            "machine_id": machine, "boot_id": boot, "hostname": format!("host-{machine}"), "agent_version": "1",
            "os": "Debian 12", "local_ip": null, "metrics_listen": "127.0.0.1:9850", "accepts_tasks": true,
            "refusal": null, "stopping": false, "blender": [], "cpu": null, "memory_total_bytes": null,
            "memory_used_bytes": null, "gpus": [], "slots": [], "attempts": [],
        }))
        .unwrap()
    }

    fn beat(second: i64, report: HeartbeatRequest) -> Beat {
        Beat {
            worker_id: WorkerId::from_parts(1, [1; 10]),
            account_id: AccountId::from_parts(1, [1; 10]),
            ip: None,
            able: true,
            report: Arc::new(report),
            now: UnixMillis(second * 1_000),
            offline_after_seconds: 30,
        }
    }

    fn code(error: &Error) -> &'static str {
        match error {
            Error::Conflict { code, .. } => code,
            _ => "another error",
        }
    }

    #[test]
    fn time_online_counts_between_heartbeats_and_not_across_a_gap() {
        let presence = Presence { workers: Mutex::new(HashMap::new()) };
        let id = beat(0, report("a", "1")).worker_id;
        assert!(presence.record(&beat(0, report("a", "1"))).unwrap(), "first contact is written at once");
        assert!(!presence.record(&beat(10, report("a", "1"))).unwrap());
        assert_eq!(presence.get(id).unwrap().online_millis, 10_000);
        assert!(presence.record(&beat(60, report("a", "1"))).unwrap(), "it came back");
        let back = presence.get(id).unwrap();
        assert_eq!((back.online_millis, back.online_since), (10_000, UnixMillis(60_000)));
        let goodbye = HeartbeatRequest { stopping: true, ..report("a", "1") };
        assert!(presence.record(&beat(70, goodbye)).unwrap());
        let gone = presence.get(id).unwrap();
        assert_eq!((gone.online_millis, gone.stopped_at), (20_000, Some(UnixMillis(70_000))));
        assert_eq!(gone.changed_at, UnixMillis(0), "a heartbeat changes no facts");
    }

    #[test]
    fn a_second_machine_is_refused_until_the_first_is_gone() {
        let presence = Presence { workers: Mutex::new(HashMap::new()) };
        presence.record(&beat(0, report("a", "1"))).unwrap();
        let refused = presence.record(&beat(30, report("b", "2"))).unwrap_err();
        assert_eq!(code(&refused), "duplicate_worker");
        assert!(
            refused.to_string().contains("host-a") && refused.to_string().contains("host-b"),
            "{refused}"
        );
        presence.record(&beat(31, report("b", "2"))).unwrap();
    }

    #[test]
    fn a_cloned_disk_shows_by_boots_that_take_turns() {
        let presence = Presence { workers: Mutex::new(HashMap::new()) };
        presence.record(&beat(0, report("a", "1"))).unwrap();
        presence.record(&beat(5, report("a", "2"))).unwrap();
        assert_eq!(code(&presence.record(&beat(10, report("a", "1"))).unwrap_err()), "duplicate_worker");
    }

    #[tokio::test]
    async fn a_full_hour_online_earns_its_point_once() {
        let folder = tempfile::tempdir().unwrap();
        let db =
            Db::open(&format!("sqlite://{}", folder.path().join("registry.db").display())).await.unwrap();
        let presence = Presence { workers: Mutex::new(HashMap::new()) };
        let first = beat(0, report("a", "1"));
        let (id, account_id) = (first.worker_id, first.account_id);
        db.write(move |conn| {
            Box::pin(async move {
                let (name, roles) = ("p".to_owned(), vec![Role::Provider]);
                let account = NewAccount { id: account_id, name, roles, wallet_address: None };
                accounts::store::create(conn, &account, UnixMillis(0)).await?;
                store::create(conn, id, account_id, &"w".parse().unwrap(), UnixMillis(0)).await
            })
        })
        .await
        .unwrap();
        for second in (0..=7_200).step_by(30) {
            presence.record(&beat(second, report("a", "1"))).unwrap();
            if second % 1_200 != 0 {
                continue;
            }
            let batch = presence.unwritten();
            let seen = batch[0].1.clone();
            // Twice, as after an answer that was lost.
            for _ in 0..2 {
                let seen = seen.clone();
                db.write(move |conn| {
                    let seen = seen.clone();
                    Box::pin(
                        async move { store::write_seen(conn, id, &seen, 1, seen.last_heartbeat_at).await },
                    )
                })
                .await
                .unwrap();
            }
            presence.written(&batch);
            let earned = earned(&mut db.read().await.unwrap(), id, "EUR").await.unwrap();
            assert_eq!(earned.points, second / 3_600);
        }
        let restarted = Presence::load(&db).await.unwrap().get(id).unwrap();
        assert_eq!((restarted.online_millis, restarted.online_since), (7_200_000, UnixMillis(0)));
    }
}
