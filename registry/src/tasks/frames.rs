//! What goes between a lease's holder and the registry while it renders: the scene, the frames, the log.

use std::io::Cursor;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{ImageFormat, ImageReader, Limits};
use pictor_protocol::{AttemptId, StoredFrame};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::store;
use crate::App;
use crate::auth::Agent;
use crate::error::{Error, Json, Path, Result};

/// The largest width and height of a frame.
pub const FRAME_SIDE_MAX: u32 = 16_384;
/// A small file can unpack to this much at most: 16,384 × 16,384 pixels of four bytes.
const DECODED_BYTES_MAX: u64 = 1 << 30;
const LOG_BYTES_MAX: usize = 256 * 1024;
/// How many frames are unpacked at once: each may need [`DECODED_BYTES_MAX`].
static DECODERS: Semaphore = Semaphore::const_new(2);

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
    let digest = content_digest(&headers)?;
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
    let bytes = received(body, app.settings.frame_bytes_max).await?;
    let (sha256, width, height) = checked(bytes.clone(), digest).await?;
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

/// `Content-Digest: sha-256=:BASE64:` (RFC 9530), beside which other algorithms may stand.
fn content_digest(headers: &HeaderMap) -> Result<[u8; 32]> {
    let refused =
        || Error::Invalid("send 'Content-Digest: sha-256=:BASE64:' with the frame's SHA-256".to_owned());
    let text = headers.get("content-digest").and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
    let encoded = text
        .split(',')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha-256"))
        .and_then(|(_, value)| value.strip_prefix(':')?.strip_suffix(':'))
        .ok_or_else(refused)?;
    BASE64.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(refused)
}

/// A PNG of at most `bytes_max` bytes that is what its `Content-Digest` says and decodes to its end.
pub async fn whole_png(headers: &HeaderMap, body: Body, bytes_max: u64) -> Result<Bytes> {
    let digest = content_digest(headers)?;
    let bytes = received(body, bytes_max).await?;
    checked(bytes.clone(), digest).await?;
    Ok(bytes)
}

async fn received(body: Body, bytes_max: u64) -> Result<Bytes> {
    let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let hint = http_body_size(&body);
    if hint > bytes_max {
        return Err(Error::TooLarge(format!("the frame is larger than {bytes_max} bytes")));
    }
    axum::body::to_bytes(body, limit).await.map_err(|cause| {
        let is_too_long = format!("{cause:?}").contains("LengthLimitError");
        if is_too_long {
            Error::TooLarge(format!("the frame is larger than {bytes_max} bytes"))
        } else {
            Error::Invalid(format!("the upload broke off: {cause}"))
        }
    })
}

/// At least how many bytes follow, as the request says itself.
fn http_body_size(body: &Body) -> u64 {
    axum::body::HttpBody::size_hint(body).lower()
}

/// The frame's SHA-256 and size in pixels, once it is what it was said to be and decodes to its end.
async fn checked(bytes: Bytes, digest: [u8; 32]) -> Result<(String, u32, u32)> {
    let _turn = DECODERS.acquire().await.map_err(anyhow::Error::from)?;
    let checking = tokio::task::spawn_blocking(move || {
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        if sha256 != digest {
            let detail = "the bytes received do not have the SHA-256 of Content-Digest: send the frame again";
            return Err(Error::unprocessable("digest_mismatch", detail));
        }
        let (width, height) = decoded_size(&bytes).map_err(|cause| {
            Error::unprocessable("not_a_png", format!("the frame is not a whole PNG: {cause}"))
        })?;
        Ok((hex::encode(sha256), width, height))
    });
    checking.await.map_err(anyhow::Error::from)?
}

fn decoded_size(bytes: &[u8]) -> image::ImageResult<(u32, u32)> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(FRAME_SIDE_MAX);
    limits.max_image_height = Some(FRAME_SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    reader.limits(limits);
    let picture = reader.decode()?;
    Ok((picture.width(), picture.height()))
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
    use super::{LOG_BYTES_MAX, content_digest, decoded_size, kept_log};
    use axum::http::HeaderMap;
    use image::{ImageFormat, RgbaImage};
    use sha2::{Digest, Sha256};
    use std::io::Cursor;

    #[test]
    fn the_digest_is_read_as_rfc_9530_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-digest", text.parse().unwrap());
            content_digest(&headers)
        };
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let expected: [u8; 32] = Sha256::digest(b"").into();
        assert_eq!(read(&format!("sha-256=:{empty}:")).unwrap(), expected);
        assert_eq!(read(&format!("md5=:AAAA:, SHA-256=:{empty}:")).unwrap(), expected);
        for refused in ["", "sha-256", "sha-256=:AAAA:", "sha-512=:AAAA:", empty] {
            assert!(read(refused).is_err(), "{refused}");
        }
        assert!(content_digest(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_picture_must_decode_to_its_end() {
        let mut png = Cursor::new(Vec::new());
        RgbaImage::from_fn(33, 17, |x, y| image::Rgba([x as u8, y as u8, 7, 255]))
            .write_to(&mut png, ImageFormat::Png)
            .unwrap();
        let png = png.into_inner();
        assert_eq!(decoded_size(&png).unwrap(), (33, 17));
        assert!(decoded_size(&png[..png.len() / 2]).is_err());
        assert!(decoded_size(b"").is_err());
    }

    #[test]
    fn a_log_keeps_its_end() {
        let log = format!("{}é the end", "é".repeat(LOG_BYTES_MAX));
        let kept = kept_log(log.as_bytes());
        assert!(kept.len() <= LOG_BYTES_MAX && kept.ends_with("é the end") && kept.starts_with('é'));
        assert_eq!(kept_log(b"a\0b"), "a\u{FFFD}b");
    }
}
