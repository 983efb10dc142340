//! Releases of the agent: a folder of files with a signed manifest, handed to anyone who asks.
//!
//! Agents that update themselves believe nothing here: the manifest's signature, and the hashes in it, say what is
//! genuine. New machines do: they run this folder's `install.sh` as root, which no signature is asked for, so whoever
//! controls the registry can run programs on them. docs/releases.md has the way that does not trust it.

use std::io;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::error::{Error, Path, Result};

/// Longer than any name that `scripts/release` makes.
const NAME_BYTES_MAX: usize = 128;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(manifest)).routes(routes!(signature)).routes(routes!(file))
}

/// Which version of the agent is released, and for each platform its file, size and SHA-256.
#[utoipa::path(
    get,
    path = "/v1/releases/agent/manifest.json",
    responses((status = 200, content_type = "application/json"), (status = 304), (status = 404))
)]
async fn manifest(State(app): State<App>, headers: HeaderMap) -> Result<Response> {
    serve(&app, "manifest.json", "application/json", &headers).await
}

/// The manifest's signature, by minisign.
#[utoipa::path(
    get,
    path = "/v1/releases/agent/manifest.json.minisig",
    responses((status = 200, content_type = "text/plain"), (status = 304), (status = 404))
)]
async fn signature(State(app): State<App>, headers: HeaderMap) -> Result<Response> {
    serve(&app, "manifest.json.minisig", "text/plain; charset=utf-8", &headers).await
}

/// A file that the manifest names; or, for new machines, `install.sh` and the Debian packages that it installs, each
/// with its SHA-256 (`.sha256`) and its signature by minisign (`.minisig`).
///
/// The signed manifest vouches for the files that it names, and a `.minisig` for its package, to whoever has the public
/// key from elsewhere. Nothing vouches for `install.sh` or a `.sha256`: whoever controls the registry can serve others, and
/// a new machine runs `install.sh` as root.
#[utoipa::path(
    get,
    path = "/v1/releases/agent/{file}",
    params(("file" = String, Path, description = "Letters, digits, '.', '_' and '-'; the first is no '.'")),
    responses((status = 200, content_type = "application/octet-stream"), (status = 304), (status = 404))
)]
async fn file(State(app): State<App>, Path(file): Path<String>, headers: HeaderMap) -> Result<Response> {
    serve(&app, &file, "application/octet-stream", &headers).await
}

/// A file of the folder, and of no other.
async fn serve(app: &App, name: &str, kind: &'static str, headers: &HeaderMap) -> Result<Response> {
    let missing = || Error::NotFound("release file");
    let folder = app.settings.releases.as_ref().filter(|_| is_plain(name)).ok_or_else(missing)?;
    let file = match File::open(folder.join(name)).await {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(missing()),
        opened => opened.map_err(anyhow::Error::from)?,
    };
    let metadata = file.metadata().await.map_err(anyhow::Error::from)?;
    if !metadata.is_file() {
        return Err(missing());
    }
    let changed = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let etag = format!("\"{:x}-{:x}\"", metadata.len(), changed.unwrap_or_default().as_nanos());
    let etag = HeaderValue::from_str(&etag).map_err(anyhow::Error::from)?;
    // A new release has the same names: ask each time, fetch what changed.
    let common =
        [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let own = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, HeaderValue::from(metadata.len())),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((common, own, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// Whether it is a name and no path, on any system.
fn is_plain(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && !name.is_empty() && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn only_names_are_served() {
        for name in ["manifest.json", "pictor-agent-0.2.0-x86_64-unknown-linux-gnu", "a"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "C:x", "a\0b", "ä", &"a".repeat(129)] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
