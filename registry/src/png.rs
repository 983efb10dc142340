//! PNGs as they come in: bounded, what their `Content-Digest` says, and decoded to their end.

use std::io::Cursor;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{ImageFormat, ImageReader, Limits};
use pictor_protocol::Sha256;
use sha2::Digest;
use tokio::sync::Semaphore;

use crate::error::{Error, Result};

/// The largest width and height of a frame.
pub const SIDE_MAX: u32 = 16_384;
/// A small file can unpack to this much at most: 16,384 × 16,384 pixels of four bytes.
const DECODED_BYTES_MAX: u64 = 1 << 30;
/// How many frames are unpacked at once: each may need [`DECODED_BYTES_MAX`].
static DECODERS: Semaphore = Semaphore::const_new(2);

/// `Content-Digest: sha-256=:BASE64:` (RFC 9530), beside which other algorithms may stand.
pub fn content_digest(headers: &HeaderMap) -> Result<Sha256> {
    let refused =
        || Error::Invalid("send 'Content-Digest: sha-256=:BASE64:' with the frame's SHA-256".to_owned());
    let text = headers.get("content-digest").and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
    let encoded = text
        .split(',')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha-256"))
        .and_then(|(_, value)| value.strip_prefix(':')?.strip_suffix(':'))
        .ok_or_else(refused)?;
    let bytes: Option<[u8; 32]> = BASE64.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Sha256::from).ok_or_else(refused)
}

/// A PNG of at most `bytes_max` bytes that is what its `Content-Digest` says and decodes to its end.
pub async fn whole_png(headers: &HeaderMap, body: Body, bytes_max: u64) -> Result<Bytes> {
    let digest = content_digest(headers)?;
    let bytes = received(body, bytes_max).await?;
    checked(bytes.clone(), digest).await?;
    Ok(bytes)
}

pub async fn received(body: Body, bytes_max: u64) -> Result<Bytes> {
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
pub async fn checked(bytes: Bytes, digest: Sha256) -> Result<(Sha256, u32, u32)> {
    let _turn = DECODERS.acquire().await.map_err(anyhow::Error::from)?;
    let checking = tokio::task::spawn_blocking(move || {
        if Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(&bytes))) != digest {
            let detail = "the bytes received do not have the SHA-256 of Content-Digest: send the frame again";
            return Err(Error::unprocessable("digest_mismatch", detail));
        }
        let (width, height) = decoded_size(&bytes).map_err(|cause| {
            Error::unprocessable("not_a_png", format!("the frame is not a whole PNG: {cause}"))
        })?;
        Ok((digest, width, height))
    });
    checking.await.map_err(anyhow::Error::from)?
}

fn decoded_size(bytes: &[u8]) -> image::ImageResult<(u32, u32)> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    reader.limits(limits);
    let picture = reader.decode()?;
    Ok((picture.width(), picture.height()))
}

#[cfg(test)]
mod tests {
    use super::{content_digest, decoded_size};
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
        let expected = pictor_protocol::Sha256::from(<[u8; 32]>::from(Sha256::digest(b"")));
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
}
