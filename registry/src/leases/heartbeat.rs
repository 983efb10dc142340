//! The heartbeat: what an agent says every few seconds, and what it is told.

use std::sync::Arc;

use axum::extract::State;
use pictor_protocol::{HeartbeatRequest, HeartbeatResponse};

use super::renew::renew;
use crate::App;
use crate::auth::Agent;
use crate::error::{Error, Json, Result};
use crate::figures::electricity;
use crate::ledger;
use crate::peer::PeerIp;
use crate::workers::store::{self, WorkerRow};
use crate::workers::{Beat, Facts, may_work, test_render, write_one};

const TEXT_CHARS_MAX: usize = 1_000;
const LIST_ITEMS_MAX: usize = 1_024;
/// Findings of a machine, and reasons of a slot: an agent has one for each of its checks.
const FINDINGS_MAX: usize = 32;
/// What is wrong with a machine of many GPUs, said for each of them.
const FINDINGS_BYTES_MAX: usize = 256 << 10;

/// What the worker is and does; the answer is what is held, wanted and earned.
#[utoipa::path(
    post,
    path = "/v1/agent/heartbeat",
    request_body = HeartbeatRequest,
    responses((status = 200, body = HeartbeatResponse), (status = 409, description = "Another machine uses the worker"))
)]
pub(super) async fn heartbeat(
    State(app): State<App>,
    agent: Agent,
    PeerIp(ip): PeerIp,
    Json(report): Json<HeartbeatRequest>,
) -> Result<Json<HeartbeatResponse>> {
    check(&report)?;
    let now = app.clock.now();
    let (row, earned, test_render) = {
        let mut conn = app.db.read().await?;
        let row = store::get(&mut conn, agent.worker_id, None).await?;
        let earned = ledger::store::earned(&mut conn, agent.worker_id, &app.settings.currency).await?;
        (row, earned, test_render::wanted(&mut conn, agent.worker_id, now).await?)
    };
    let beat = Beat {
        worker_id: agent.worker_id,
        account_id: agent.account_id,
        ip,
        able: is_able(&row, &report),
        report: Arc::new(report),
        now,
        offline_after_seconds: app.settings.offline_after_seconds(),
    };
    if app.presence.record(&beat)? {
        write_one(&app, agent.worker_id).await?;
    }
    Ok(Json(HeartbeatResponse {
        worker_name: row.name,
        wallet_address: row.wallet_address,
        desired: row.desired,
        slots: row.slots,
        leases: renew(&app, agent.worker_id, &beat.report.attempts, beat.now).await?,
        heartbeat_seconds: app.settings.heartbeat_seconds,
        lease_seconds: app.settings.lease_seconds,
        relay_interval_seconds: None,
        earned,
        test_render,
    }))
}

/// Whether it, or at least one of its slots, may work. That a test render goes on there does not count against it.
fn is_able(row: &WorkerRow, report: &HeartbeatRequest) -> bool {
    let may = |desired| {
        let facts = Facts { accepts_tasks: report.accepts_tasks, desired, renders_test: false };
        may_work(facts).is_ok()
    };
    may(row.desired)
        && (report.slots.is_empty() || report.slots.iter().any(|slot| may(row.slot_desired(slot.slot))))
}

/// A report is kept in memory for every worker, so it has bounds.
fn check(report: &HeartbeatRequest) -> Result<()> {
    let texts = [
        ("machine_id", &report.machine_id),
        ("boot_id", &report.boot_id),
        ("hostname", &report.hostname),
        ("agent_version", &report.agent_version),
        ("os", &report.os),
        ("metrics_listen", &report.metrics_listen),
    ];
    if let Some((field, _)) = texts.iter().find(|(_, text)| text.len() > TEXT_CHARS_MAX) {
        return Err(Error::Invalid(format!("{field} is longer than {TEXT_CHARS_MAX} bytes")));
    }
    if report.electricity.as_ref().is_some_and(|told| !electricity::is_sound(told)) {
        return Err(Error::Invalid(
            "electricity: a currency of three capital letters, a cost that is not negative and a rate above 0".to_owned(),
        ));
    }
    let reasons = report.slots.iter().map(|slot| slot.reasons.len()).max().unwrap_or(0);
    let lists = [
        ("blender", report.blender.len(), LIST_ITEMS_MAX),
        ("gpus", report.gpus.len(), LIST_ITEMS_MAX),
        ("slots", report.slots.len(), LIST_ITEMS_MAX),
        ("attempts", report.attempts.len(), LIST_ITEMS_MAX),
        ("health", report.health.len(), FINDINGS_MAX),
        ("reasons", reasons, FINDINGS_MAX),
    ];
    if let Some((field, _, most)) = lists.iter().find(|(_, length, most)| length > most) {
        return Err(Error::Invalid(format!("{field} has more than {most} entries")));
    }
    let findings =
        report.health.iter().map(|finding| finding.check.len() + finding.found.len() + finding.advice.len());
    let reasons = report.slots.iter().flat_map(|slot| &slot.reasons);
    let reasons = reasons.map(|reason| reason.detail.as_ref().map_or(0, String::len));
    if findings.chain(reasons).sum::<usize>() > FINDINGS_BYTES_MAX {
        return Err(Error::Invalid(format!("health and reasons are longer than {FINDINGS_BYTES_MAX} bytes")));
    }
    Ok(())
}
