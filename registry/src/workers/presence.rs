//! Who is there: the last heartbeat of every worker, in memory, written behind in batches.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pictor_protocol::{HeartbeatRequest, WorkerId};

use super::seen::{Beat, DUPLICATE_ADVICE, Seen, duplicate};
use super::store;
use crate::App;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::figures::electricity;

const WRITE_SECONDS: u64 = 5;
/// How many workers share one transaction: others wait no longer than it takes.
const BATCH_WORKERS: usize = 500;

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
    pub(crate) fn record(&self, beat: &Beat) -> Result<bool> {
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

/// Writes the heartbeats that came in since the last time.
pub async fn write_presence(app: &App) -> Result<()> {
    let unwritten = app.presence.unwritten();
    for batch in unwritten.chunks(BATCH_WORKERS) {
        write(app, batch.to_vec()).await?;
    }
    Ok(())
}

/// Writes one worker's presence now.
pub(crate) async fn write_one(app: &App, worker_id: WorkerId) -> Result<()> {
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
                        electricity::record(conn, *worker_id, told, currency, at).await?;
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
    use crate::error::Error;
    use crate::ledger::store::earned;

    fn report(machine: &str, boot: &str) -> HeartbeatRequest {
        HeartbeatRequest {
            machine_id: machine.to_owned(),
            boot_id: boot.to_owned(),
            hostname: format!("host-{machine}"),
            ..HeartbeatRequest::example()
        }
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
