//! What every page has: its frame, and where its style, script and icon are.

use askama::Template;
use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use pictor_look::{Document, Said, Tab};

/// What the console has too, and what only this app has.
const STYLES: &[&str] = &[pictor_look::STYLE, include_str!("app.css")];
const SCRIPTS: &[&str] = &[pictor_look::SCRIPT, include_str!("app.js")];
const LOST: &str = "The agent does not answer: this page shows what was.";

/// The tabs.
const TABS: [(&str, &str); 3] = [("/", "Rendering"), ("/mining", "Mining"), ("/settings", "Settings")];

/// The frame of one page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) title: &'static str,
    pub(super) worker_name: Option<String>,
    pub(super) tabs: Vec<Tab>,
    pub(super) said: Option<Said>,
    /// Where its parts are sent again when they change.
    pub(super) live: Option<&'static str>,
}

impl Page {
    /// Without tabs.
    pub(super) fn bare(title: &'static str) -> Page {
        Page { title, worker_name: None, tabs: Vec::new(), said: None, live: None }
    }

    /// One of the tabs.
    pub(super) fn tab(title: &'static str, worker_name: String) -> Page {
        let tabs = TABS.map(|(path, label)| Tab { path, label, is_current: label == title });
        Page { worker_name: Some(worker_name), tabs: tabs.into(), ..Page::bare(title) }
    }

    /// With parts that are sent again, from this path, when they change.
    pub(super) fn live(self, path: &'static str) -> Page {
        Page { live: Some(path), ..self }
    }

    /// The whole page around its content, as an answer.
    pub(super) fn show(&self, content: &impl Template) -> Response {
        let named = self.worker_name.as_ref().map(|name| format!("{} · {name}", self.title));
        let document = Document {
            title: named.as_deref().unwrap_or(self.title),
            brand: self.worker_name.as_deref().unwrap_or("My Workers"),
            style: "/assets/app.css",
            script: "/assets/app.js",
            icon: "/assets/icon.svg",
            tabs: &self.tabs,
            who: None,
            said: self.said.as_ref(),
            live: self.live,
            lost: Some(LOST),
            content,
        };
        match document.render() {
            Ok(text) => Html(text).into_response(),
            Err(error) => {
                tracing::error!(%error, "a page cannot be made");
                (StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be made, see the agent's log\n")
                    .into_response()
            }
        }
    }
}

/// Open to anybody who reaches the app: the page that refuses needs them too.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", STYLES.concat()),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPTS.concat()),
        "icon.svg" => ("image/svg+xml", pictor_look::ICON.to_owned()),
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
