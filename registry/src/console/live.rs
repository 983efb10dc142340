//! Live updates of the console's pages, as long as the visitor is signed in.

use std::future::Future;
use std::time::Duration;

use axum::response::Response;
use pictor_look::live::{Parts, Seen, Watch, stream};

use super::Visitor;
use crate::App;
use crate::auth::find_session;
use crate::error::Result;

/// A page shows a heartbeat within two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many looks pass between two checks that the visitor is still signed in.
const CHECK_EVERY: u32 = 10;

struct Watched<F> {
    app: App,
    visitor: Visitor,
    render: F,
    looks: u32,
}

/// Asks `render` for the page's parts once a second, and sends those that changed.
/// Ends when the visitor signs out, or the parts can no longer be had.
pub fn live<F, Fut>(app: App, visitor: Visitor, render: F) -> Response
where
    F: Fn(App, Visitor) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Parts>> + Send + 'static,
{
    let shutdown = app.shutdown.clone();
    stream(Watched { app, visitor, render, looks: 0 }, LOOK_EVERY, shutdown)
}

impl<F, Fut> Watch for Watched<F>
where
    F: Fn(App, Visitor) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Parts>> + Send + 'static,
{
    async fn look(&mut self) -> Option<Seen> {
        self.looks += 1;
        if self.looks.is_multiple_of(CHECK_EVERY) {
            self.visitor.session = find_session(&self.app, self.visitor.cookie()).await.ok()?;
        }
        let parts = (self.render)(self.app.clone(), self.visitor.clone()).await.ok()?;
        Some(Seen { parts, events: Vec::new() })
    }
}
