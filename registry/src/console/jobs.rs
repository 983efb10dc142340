//! A creator's jobs: all of them with what they cost, and one with its frames, live.

mod grid;
mod new;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pictor_look::live::Parts;
use pictor_look::text;
use pictor_protocol::{Job, JobId, JobStatus, List, Micros, Role, Spending, TaskStatus};
use serde::Deserialize;
use url::form_urlencoded;

use super::{Form, NoFields, Page, Visitor, live, render, said};
use crate::App;
use crate::auth::Caller;
use crate::error::{Path, Query, Result};
use crate::jobs::{self, JobsQuery, Picture, Wish};
use crate::ledger;
use grid::Cell;

pub(super) use new::{form as new_form, send as send_new};

const ROWS: u32 = 50;
/// How many of the newest frames are shown as pictures.
const PICTURES: i64 = 12;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    search: String,
    status: String,
    cursor: String,
}

#[derive(Template)]
#[template(path = "console/jobs.html")]
struct JobsPage<'a> {
    page: &'a Page,
    asked: Asked,
    spending: Spending,
    jobs: Vec<Job>,
    next: Option<String>,
}

pub(super) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    let caller = visitor.with_role(Role::Creator)?;
    let query = JobsQuery {
        status: Some(asked.status.clone()),
        search: Some(asked.search.clone()),
        limit: Some(ROWS),
        cursor: Some(asked.cursor.clone()),
    };
    let List { items, next_cursor } = jobs::jobs(&app, caller, &query).await?;
    let spending = ledger::spending(&app, caller).await?;
    let page = Page::new(&app, &visitor, "Jobs");
    Ok(page.show(&JobsPage { page: &page, asked, spending, jobs: items, next: next_cursor })?.into_response())
}

impl JobsPage<'_> {
    fn statuses(&self) -> &'static [JobStatus] {
        JobStatus::ALL
    }

    fn is_status(&self, status: &JobStatus) -> bool {
        self.asked.status == status.as_str()
    }

    fn is_filtered(&self) -> bool {
        [&self.asked.search, &self.asked.status, &self.asked.cursor].iter().any(|text| !text.is_empty())
    }

    fn link(&self, cursor: &str) -> String {
        let mut link = form_urlencoded::Serializer::new(String::new());
        for (name, value) in
            [("search", self.asked.search.as_str()), ("status", &self.asked.status), ("cursor", cursor)]
        {
            if !value.is_empty() {
                link.append_pair(name, value);
            }
        }
        link.finish()
    }
}

/// What the page of one job shows.
struct View {
    job: Job,
    cells: Vec<Cell>,
    newest: Vec<Picture>,
}

impl View {
    async fn of(app: &App, caller: &Caller, id: JobId) -> Result<View> {
        let job = jobs::job(app, caller, id).await?;
        let cells = grid::cells(&job, &jobs::standing(app, &job, grid::frames_per_cell(&job)).await?);
        let newest =
            if caller.is_full() { jobs::newest_frames(app, &job, PICTURES).await? } else { Vec::new() };
        Ok(View { job, cells, newest })
    }

    /// What is set aside for it and not spent yet.
    fn escrow(&self) -> Micros {
        if self.job.status.has_ended() { Micros::ZERO } else { self.job.cost_micros - self.job.spent_micros }
    }

    fn ratio(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let ratio = self.job.frames_completed as f64 / self.job.frames_total as f64;
        ratio
    }

    fn can_pause(&self) -> bool {
        matches!(self.job.status, JobStatus::Pending | JobStatus::Running)
    }
}

#[derive(Template)]
#[template(path = "console/job.html")]
struct JobPage<'a> {
    page: &'a Page,
    view: View,
}

#[derive(Template)]
#[template(path = "console/jobs/state.html")]
struct StatePart<'a> {
    page: &'a Page,
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/jobs/grid.html")]
struct GridPart<'a> {
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/jobs/actions.html")]
struct ActionsPart<'a> {
    page: &'a Page,
    view: &'a View,
}

#[derive(Template)]
#[template(path = "console/jobs/pictures.html")]
struct PicturesPart<'a> {
    view: &'a View,
}

pub(super) async fn one(State(app): State<App>, visitor: Visitor, Path(id): Path<JobId>) -> Result<Response> {
    let view = View::of(&app, visitor.with_role(Role::Creator)?, id).await?;
    let page = Page::new(&app, &visitor, &view.job.name).live(format!("/jobs/{id}/live"));
    Ok(page.show(&JobPage { page: &page, view })?.into_response())
}

pub(super) async fn one_live(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<JobId>,
) -> Result<Response> {
    let caller = visitor.with_role(Role::Creator)?;
    jobs::job(&app, caller, id).await?;
    Ok(live(app, visitor, move |app, visitor| parts(app, visitor, id)))
}

async fn parts(app: App, visitor: Visitor, id: JobId) -> Result<Parts> {
    let view = View::of(&app, visitor.with_role(Role::Creator)?, id).await?;
    let page = Page::new(&app, &visitor, &view.job.name);
    Ok(vec![
        ("job-state".to_owned(), render(&StatePart { page: &page, view: &view })?),
        ("job-actions".to_owned(), render(&ActionsPart { page: &page, view: &view })?),
        ("job-grid".to_owned(), render(&GridPart { view: &view })?),
        ("job-pictures".to_owned(), render(&PicturesPart { view: &view })?),
    ])
}

pub(super) async fn picture(
    State(app): State<App>,
    visitor: Visitor,
    Path((id, frame)): Path<(JobId, i32)>,
) -> Result<Response> {
    jobs::picture(&app, visitor.with_role(Role::Creator)?, id, frame).await
}

pub(super) async fn archive(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<JobId>,
) -> Result<Response> {
    jobs::archive(&app, visitor.with_role(Role::Creator)?, id).await
}

pub(super) async fn pause(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let done = "The job is paused: nothing more of it is rendered until you resume it.";
    wish(&app, &visitor, id, Wish::Pause, done).await
}

pub(super) async fn resume(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    wish(&app, &visitor, id, Wish::Resume, "The job goes on.").await
}

pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let done = "The job is cancelled, and what was in escrow is back in your balance.";
    wish(&app, &visitor, id, Wish::Cancel, done).await
}

async fn wish(app: &App, visitor: &Visitor, id: JobId, wish: Wish, done: &str) -> Result<Response> {
    jobs::grant(app, visitor.acting(Role::Creator)?, id, wish).await?;
    Ok(said(done, &format!("/jobs/{id}")))
}

#[derive(Template)]
#[template(path = "console/jobs/cancel.html")]
struct CancelPage<'a> {
    page: &'a Page,
    view: View,
}

/// Asks before a job is cancelled for good.
pub(super) async fn ask_cancel(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<JobId>,
) -> Result<Response> {
    let view = View::of(&app, visitor.with_role(Role::Creator)?, id).await?;
    let page = Page::new(&app, &visitor, &format!("Cancel {}", view.job.name));
    Ok(page.show(&CancelPage { page: &page, view })?.into_response())
}
