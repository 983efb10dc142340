//! What goes between a lease's holder and the registry while it renders: the scene, the frames, the log.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pictor_protocol::{AttemptId, StoredFrame};

use crate::App;
use crate::auth::Agent;
use crate::error::{Error, Json, Path, Result};
use crate::png;
use crate::tasks::store;

const LOG_BYTES_MAX: usize = 256 * 1024;

#[utoipa::path(get, path = "/v1/agent/leases/{id}/scene", params(("id" = AttemptId, Path)), responses((status = 200, content_type = "application/octet-stream")))]
pub(super) async fn scene(
    State(app): State<App>,
    agent: Agent,
    Path(id): Path<AttemptId>,
) -> Result<Response> {
    let held = store::assignment(&mut *app.db.read().await?, agent.worker_id, id).await?;
    if !held.is_held() {
        return Err(Error::LeaseLost);
    }
    let stored = app.blobs.get(&format!("scenes/{}", held.scene_sha256)).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(stored.size_bytes)),
    ];
    Ok((headers, Body::from_stream(stored.bytes)).into_response())
}

#[utoipa::path(put, path = "/v1/agent/leases/{id}/frames/{n}", params(("id" = AttemptId, Path), ("n" = i32, Path)), responses((status = 200, body = StoredFrame)))]
pub(super) async fn put(
    State(app): State<App>,
    agent: Agent,
    Path((id, frame)): Path<(AttemptId, i32)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<StoredFrame>> {
    let digest = png::content_digest(&headers)?;
    let held = store::assignment(&mut *app.db.read().await?, agent.worker_id, id).await?;
    if !held.is_held() {
        return Err(Error::LeaseLost);
    }
    if !held.frames.contains(frame) {
        return Err(Error::unprocessable(
            "frame_outside",
            format!("frame {frame} is not one of this lease's frames {}", held.frames),
        ));
    }
    let bytes = png::received(body, app.settings.frame_bytes_max).await?;
    let (sha256, width, height) = png::checked(bytes.clone(), digest).await?;
    if let (Some(wanted_width), Some(wanted_height)) = (held.width, held.height)
        && (wanted_width, wanted_height) != (width, height)
    {
        return Err(Error::unprocessable(
            "wrong_size",
            format!(
                "frame {frame} has {width}×{height} pixels; the job asks for {wanted_width}×{wanted_height}"
            ),
        ));
    }
    let stored = StoredFrame { frame, sha256, size_bytes: bytes.len() as u64, width, height };
    let path = format!("frames/{}", stored.sha256);
    if !app.blobs.exists(&path).await? {
        app.blobs.put(&path, bytes).await?;
    }
    let (now, lease_seconds, row) = (app.clock.now(), i64::from(app.settings.lease_seconds), stored.clone());
    app.db
        .write(move |conn| {
            let row = row.clone();
            Box::pin(async move {
                let held = store::assignment(conn, agent.worker_id, id).await?;
                store::hold(conn, &held, lease_seconds, None, now).await?;
                store::add_frame(conn, id, &row, now).await
            })
        })
        .await?;
    Ok(Json(stored))
}

#[utoipa::path(post, path = "/v1/agent/leases/{id}/log", params(("id" = AttemptId, Path)), request_body(content = String, content_type = "text/plain"), responses((status = 204)))]
pub(super) async fn log(
    State(app): State<App>,
    agent: Agent,
    Path(id): Path<AttemptId>,
    body: Bytes,
) -> Result<StatusCode> {
    let log = kept_log(&body);
    app.db
        .write(move |conn| {
            let log = log.clone();
            Box::pin(async move { store::keep_log(conn, agent.worker_id, id, &log).await })
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The end of a log, where errors stand; NUL is nothing that PostgreSQL keeps in a text.
fn kept_log(body: &[u8]) -> String {
    let from = body.len().saturating_sub(LOG_BYTES_MAX);
    let from = (from..body.len()).find(|at| body[*at] & 0xC0 != 0x80).unwrap_or(body.len());
    String::from_utf8_lossy(&body[from..]).replace('\0', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::{LOG_BYTES_MAX, kept_log};

    #[test]
    fn a_log_keeps_its_end() {
        let log = format!("{}é the end", "é".repeat(LOG_BYTES_MAX));
        let kept = kept_log(log.as_bytes());
        assert!(kept.len() <= LOG_BYTES_MAX && kept.ends_with("é the end") && kept.starts_with('é'));
        assert_eq!(kept_log(b"a\0b"), "a\u{FFFD}b");
    }
}
