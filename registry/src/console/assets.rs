//! Styles, script and icon: in the binary, named with a digest of what they hold, kept by browsers for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The style sheets, in the order in which they apply.
const STYLES: &[&str] = &[
    pictor_look::STYLE,
    include_str!("workers.css"),
    include_str!("chart.css"),
    include_str!("setup.css"),
    include_str!("monitor.css"),
    include_str!("account.css"),
    include_str!("history.css"),
    include_str!("jobs.css"),
    include_str!("notifications.css"),
    include_str!("admin.css"),
];
const SCRIPTS: &[&str] = &[pictor_look::SCRIPT, include_str!("jobs.js")];

static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::new("console", "css", STYLES.concat()));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| Asset::new("console", "js", SCRIPTS.concat()));
static ICON_ASSET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", pictor_look::ICON.to_owned()));

struct Asset {
    name: String,
    text: String,
}

impl Asset {
    fn new(stem: &str, extension: &str, text: String) -> Asset {
        let digest = hex::encode(&Sha256::digest(text.as_bytes())[..6]);
        Asset { name: format!("{stem}.{digest}.{extension}"), text }
    }

    fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

pub(super) fn style_path() -> String {
    STYLE.path()
}

pub(super) fn script_path() -> String {
    SCRIPT.path()
}

pub(super) fn icon_path() -> String {
    ICON_ASSET.path()
}

pub(super) async fn get(Path(name): Path<String>) -> Response {
    let types = [
        (&STYLE, "text/css; charset=utf-8"),
        (&SCRIPT, "text/javascript; charset=utf-8"),
        (&ICON_ASSET, "image/svg+xml"),
    ];
    let Some((asset, content_type)) = types.into_iter().find(|(asset, _)| asset.name == name) else {
        return Error::NotFound("file").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.text.as_str()).into_response()
}
