//! The rows of test renders. Their status is written here and nowhere else.

use pictor_protocol::{
    TestRender, TestRenderId, TestRenderReport, TestRenderSlot, TestRenderStatus, UnixMillis, WorkerId,
};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::state::{Refused, TestRenderEvent, apply};
use crate::error::{Error, Result};
use crate::row::{Parsed, narrow, narrow_option, parsed};
use crate::sql::{set, sql};

/// Of which something may still come.
const OPEN: &str = set!(TestRenderStatus, is_open);

const fn is_open(status: TestRenderStatus) -> bool {
    !status.has_ended()
}

/// One slot of which something may still come.
#[derive(Debug, Clone)]
pub struct OpenSlot {
    pub id: TestRenderId,
    pub slot: u32,
    pub status: TestRenderStatus,
    pub has_frame: bool,
}

/// Lets one caller at a time replace a worker's test render.
pub(super) async fn lock(conn: &mut AnyConnection, worker: WorkerId) -> Result<()> {
    sqlx::query("UPDATE workers SET updated_at = updated_at WHERE id = $1")
        .bind(worker.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// The worker's only test render from now on.
pub async fn replace(conn: &mut AnyConnection, worker: WorkerId, new: &TestRender) -> Result<()> {
    for table in [
        "DELETE FROM test_render_slots WHERE worker_id = $1",
        "DELETE FROM test_renders WHERE worker_id = $1",
    ] {
        sqlx::query(table).bind(worker.to_string()).execute(&mut *conn).await?;
    }
    sqlx::query("INSERT INTO test_renders (worker_id, id, requested_at) VALUES ($1, $2, $3)")
        .bind(worker.to_string())
        .bind(new.id.to_string())
        .bind(new.requested_at.0)
        .execute(&mut *conn)
        .await?;
    for slot in &new.slots {
        sqlx::query(
            "INSERT INTO test_render_slots (worker_id, slot, gpu_uuid, status, has_frame) VALUES ($1, $2, $3, $4, 0)",
        )
        .bind(worker.to_string())
        .bind(i64::from(slot.slot))
        .bind(slot.gpu_uuid.clone())
        .bind(slot.status.as_str())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

pub async fn last(conn: &mut AnyConnection, worker: WorkerId) -> Result<Option<TestRender>> {
    let found: Option<(Parsed<_>, i64)> =
        sqlx::query_as("SELECT id, requested_at FROM test_renders WHERE worker_id = $1")
            .bind(worker.to_string())
            .fetch_optional(&mut *conn)
            .await?;
    let Some((Parsed(id), requested_at)) = found else { return Ok(None) };
    let rows = sqlx::query(
        "SELECT slot, gpu_uuid, status, render_millis, device, peak_memory_bytes, error FROM test_render_slots
         WHERE worker_id = $1 ORDER BY slot",
    )
    .bind(worker.to_string())
    .fetch_all(conn)
    .await?;
    Ok(Some(TestRender {
        id,
        requested_at: UnixMillis(requested_at),
        slots: rows.iter().map(slot).collect::<Result<_>>()?,
    }))
}

fn slot(row: &AnyRow) -> Result<TestRenderSlot> {
    let millis: Option<i64> = row.try_get("render_millis")?;
    Ok(TestRenderSlot {
        slot: narrow(row, "slot")?,
        gpu_uuid: row.try_get("gpu_uuid")?,
        status: parsed(row, "status")?,
        seconds: millis.map(|millis| UnixMillis(millis).seconds_since(UnixMillis(0))),
        device: row.try_get("device")?,
        peak_memory_bytes: narrow_option(row, "peak_memory_bytes")?,
        error: row.try_get("error")?,
    })
}

/// The slots of a worker's last test render that have not ended, if it was asked for after `since`.
pub async fn open_slots(
    conn: &mut AnyConnection,
    worker: WorkerId,
    since: UnixMillis,
) -> Result<Vec<OpenSlot>> {
    let rows = sqlx::query(sql!(
        "SELECT t.id, s.slot, s.status, s.has_frame
         FROM test_renders t JOIN test_render_slots s ON s.worker_id = t.worker_id
         WHERE t.worker_id = $1 AND t.requested_at > $2 AND s.status IN ",
        OPEN,
        " ORDER BY s.slot"
    ))
    .bind(worker.to_string())
    .bind(since.0)
    .fetch_all(conn)
    .await?;
    let open = |row: &AnyRow| {
        Ok(OpenSlot {
            id: parsed(row, "id")?,
            slot: narrow(row, "slot")?,
            status: parsed(row, "status")?,
            has_frame: row.try_get::<i64, _>("has_frame")? == 1,
        })
    };
    rows.iter().map(open).collect()
}

/// Writes what an agent said of a slot that stands as it was read; 409 `test_render_ended` when it no longer does.
pub async fn report(
    conn: &mut AnyConnection,
    worker: WorkerId,
    open: &OpenSlot,
    event: TestRenderEvent,
    report: &TestRenderReport,
) -> Result<()> {
    let to = apply(open.status, event).map_err(|Refused| ended())?;
    let moved = sqlx::query(
        "UPDATE test_render_slots
         SET status = $5, render_millis = $6, device = $7, peak_memory_bytes = $8, error = $9
         WHERE worker_id = $1 AND slot = $2 AND status = $4
           AND EXISTS (SELECT 1 FROM test_renders t WHERE t.worker_id = $1 AND t.id = $3)",
    )
    .bind(worker.to_string())
    .bind(i64::from(open.slot))
    .bind(open.id.to_string())
    .bind(open.status.as_str())
    .bind(to.as_str())
    .bind(report.seconds.map(|seconds| (seconds * 1_000.0).round() as i64))
    .bind(report.device.clone())
    .bind(report.peak_memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    .bind(report.error.clone())
    .execute(conn)
    .await?
    .rows_affected();
    if moved == 0 { Err(ended()) } else { Ok(()) }
}

/// Its frame is there; refused as [`report`] is.
pub(super) async fn frame_came(conn: &mut AnyConnection, worker: WorkerId, open: &OpenSlot) -> Result<()> {
    let came = sqlx::query(
        "UPDATE test_render_slots SET has_frame = 1
         WHERE worker_id = $1 AND slot = $2 AND status = $4
           AND EXISTS (SELECT 1 FROM test_renders t WHERE t.worker_id = $1 AND t.id = $3)",
    )
    .bind(worker.to_string())
    .bind(i64::from(open.slot))
    .bind(open.id.to_string())
    .bind(open.status.as_str())
    .execute(conn)
    .await?
    .rows_affected();
    if came == 0 { Err(ended()) } else { Ok(()) }
}

/// The refusal of what comes after the end.
pub(super) fn ended() -> Error {
    Error::conflict("test_render_ended", "this slot's test render has ended already")
}
