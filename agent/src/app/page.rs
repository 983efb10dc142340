//! What every page has: its frame, style, script and icon.

use askama::Template;
use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};

/// The console's look, and what only this app has.
const STYLES: &[&str] = &[include_str!("../../../registry/src/console/console.css"), include_str!("app.css")];
const SCRIPTS: &[&str] = &[include_str!("../../../registry/src/console/console.js"), include_str!("app.js")];
const ICON: &str = include_str!("../../../registry/src/console/icon.svg");

/// The tabs.
const TABS: [(&str, &str); 3] = [("/", "Rendering"), ("/mining", "Mining"), ("/settings", "Settings")];

/// The frame of one page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) title: &'static str,
    pub(super) worker_name: Option<String>,
    pub(super) tabs: Vec<Tab>,
    /// What the last form came to.
    pub(super) said: Option<Said>,
}

#[derive(Debug)]
pub(super) struct Tab {
    pub(super) path: &'static str,
    pub(super) label: &'static str,
    pub(super) is_current: bool,
}

#[derive(Debug)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) is_good: bool,
}

impl Page {
    /// Without tabs.
    pub(super) fn bare(title: &'static str) -> Page {
        Page { title, worker_name: None, tabs: Vec::new(), said: None }
    }

    /// One of the tabs.
    pub(super) fn tab(title: &'static str, worker_name: String) -> Page {
        let tabs = TABS.map(|(path, label)| Tab { path, label, is_current: label == title });
        Page { worker_name: Some(worker_name), tabs: tabs.into(), ..Page::bare(title) }
    }
}

/// A page as an answer.
pub(super) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be made");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be made, see the agent's log\n")
                .into_response()
        }
    }
}

/// Open to anybody who reaches the app: the page that refuses needs them too.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", STYLES.concat()),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPTS.concat()),
        "icon.svg" => ("image/svg+xml", ICON.to_owned()),
        _ => return (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    };
    // Another version of the agent may answer at the same address tomorrow.
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
