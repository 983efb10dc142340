//! The rows of test renders.

use pictor_protocol::{
    TestRender, TestRenderId, TestRenderReport, TestRenderSlot, TestRenderStatus, UnixMillis, WorkerId,
};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::error::Result;

/// One slot of which something may still come.
pub(super) struct OpenSlot {
    pub(super) id: TestRenderId,
    pub(super) slot: u32,
    pub(super) status: TestRenderStatus,
    pub(super) has_frame: bool,
}

/// Lets one caller at a time replace a worker's test render.
pub(super) async fn lock(conn: &mut AnyConnection, worker: WorkerId) -> Result<()> {
    sqlx::query("UPDATE workers SET updated_at = updated_at WHERE id = $1")
        .bind(worker.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn replace(conn: &mut AnyConnection, worker: WorkerId, new: &TestRender) -> Result<()> {
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

pub(super) async fn last(conn: &mut AnyConnection, worker: WorkerId) -> Result<Option<TestRender>> {
    let found: Option<(String, i64)> =
        sqlx::query_as("SELECT id, requested_at FROM test_renders WHERE worker_id = $1")
            .bind(worker.to_string())
            .fetch_optional(&mut *conn)
            .await?;
    let Some((id, requested_at)) = found else { return Ok(None) };
    let rows = sqlx::query(
        "SELECT slot, gpu_uuid, status, render_millis, device, peak_memory_bytes, error FROM test_render_slots
         WHERE worker_id = $1 ORDER BY slot",
    )
    .bind(worker.to_string())
    .fetch_all(conn)
    .await?;
    Ok(Some(TestRender {
        id: id.parse().map_err(anyhow::Error::from)?,
        requested_at: UnixMillis(requested_at),
        slots: rows.iter().map(slot).collect::<Result<_>>()?,
    }))
}

fn slot(row: &AnyRow) -> Result<TestRenderSlot> {
    let peak: Option<i64> = row.try_get("peak_memory_bytes")?;
    let millis: Option<i64> = row.try_get("render_millis")?;
    Ok(TestRenderSlot {
        slot: number(row)?,
        gpu_uuid: row.try_get("gpu_uuid")?,
        status: status(row)?,
        seconds: millis.map(|millis| UnixMillis(millis).seconds_since(UnixMillis(0))),
        device: row.try_get("device")?,
        peak_memory_bytes: peak.map(u64::try_from).transpose().map_err(anyhow::Error::from)?,
        error: row.try_get("error")?,
    })
}

fn number(row: &AnyRow) -> Result<u32> {
    Ok(u32::try_from(row.try_get::<i64, _>("slot")?).map_err(anyhow::Error::from)?)
}

fn status(row: &AnyRow) -> Result<TestRenderStatus> {
    Ok(row.try_get::<String, _>("status")?.parse().map_err(anyhow::Error::from)?)
}

/// The slots of a worker's last test render that have not ended, if it was asked for after `since`.
pub(super) async fn open_slots(
    conn: &mut AnyConnection,
    worker: WorkerId,
    since: UnixMillis,
) -> Result<Vec<OpenSlot>> {
    let rows = sqlx::query(
        "SELECT t.id, s.slot, s.status, s.has_frame
         FROM test_renders t JOIN test_render_slots s ON s.worker_id = t.worker_id
         WHERE t.worker_id = $1 AND t.requested_at > $2 AND s.status IN ('pending', 'running') ORDER BY s.slot",
    )
    .bind(worker.to_string())
    .bind(since.0)
    .fetch_all(conn)
    .await?;
    let open = |row: &AnyRow| {
        Ok(OpenSlot {
            id: row.try_get::<String, _>("id")?.parse().map_err(anyhow::Error::from)?,
            slot: number(row)?,
            status: status(row)?,
            has_frame: row.try_get::<i64, _>("has_frame")? == 1,
        })
    };
    rows.iter().map(open).collect()
}

pub(super) async fn report(
    conn: &mut AnyConnection,
    worker: WorkerId,
    slot: u32,
    report: &TestRenderReport,
) -> Result<()> {
    sqlx::query(
        "UPDATE test_render_slots
         SET status = $3, render_millis = $4, device = $5, peak_memory_bytes = $6, error = $7
         WHERE worker_id = $1 AND slot = $2",
    )
    .bind(worker.to_string())
    .bind(i64::from(slot))
    .bind(report.status.as_str())
    .bind(report.seconds.map(|seconds| (seconds * 1_000.0).round() as i64))
    .bind(report.device.clone())
    .bind(report.peak_memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    .bind(report.error.clone())
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn frame_came(conn: &mut AnyConnection, worker: WorkerId, slot: u32) -> Result<()> {
    sqlx::query("UPDATE test_render_slots SET has_frame = 1 WHERE worker_id = $1 AND slot = $2")
        .bind(worker.to_string())
        .bind(i64::from(slot))
        .execute(conn)
        .await?;
    Ok(())
}
