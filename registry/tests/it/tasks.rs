//! The store of tasks and attempts: claimed by one, ended by its holder only, paid once, whatever races.

use std::collections::HashSet;

use pictor_protocol::{AttemptId, AttemptStatus, Micros, TaskId, TaskStatus, UnixMillis, WorkerId};
use pictor_registry::clock::Clock;
use pictor_registry::db::{Db, Dialect};
use pictor_registry::error::{Error, Result};
use pictor_registry::ledger;
use pictor_registry::tasks::state::{AttemptEvent, TaskEvent};
use pictor_registry::tasks::store::{self, Assignment, Ending, NewAttempt};
use pictor_registry::tasks::{next_job, next_task, release_all};
use sqlx::AnyConnection;

use crate::database::Place;
use crate::network::{Dice, NOW, Network, findings, held, insert_worker};

on_both_databases!(
    claimers_at_once_never_share_a_task,
    only_the_latest_attempt_ends_its_task,
    completing_and_losing_race_to_one_end,
    a_lapsed_lease_is_taken_back,
    the_third_failure_and_the_fifth_expiry_end_a_task,
    who_failed_a_task_waits_for_others,
    a_deleted_worker_gives_back_what_it_holds,
    random_work_pays_every_completed_task_once,
);

const LEASE_SECONDS: i64 = 60;

/// What `leases` does for one slot.
async fn claim(
    conn: &mut AnyConnection,
    dialect: Dialect,
    network: Network,
    worker: WorkerId,
    now: UnixMillis,
) -> Result<Option<AttemptId>> {
    let waited_since = now.plus_seconds(-LEASE_SECONDS);
    let Some(job) = next_job(conn, worker, waited_since).await? else { return Ok(None) };
    let Some(pick) = next_task(conn, dialect, worker, job, waited_since).await? else {
        return Ok(None);
    };
    let id = Clock::fixed(now).id(AttemptId::from_parts);
    let new = NewAttempt {
        id,
        worker_id: worker,
        provider: network.provider,
        slot: 0,
        gpu_uuid: None,
        gpu_name: None,
        ask_id: id.to_string().try_into().unwrap(),
        lease_seconds: LEASE_SECONDS,
    };
    Ok(store::lease(conn, &pick, &new, now).await?.then_some(id))
}

async fn take(db: &Db, network: Network, worker: WorkerId, now: UnixMillis) -> Option<AttemptId> {
    let dialect = db.dialect();
    db.write(move |conn| Box::pin(claim(conn, dialect, network, worker, now))).await.unwrap()
}

async fn complete(conn: &mut AnyConnection, attempt: &Assignment, now: UnixMillis) -> Result<Micros> {
    let attempt = store::hold(conn, attempt, LEASE_SECONDS, None, now).await?;
    let paid = attempt.paid(1);
    let reward = ledger::store::pay_task(conn, &paid, now).await?;
    store::move_task(conn, &attempt, TaskEvent::Completed, now).await?;
    let ending = Ending { reward: Some(reward), ..Ending::default() };
    store::end_attempt(conn, attempt.attempt_id, attempt.status, AttemptEvent::Completed, &ending, now)
        .await?;
    Ok(reward)
}

async fn fail(conn: &mut AnyConnection, attempt: &Assignment, now: UnixMillis) -> Result<TaskStatus> {
    let attempt = store::hold(conn, attempt, LEASE_SECONDS, None, now).await?;
    let task = store::move_task(conn, &attempt, TaskEvent::AttemptFailed, now).await?;
    let ending = Ending { error: Some("no light".to_owned()), ..Ending::default() };
    store::end_attempt(conn, attempt.attempt_id, attempt.status, AttemptEvent::Failed, &ending, now).await?;
    Ok(task.status)
}

async fn read(db: &Db, worker: WorkerId, attempt: AttemptId) -> Assignment {
    store::assignment(&mut db.read().await.unwrap(), worker, attempt).await.unwrap()
}

/// Runs one step of a task's life as a transaction of its own.
macro_rules! write {
    ($db:expr, |$conn:ident| $work:expr) => {
        $db.write(move |$conn| Box::pin(async move { $work.await })).await
    };
}

/// Completes an attempt as it was read before, whatever has happened to it since.
async fn complete_as_read(db: &Db, attempt: &Assignment) -> Result<Micros> {
    let attempt = attempt.clone();
    db.write(move |conn| {
        let attempt = attempt.clone();
        Box::pin(async move { complete(conn, &attempt, NOW).await })
    })
    .await
}

async fn expire(db: &Db, worker: WorkerId, attempt: AttemptId) -> TaskStatus {
    let moved = write!(db, |conn| async {
        let held = store::assignment(conn, worker, attempt).await?;
        store::move_task(conn, &held, TaskEvent::AttemptExpired, NOW).await
    });
    moved.unwrap().status
}

async fn another_worker(db: &Db, network: Network) -> WorkerId {
    let worker = Clock::fixed(NOW).id(WorkerId::from_parts);
    write!(db, |conn| insert_worker(conn, worker, network.provider)).unwrap();
    worker
}

async fn claimers_at_once_never_share_a_task(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let (_, tasks) = network.job(&db, 30, 10).await.unwrap();
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while let Some(attempt) = take(&db, network, network.worker, NOW).await {
                    taken.push(attempt);
                }
                taken
            })
        })
        .collect();
    let mut taken = Vec::new();
    for claimer in claimers {
        taken.extend(claimer.await.unwrap());
    }
    // A claimer that found everything locked has left; what it left is there for the next.
    while let Some(attempt) = take(&db, network, network.worker, NOW).await {
        taken.push(attempt);
    }
    let mut claimed = HashSet::new();
    for attempt in &taken {
        let held = read(&db, network.worker, *attempt).await;
        assert!(held.is_held(), "{held:?}");
        claimed.insert(held.task_id);
    }
    assert_eq!((taken.len(), claimed), (30, tasks.into_iter().collect::<HashSet<TaskId>>()));
}

async fn only_the_latest_attempt_ends_its_task(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let other = another_worker(&db, network).await;
    network.job(&db, 1, 100).await.unwrap();
    let first = take(&db, network, network.worker, NOW).await.unwrap();
    let stale = read(&db, network.worker, first).await;
    assert_eq!(expire(&db, network.worker, first).await, TaskStatus::Pending);
    let second = take(&db, network, other, NOW).await.unwrap();
    assert_eq!(read(&db, network.worker, first).await.status, AttemptStatus::Expired);

    let lost = read(&db, network.worker, first).await;
    for attempt in [stale, lost] {
        let refused = complete_as_read(&db, &attempt).await;
        assert!(matches!(refused, Err(Error::LeaseLost)), "{refused:?}");
    }
    let hidden = store::assignment(&mut db.read().await.unwrap(), other, first).await;
    assert!(matches!(hidden, Err(Error::NotFound(_))), "another worker's lease is not found");

    let held_now = read(&db, other, second).await;
    for round in 0..2 {
        let done = complete_as_read(&db, &held_now).await;
        match round {
            0 => assert_eq!(done.unwrap(), Micros(80)),
            _ => assert!(matches!(done, Err(Error::LeaseLost)), "{done:?}"),
        }
    }
    assert_eq!(held(&db, ledger::store::Book::Account(network.provider)).await, 80);
    assert_eq!(findings(&db).await, []);
}

async fn completing_and_losing_race_to_one_end(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 10_000).await;
    let other = another_worker(&db, network).await;
    let mut paid = 0;
    for _ in 0..10 {
        network.job(&db, 1, 100).await.unwrap();
        let first = take(&db, network, network.worker, NOW).await.unwrap();
        expire(&db, network.worker, first).await;
        let late = read(&db, network.worker, first).await;
        let completing = tokio::spawn({
            let db = db.clone();
            async move { complete_as_read(&db, &late).await }
        });
        let taken = take(&db, network, other, NOW).await;
        let completed = completing.await.unwrap();
        match (&completed, taken) {
            (Ok(_), None) => paid += 1,
            (Err(Error::LeaseLost), Some(second)) => {
                let held_now = read(&db, other, second).await;
                complete_as_read(&db, &held_now).await.unwrap();
                paid += 1;
            }
            // The taker passed over a row that the completer held, or the completer failed for it.
            (Err(Error::LeaseLost), None) => panic!("nobody has the task"),
            other => panic!("two have the task: {other:?}"),
        }
    }
    assert_eq!(held(&db, ledger::store::Book::Account(network.provider)).await, 80 * paid);
    assert_eq!(findings(&db).await, []);
}

async fn a_lapsed_lease_is_taken_back(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    network.job(&db, 1, 100).await.unwrap();
    let attempt = take(&db, network, network.worker, NOW).await.unwrap();
    let lapsed = async |seconds: i64| {
        let found =
            store::lapsed(&mut db.read().await.unwrap(), NOW.plus_seconds(seconds), 10).await.unwrap();
        found.len()
    };
    assert_eq!((lapsed(LEASE_SECONDS - 1).await, lapsed(LEASE_SECONDS).await), (0, 1));
    expire(&db, network.worker, attempt).await;
    assert_eq!(lapsed(LEASE_SECONDS).await, 0);
    let late = NOW.plus_seconds(LEASE_SECONDS + 5);
    let held = write!(db, |conn| async {
        let held = store::assignment(conn, network.worker, attempt).await?;
        store::hold(conn, &held, LEASE_SECONDS, Some(0.5), late).await
    });
    let held = held.unwrap();
    assert_eq!(
        (held.status, held.task.status, held.task.expiries),
        (AttemptStatus::Running, TaskStatus::Running, 0)
    );
    assert_eq!(read(&db, network.worker, attempt).await.expires_at, late.plus_seconds(LEASE_SECONDS));
    // The time-out ends what heartbeats renew.
    assert_eq!((lapsed(3_599).await > 0, lapsed(3_600).await), (true, 1));
}

async fn the_third_failure_and_the_fifth_expiry_end_a_task(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    network.job(&db, 1, 100).await.unwrap();
    let mut now = NOW;
    for expected in [TaskStatus::Pending, TaskStatus::Pending, TaskStatus::Failed] {
        let attempt = take(&db, network, network.worker, now).await.unwrap();
        let ended = write!(db, |conn| async {
            let held = store::assignment(conn, network.worker, attempt).await?;
            fail(conn, &held, now).await
        });
        assert_eq!(ended.unwrap(), expected);
        now = now.plus_seconds(LEASE_SECONDS);
    }
    assert_eq!(take(&db, network, network.worker, now).await, None);

    network.job(&db, 1, 100).await.unwrap();
    for expiry in 1..=5 {
        let attempt = take(&db, network, network.worker, now).await.unwrap();
        let expected = if expiry == 5 { TaskStatus::Failed } else { TaskStatus::Pending };
        assert_eq!(expire(&db, network.worker, attempt).await, expected);
    }
    assert_eq!(take(&db, network, network.worker, now).await, None);
}

async fn who_failed_a_task_waits_for_others(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let other = another_worker(&db, network).await;
    let (_, tasks) = network.job(&db, 2, 100).await.unwrap();
    let attempt = take(&db, network, network.worker, NOW).await.unwrap();
    write!(db, |conn| async {
        let held = store::assignment(conn, network.worker, attempt).await?;
        fail(conn, &held, NOW).await
    })
    .unwrap();
    let next = take(&db, network, network.worker, NOW).await.unwrap();
    assert_eq!(read(&db, network.worker, next).await.task_id, tasks[1], "the failed one is passed over");
    assert_eq!(take(&db, network, network.worker, NOW.plus_seconds(LEASE_SECONDS - 1)).await, None);
    let again = take(&db, network, network.worker, NOW.plus_seconds(LEASE_SECONDS)).await.unwrap();
    assert_eq!(read(&db, network.worker, again).await.task_id, tasks[0], "nobody else took it for a lease");
    write!(db, |conn| async {
        let held = store::assignment(conn, network.worker, again).await?;
        fail(conn, &held, NOW).await
    })
    .unwrap();
    assert!(take(&db, network, other, NOW).await.is_some(), "another has it at once");
}

async fn a_deleted_worker_gives_back_what_it_holds(place: Place) {
    let db = place.open().await;
    let network = Network::with_credit(&db, 1_000).await;
    let other = another_worker(&db, network).await;
    network.job(&db, 2, 100).await.unwrap();
    for _ in 0..2 {
        take(&db, network, network.worker, NOW).await.unwrap();
    }
    assert_eq!(store::open_attempts(&mut db.read().await.unwrap(), network.worker).await.unwrap().len(), 2);
    write!(db, |conn| release_all(conn, network.worker, NOW)).unwrap();
    assert!(store::open_attempts(&mut db.read().await.unwrap(), network.worker).await.unwrap().is_empty());
    for _ in 0..2 {
        assert!(take(&db, network, other, NOW).await.is_some());
    }
}

async fn random_work_pays_every_completed_task_once(place: Place) {
    let db = place.open().await;
    let mut dice = Dice(3);
    let network = Network::with_credit(&db, 100_000).await;
    let workers = [network.worker, another_worker(&db, network).await, another_worker(&db, network).await];
    let mut attempts: Vec<(WorkerId, AttemptId)> = Vec::new();
    let mut now = NOW;
    for step in 0..200 {
        let at = usize::try_from(dice.below(attempts.len().max(1) as u64)).unwrap();
        let said = attempts.get(at).copied();
        let outcome = match (dice.below(8), said) {
            (0, _) => network.job(&db, 4, i64::try_from(dice.below(50)).unwrap()).await.map(|_| ()),
            (1..=3, _) | (_, None) => {
                let worker = workers[usize::try_from(dice.below(3)).unwrap()];
                attempts.extend(take(&db, network, worker, now).await.map(|attempt| (worker, attempt)));
                Ok(())
            }
            (4..=5, Some((worker, attempt))) => write!(db, |conn| async {
                let held = store::assignment(conn, worker, attempt).await?;
                complete(conn, &held, now).await.map(|_| ())
            }),
            (6, Some((worker, attempt))) => write!(db, |conn| async {
                let held = store::assignment(conn, worker, attempt).await?;
                fail(conn, &held, now).await.map(|_| ())
            }),
            (_, Some((worker, attempt))) => write!(db, |conn| async {
                let held = store::assignment(conn, worker, attempt).await?;
                store::move_task(conn, &held, TaskEvent::AttemptExpired, now).await.map(|_| ())
            }),
        };
        assert!(matches!(outcome, Ok(()) | Err(Error::LeaseLost)), "step {step}: {outcome:?}");
        assert_eq!(findings(&db).await, [], "after step {step}");
        now = now.plus_seconds(i64::try_from(dice.below(20)).unwrap());
    }
    let (completed, by_attempts, rewards): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM tasks WHERE status = 'completed'),
                (SELECT COUNT(*) FROM attempts WHERE status = 'completed'),
                (SELECT COUNT(DISTINCT task_id) FROM attempts WHERE status = 'completed')",
    )
    .fetch_one(&mut *db.read().await.unwrap())
    .await
    .unwrap();
    assert!(completed > 10, "the dice do some work: {completed}");
    assert_eq!((by_attempts, rewards), (completed, completed));
}
