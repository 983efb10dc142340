//! The Mining page: the owner's own program on GPUs without a task.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::State,
    response::{IntoResponse, Response},
};
use pictor_look::{Said, live::Parts, text};

use super::{
    App, live,
    page::Page,
    settings::{self, Change, Fields},
};
use crate::idle::{GPU_INDEX, State as Standing, View};

#[derive(Template)]
#[template(path = "app/mining.html")]
struct MiningPage {
    fields: Fields,
    views: Vec<View>,
}

#[derive(Template)]
#[template(path = "app/mining_slots.html")]
struct SlotsPart<'a> {
    views: &'a [View],
}

#[derive(Template)]
#[template(path = "app/mining_log.html")]
struct LogPart<'a> {
    view: &'a View,
}

impl MiningPage {
    fn log<'a>(&'a self, view: &'a View) -> LogPart<'a> {
        LogPart { view }
    }

    fn slots(&self) -> SlotsPart<'_> {
        SlotsPart { views: &self.views }
    }

    fn has_gpu(&self) -> bool {
        self.views.iter().any(|view| view.gpu_uuid.is_some())
    }

    fn sees_all_gpus(&self) -> bool {
        self.fields.value("idle.command").contains(GPU_INDEX)
    }
}

impl SlotsPart<'_> {
    fn badge(&self, view: &View) -> &'static str {
        match view.state {
            Standing::Running => "running",
            Standing::BackingOff => "failed",
            Standing::Waiting | Standing::Stopping => "pending",
            Standing::Off | Standing::Unsupported => "",
        }
    }

    fn word(&self, view: &View) -> &'static str {
        match view.state {
            Standing::Unsupported => "not supported",
            Standing::Off => "off",
            Standing::Waiting => "waiting",
            Standing::Running => "running",
            Standing::Stopping => "stopping",
            Standing::BackingOff => "waiting after a failure",
        }
    }

    fn ran(&self, view: &View) -> String {
        text::clock(&Some(view.running_seconds))
    }
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    match Fields::of(&app, "/mining") {
        Ok(fields) => page(&app, fields, None),
        Err(error) => settings::unreadable(&app, error),
    }
}

pub(super) async fn change(State(app): State<Arc<App>>, Form(change): Form<Change>) -> Response {
    match settings::changed(&app, "/mining", change).await {
        Ok((fields, said)) => page(&app, fields, said),
        Err(error) => settings::unreadable(&app, error),
    }
}

fn page(app: &App, fields: Fields, said: Option<Said>) -> Response {
    let page = Page { said, ..Page::tab("Mining", app.worker_name()).live("/mining/live") };
    (fields.status(), page.show(&MiningPage { fields, views: app.idle.views() })).into_response()
}

pub(super) async fn live(app: State<Arc<App>>) -> Response {
    live::live(app, false, parts)
}

fn parts(app: &App) -> Parts {
    let views = app.idle.views();
    let log = |view: &View| (format!("idle-log-{}", view.slot), LogPart { view }.render());
    let slots = ("idle-slots".to_owned(), SlotsPart { views: &views }.render());
    let parts = [slots].into_iter().chain(views.iter().map(log));
    parts.filter_map(|(id, html)| Some((id, html.ok()?))).collect()
}
