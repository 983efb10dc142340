//! The rows of workers, and of what is written behind from their presence.

use std::collections::HashMap;

use pictor_protocol::{
    AccountId, AttemptId, DesiredState, JobId, JobStatus, SlotDesired, TaskId, UnixMillis, WorkerId,
    WorkerName,
};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::seen::Seen;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::ledger::store::add_points;
use crate::row::{json, narrow, parsed};
use crate::sql::sql;
use crate::tasks::sets::{OPEN_ATTEMPTS, OPEN_TASKS};

const HOUR_MILLIS: i64 = 3_600_000;

/// What the database alone knows of a worker.
#[derive(Debug, Clone)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub account_id: AccountId,
    pub name: WorkerName,
    pub tags: Vec<String>,
    pub desired: DesiredState,
    /// What is wanted of single slots besides; those that are active are left out.
    pub slots: Vec<SlotDesired>,
    pub created_at: UnixMillis,
    pub updated_at: UnixMillis,
    pub account_name: String,
    /// Where the payouts of its account go.
    pub wallet_address: Option<String>,
}

impl WorkerRow {
    /// What is wanted of a slot: the stricter of what is wanted of the worker and of the slot itself.
    pub fn slot_desired(&self, slot: u32) -> DesiredState {
        self.desired.stricter(self.own_desired(slot))
    }

    /// What is wanted of a slot itself.
    pub fn own_desired(&self, slot: u32) -> DesiredState {
        let wanted = self.slots.iter().find(|wanted| wanted.slot == slot);
        wanted.map_or(DesiredState::Active, |wanted| wanted.desired)
    }

    pub fn want_of_slot(&mut self, wanted: SlotDesired) {
        self.slots.retain(|other| other.slot != wanted.slot);
        if wanted.desired != DesiredState::Active {
            self.slots.push(wanted);
        }
    }
}

/// A lease that stands, as the views of workers name it.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub slot: u32,
    pub attempt_id: AttemptId,
    pub job_id: JobId,
    pub job_status: JobStatus,
    pub task_id: TaskId,
}

fn name_taken(name: &WorkerName) -> Error {
    Error::conflict("name_taken", format!("another of your workers is named '{name}' already"))
}

/// What must be free: names that differ by case alone are one to people.
fn name_key(name: &WorkerName) -> String {
    name.as_str().to_lowercase()
}

pub async fn create(
    conn: &mut AnyConnection,
    id: WorkerId,
    account_id: AccountId,
    name: &WorkerName,
    now: UnixMillis,
) -> Result<()> {
    let made = sqlx::query(
        "INSERT INTO workers (id, account_id, name, name_key, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(account_id.to_string())
    .bind(name.to_string())
    .bind(name_key(name))
    .bind(now.0)
    .execute(conn)
    .await?
    .rows_affected();
    if made == 0 { Err(name_taken(name)) } else { Ok(()) }
}

/// The workers that are not archived, of one account or of all; of these ids alone, where there are any.
pub async fn list(
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    ids: Option<&[WorkerId]>,
) -> Result<Vec<WorkerRow>> {
    let mut filter = meant(("w.account_id = $?", "w.id"), owner, ids);
    let select =
        "SELECT w.id, w.account_id, w.name, w.tags, w.desired, w.slots_desired, w.created_at, w.updated_at,
            a.wallet_address, a.name AS account_name FROM workers w JOIN accounts a ON a.id = w.account_id";
    Ok(filter.fixed("w.archived_at IS NULL").query(select, "").fetch_all(conn).await?)
}

/// One worker that is not archived; `NotFound` also when it is another account's.
pub async fn get(conn: &mut AnyConnection, id: WorkerId, owner: Option<AccountId>) -> Result<WorkerRow> {
    list(conn, owner, Some(&[id])).await?.pop().ok_or(Error::NotFound("worker"))
}

fn meant(
    (account, id): (&'static str, &'static str),
    owner: Option<AccountId>,
    ids: Option<&[WorkerId]>,
) -> Filter {
    let mut filter = Filter::default();
    if let Some(owner) = owner {
        filter.text(account, owner);
    }
    if let Some(ids) = ids {
        filter.one_of(id, ids);
    }
    filter
}

impl FromRow<'_, AnyRow> for WorkerRow {
    fn from_row(row: &AnyRow) -> std::result::Result<WorkerRow, sqlx::Error> {
        Ok(WorkerRow {
            id: parsed(row, "id")?,
            account_id: parsed(row, "account_id")?,
            name: parsed(row, "name")?,
            tags: json(row, "tags")?,
            desired: parsed(row, "desired")?,
            slots: json(row, "slots_desired")?,
            created_at: UnixMillis(row.try_get("created_at")?),
            updated_at: UnixMillis(row.try_get("updated_at")?),
            account_name: row.try_get("account_name")?,
            wallet_address: row.try_get("wallet_address")?,
        })
    }
}

/// Writes name, tags, desired states and `updated_at` of a worker that was read in this transaction.
pub async fn update(conn: &mut AnyConnection, worker: &WorkerRow) -> Result<()> {
    let tags = serde_json::to_string(&worker.tags).map_err(anyhow::Error::from)?;
    let slots = serde_json::to_string(&worker.slots).map_err(anyhow::Error::from)?;
    let changed = sqlx::query(
        "UPDATE workers SET name = $2, name_key = $3, tags = $4, desired = $5, updated_at = $6,
                slots_desired = $7
         WHERE id = $1 AND archived_at IS NULL AND NOT EXISTS (
             SELECT 1 FROM workers other WHERE other.account_id = workers.account_id
             AND other.name_key = $3 AND other.archived_at IS NULL AND other.id <> $1)",
    )
    .bind(worker.id.to_string())
    .bind(worker.name.to_string())
    .bind(name_key(&worker.name))
    .bind(tags)
    .bind(worker.desired.as_str())
    .bind(worker.updated_at.0)
    .bind(slots)
    .execute(conn)
    .await?
    .rows_affected();
    if changed == 0 { Err(name_taken(&worker.name)) } else { Ok(()) }
}

/// Archived workers keep their row: earnings and history stay in every sum under the last name.
pub async fn archive(conn: &mut AnyConnection, id: WorkerId, now: UnixMillis) -> Result<()> {
    let archived = sqlx::query("UPDATE workers SET archived_at = $2 WHERE id = $1 AND archived_at IS NULL")
        .bind(id.to_string())
        .bind(now.0)
        .execute(conn)
        .await?
        .rows_affected();
    if archived == 0 { Err(Error::NotFound("worker")) } else { Ok(()) }
}

struct HeldRow {
    worker_id: WorkerId,
    held: Held,
}

impl FromRow<'_, AnyRow> for HeldRow {
    fn from_row(row: &AnyRow) -> std::result::Result<HeldRow, sqlx::Error> {
        let held = Held {
            slot: narrow(row, "slot")?,
            attempt_id: parsed(row, "id")?,
            job_id: parsed(row, "job_id")?,
            job_status: parsed(row, "job_status")?,
            task_id: parsed(row, "task_id")?,
        };
        Ok(HeldRow { worker_id: parsed(row, "worker_id")?, held })
    }
}

/// The leases that stand, by worker: of one account's workers or of all; of these ids alone, where there are any.
pub async fn held(
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    ids: Option<&[WorkerId]>,
) -> Result<HashMap<WorkerId, Vec<Held>>> {
    // Kept from the account's index, which leads through all of its history: few leases stand.
    let mut filter = meant(("COALESCE(a.account_id, '') = $?", "a.worker_id"), owner, ids);
    filter.fixed(sql!("a.status IN ", OPEN_ATTEMPTS)).fixed(sql!("t.status IN ", OPEN_TASKS));
    let select =
        "SELECT a.worker_id, a.slot, a.id, a.job_id, j.status AS job_status, a.task_id FROM attempts a
         JOIN tasks t ON t.id = a.task_id AND t.attempt = a.id JOIN jobs j ON j.id = a.job_id";
    let rows: Vec<HeldRow> = filter.query(select, "ORDER BY a.slot, a.id").fetch_all(conn).await?;
    let mut by_worker: HashMap<WorkerId, Vec<Held>> = HashMap::new();
    for HeldRow { worker_id, held } in rows {
        by_worker.entry(worker_id).or_default().push(held);
    }
    Ok(by_worker)
}

/// What was known of every worker that has been heard from, when the registry last stopped.
pub async fn seen(conn: &mut AnyConnection) -> Result<Vec<(WorkerId, Seen)>> {
    let rows = sqlx::query(
        "SELECT id, account_id, last_heartbeat_at, online_since, stopped_at, online_millis, ip, report
         FROM workers WHERE archived_at IS NULL AND last_heartbeat_at IS NOT NULL AND report IS NOT NULL",
    )
    .fetch_all(conn)
    .await?;
    let mut seen = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: WorkerId = parsed(row, "id")?;
        match serde_json::from_str(&row.try_get::<String, _>("report")?) {
            Ok(report) => seen.push((id, Seen::stored(row, report)?)),
            // Another version wrote it; the worker's next heartbeat replaces it.
            Err(cause) => tracing::warn!(worker = %id, error = %cause, "its last report cannot be read"),
        }
    }
    Ok(seen)
}

/// Writes one worker's presence, and the points of each full hour that this write completes.
/// A later heartbeat that is there already stays.
pub async fn write_seen(
    conn: &mut AnyConnection,
    worker_id: WorkerId,
    seen: &Seen,
    points_per_hour: i64,
    now: UnixMillis,
) -> Result<()> {
    let report = serde_json::to_string(&*seen.report).map_err(anyhow::Error::from)?;
    let written = sqlx::query(
        "UPDATE workers SET last_heartbeat_at = $2, online_since = $3, stopped_at = $4,
             online_millis = CASE WHEN online_millis > $5 THEN online_millis ELSE $5 END,
             machine_id = $6, ip = $7, report = $8,
             updated_at = CASE WHEN updated_at > $9 THEN updated_at ELSE $9 END
         WHERE id = $1 AND archived_at IS NULL AND (last_heartbeat_at IS NULL OR last_heartbeat_at <= $2)",
    )
    .bind(worker_id.to_string())
    .bind(seen.last_heartbeat_at.0)
    .bind(seen.online_since.0)
    .bind(seen.stopped_at.map(|at| at.0))
    .bind(seen.online_millis)
    .bind(seen.report.machine_id.clone())
    .bind(seen.ip.map(|ip| ip.to_string()))
    .bind(report)
    .bind(seen.changed_at.0)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if written == 0 {
        return Ok(());
    }
    for hour in seen.written_online_millis / HOUR_MILLIS + 1..=seen.online_millis / HOUR_MILLIS {
        let key = format!("online:{worker_id}:{hour}");
        add_points(conn, &key, seen.account_id, worker_id, points_per_hour, now).await?;
    }
    Ok(())
}
