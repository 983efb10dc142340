//! The Rendering page: what each slot does, and pause, drain and resume.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use pictor_look::live::Parts;
use pictor_protocol::{DesiredState, SlotStatus};
use serde::Deserialize;

use super::{
    App, live,
    page::Page,
    status::{Slot, Status},
};
use crate::finding::Grade;

#[derive(Template)]
#[template(path = "app/rendering.html")]
struct RenderingPage {
    status: Status,
}

#[derive(Template)]
#[template(path = "app/rendering_state.html")]
struct StatePart<'a> {
    status: &'a Status,
}

#[derive(Template)]
#[template(path = "app/rendering_slot.html")]
struct SlotPart<'a> {
    slot: &'a Slot,
    status: &'a Status,
}

impl RenderingPage {
    fn state(&self) -> StatePart<'_> {
        StatePart { status: &self.status }
    }

    fn slot<'a>(&'a self, slot: &'a Slot) -> SlotPart<'a> {
        SlotPart { slot, status: &self.status }
    }
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let status = app.status();
    let page = Page::tab("Rendering", status.worker_name.clone()).live("/live");
    page.show(&RenderingPage { status })
}

pub(super) async fn live(app: State<Arc<App>>) -> Response {
    live::live(app, true, parts)
}

fn parts(app: &App) -> Parts {
    let status = app.status();
    let mut parts = vec![("state".to_owned(), StatePart { status: &status }.render())];
    for slot in &status.slots {
        parts.push((format!("slot-{}", slot.slot), SlotPart { slot, status: &status }.render()));
    }
    // A part that cannot be made stays as it is.
    parts.into_iter().filter_map(|(id, html)| Some((id, html.ok()?))).collect()
}

/// Everything that is shown, for programs.
pub(super) async fn json(State(app): State<Arc<App>>) -> Json<Status> {
    Json(app.status())
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    desired: DesiredState,
}

pub(super) async fn pause(State(app): State<Arc<App>>, Form(wanted): Form<Wanted>) -> Response {
    let (pause, desired) = (Arc::clone(&app.pause), wanted.desired);
    let kept = tokio::task::spawn_blocking(move || pause.set(desired)).await;
    match kept {
        Ok(Ok(())) => Redirect::to("/").into_response(),
        Ok(Err(error)) => {
            let said = format!("It is {desired} now, but that cannot be kept for the next start: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, said).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the agent stops\n").into_response(),
    }
}
