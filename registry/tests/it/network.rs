//! The rows that the store's tests begin from: a creator with credit, a provider, its worker, jobs.

use pictor_protocol::{AccountId, AttemptId, FeeRatio, JobId, Micros, TaskId, UnixMillis, WorkerId};
use pictor_registry::clock::Clock;
use pictor_registry::db::Db;
use pictor_registry::error::Error;
use pictor_registry::ledger::store::{self, Book, PaidTask};
use pictor_registry::ledger::{Finding, check_once};
use sqlx::AnyConnection;

pub(crate) const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

/// The rows that a ledger's transfers speak of.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) creator: AccountId,
    pub(crate) provider: AccountId,
    pub(crate) worker: WorkerId,
}

impl Network {
    pub(crate) async fn with_credit(db: &Db, credit: i64) -> Network {
        let clock = Clock::fixed(NOW);
        let network = Network {
            creator: clock.id(AccountId::from_parts),
            provider: clock.id(AccountId::from_parts),
            worker: clock.id(WorkerId::from_parts),
        };
        db.write(move |conn| {
            Box::pin(async move {
                insert_account(conn, network.creator, "creator").await?;
                insert_account(conn, network.provider, "provider").await?;
                insert_worker(conn, network.worker, network.provider).await?;
                if credit > 0 {
                    store::credit(conn, network.creator, "first", Micros(credit), NOW).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
        network
    }

    /// A job whose escrow is taken from the creator's balance, with `tasks` tasks of `cost`.
    pub(crate) async fn job(self, db: &Db, tasks: i64, cost: i64) -> Result<(JobId, Vec<TaskId>), Error> {
        let clock = Clock::fixed(NOW);
        let job = clock.id(JobId::from_parts);
        let ids: Vec<TaskId> = (0..tasks).map(|_| clock.id(TaskId::from_parts)).collect();
        let rows = ids.clone();
        db.write(move |conn| {
            let rows = rows.clone();
            Box::pin(async move {
                store::escrow_job(conn, self.creator, job, Micros(tasks * cost), NOW).await?;
                insert_job(conn, self.creator, job, tasks, cost).await?;
                for (frame, task) in (1..).zip(rows) {
                    insert_task(conn, job, task, frame).await?;
                }
                Ok(())
            })
        })
        .await?;
        Ok((job, ids))
    }

    pub(crate) fn paid(self, job_id: JobId, task_id: TaskId, cost: i64) -> PaidTask {
        PaidTask {
            task_id,
            job_id,
            attempt_id: Clock::fixed(NOW).id(AttemptId::from_parts),
            worker_id: self.worker,
            provider: self.provider,
            frames: 3,
            cost: Micros(cost),
            fee_ratio: FeeRatio::from_ppm(200_000).unwrap(),
            points: 2,
        }
    }
}

async fn insert_account(conn: &mut AnyConnection, id: AccountId, name: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO accounts (id, name, roles, created_at) VALUES ($1, $2, 'creator,provider', $3)")
        .bind(id.to_string())
        .bind(name.to_owned())
        .bind(NOW.0)
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn insert_worker(
    conn: &mut AnyConnection,
    worker: WorkerId,
    owner: AccountId,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO workers (id, account_id, name, name_key, created_at, updated_at) VALUES ($1, $2, $1, $1, $3, $3)",
    )
    .bind(worker.to_string())
    .bind(owner.to_string())
    .bind(NOW.0)
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_job(
    conn: &mut AnyConnection,
    creator: AccountId,
    job: JobId,
    tasks: i64,
    cost: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO jobs (id, account_id, name, status, first_frame, last_frame, frames_per_task, frame_cost_micros,
                           fee_ppm, task_timeout_seconds, scene_sha256, scene_bytes, created_at)
         VALUES ($1, $2, 'job', 'running', 1, $3, 1, $4, 200000, 3600, $6, 1, $5)",
    )
    .bind(job.to_string())
    .bind(creator.to_string())
    .bind(tasks)
    .bind(cost)
    .bind(NOW.0)
    .bind("0".repeat(64))
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_task(conn: &mut AnyConnection, job: JobId, task: TaskId, frame: i64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO tasks (id, job_id, first_frame, last_frame, status, pending_since)
         VALUES ($1, $2, $3, $3, 'pending', $4)",
    )
    .bind(task.to_string())
    .bind(job.to_string())
    .bind(frame)
    .bind(NOW.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// The attempt as its completion leaves it.
pub(crate) async fn insert_completed(
    conn: &mut AnyConnection,
    paid: &PaidTask,
    reward: Micros,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO attempts (id, task_id, job_id, worker_id, account_id, slot, ask_id, status, cost_micros,
                               reward_micros, leased_at, expires_at, deadline_at, ended_at)
         VALUES ($1, $2, $3, $4, $5, 0, $1, 'completed', $6, $7, $8, $8, $8, $8)",
    )
    .bind(paid.attempt_id.to_string())
    .bind(paid.task_id.to_string())
    .bind(paid.job_id.to_string())
    .bind(paid.worker_id.to_string())
    .bind(paid.provider.to_string())
    .bind(paid.cost.0)
    .bind(reward.0)
    .bind(NOW.0)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn held(db: &Db, book: Book) -> i64 {
    store::balance(&mut db.read().await.unwrap(), &book).await.unwrap().0
}

pub(crate) async fn findings(db: &Db) -> Vec<Finding> {
    check_once(&mut db.read().await.unwrap()).await.unwrap()
}

/// A generator of its own, so that a failure comes back with the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX constants; the high bits are the random ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
