//! Live updates: parts of a page, sent again when they have changed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;

use super::Visitor;
use crate::App;
use crate::auth::find_session;
use crate::error::Result;

/// A page shows a heartbeat within two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many looks pass between two checks that the visitor is still signed in.
const CHECK_EVERY: u32 = 10;

/// The parts of a page by the ids of their elements, each as HTML.
pub type Parts = Vec<(String, String)>;

struct Watch<F> {
    app: App,
    visitor: Visitor,
    render: F,
    sent: HashMap<String, String>,
    looks: u32,
}

/// Asks `render` for the page's parts once a second, and sends those that changed as one JSON object.
/// Ends when the visitor signs out, or the parts can no longer be had.
pub fn live<F, Fut>(
    app: App,
    visitor: Visitor,
    render: F,
) -> Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>
where
    F: Fn(App, Visitor) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Parts>> + Send + 'static,
{
    let watch = Watch { app, visitor, render, sent: HashMap::new(), looks: 0 };
    Sse::new(unfold(watch, next)).keep_alive(KeepAlive::default())
}

async fn next<F, Fut>(mut watch: Watch<F>) -> Option<(std::result::Result<Event, Infallible>, Watch<F>)>
where
    F: Fn(App, Visitor) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Parts>> + Send + 'static,
{
    loop {
        if watch.looks > 0 {
            tokio::select! {
                () = watch.app.shutdown.cancelled() => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        watch.looks += 1;
        if watch.looks.is_multiple_of(CHECK_EVERY) {
            watch.visitor.session = find_session(&watch.app, watch.visitor.cookie()).await.ok()?;
        }
        let parts = (watch.render)(watch.app.clone(), watch.visitor.clone()).await.ok()?;
        let mut changed = HashMap::new();
        for (id, html) in parts {
            if watch.sent.get(&id) != Some(&html) {
                watch.sent.insert(id.clone(), html.clone());
                changed.insert(id, html);
            }
        }
        if !changed.is_empty() {
            let event = Event::default().json_data(changed).ok()?;
            return Some((Ok(event), watch));
        }
    }
}
