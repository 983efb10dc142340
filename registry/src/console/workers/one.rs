//! Acting on one worker.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pictor_look::text;
use pictor_protocol::{DesiredState, PatchWorker, Role, SlotStatus, WorkerId, WorkerName, WorkerStatus};
use serde::Deserialize;

use super::back_to;
use crate::App;
use crate::console::{Form, NoFields, Page, Visitor, said};
use crate::error::{Error, Path, Result};
use crate::workers;

/// Sent with the whole form of the list; what is ticked there is not meant.
#[derive(Deserialize)]
pub(super) struct FromList {
    #[serde(default)]
    list: String,
}

pub(super) async fn pause(app: State<App>, id: Path<WorkerId>, form: Form<FromList>) -> Result<Response> {
    want(&app.0, id.0, &form, DesiredState::Paused, "is paused").await
}

pub(super) async fn resume(app: State<App>, id: Path<WorkerId>, form: Form<FromList>) -> Result<Response> {
    want(&app.0, id.0, &form, DesiredState::Active, "takes tasks again").await
}

pub(super) async fn drain(app: State<App>, id: Path<WorkerId>, form: Form<FromList>) -> Result<Response> {
    want(&app.0, id.0, &form, DesiredState::Draining, "finishes what it renders and takes nothing new").await
}

async fn want(
    app: &App,
    id: WorkerId,
    Form(visitor, FromList { list }): &Form<FromList>,
    desired: DesiredState,
    done: &str,
) -> Result<Response> {
    let owner = visitor.acting(Role::Provider)?.account_filter();
    workers::apply(app, id, owner, PatchWorker { desired: Some(desired), ..PatchWorker::default() }).await?;
    let name = workers::name(app, id, owner).await?;
    Ok(said(&format!("{name} {done}."), &back_to(list)))
}

#[derive(Template)]
#[template(path = "console/worker_rename.html")]
struct RenamePage<'a> {
    page: &'a Page,
    id: WorkerId,
    name: WorkerName,
    typed: String,
    refusal: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Rename {
    name: String,
}

pub(super) async fn rename_page(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<WorkerId>,
) -> Result<impl IntoResponse> {
    let name = workers::name(&app, id, visitor.with_role(Role::Provider)?.account_filter()).await?;
    let page = Page::new(&app, &visitor, &format!("Rename {name}"));
    page.show(&RenamePage { page: &page, id, typed: name.to_string(), name, refusal: None })
}

pub(super) async fn rename(
    State(app): State<App>,
    Path(id): Path<WorkerId>,
    Form(visitor, Rename { name: typed }): Form<Rename>,
) -> Result<Response> {
    let owner = visitor.acting(Role::Provider)?.account_filter();
    let before = workers::name(&app, id, owner).await?;
    let renamed = match typed.parse::<WorkerName>() {
        Ok(name) => {
            let change = PatchWorker { name: Some(name), ..PatchWorker::default() };
            workers::apply(&app, id, owner, change).await
        }
        Err(refusal) => Err(Error::Invalid(refusal.to_string())),
    };
    match renamed {
        Ok(()) => Ok(said(&format!("{before} is now named {}.", typed.trim()), &format!("/workers/{id}"))),
        Err(error @ (Error::Invalid(_) | Error::Conflict { .. })) => {
            let page = Page::new(&app, &visitor, &format!("Rename {before}"));
            let refusal = Some(error.to_string());
            Ok(page.show(&RenamePage { page: &page, id, typed, name: before, refusal })?.into_response())
        }
        Err(error) => Err(error),
    }
}

#[derive(Template)]
#[template(path = "console/worker_config.html")]
struct ConfigPage<'a> {
    page: &'a Page,
    id: WorkerId,
    name: WorkerName,
    file_name: String,
    is_used: bool,
}

pub(super) async fn config_page(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<WorkerId>,
) -> Result<impl IntoResponse> {
    let worker = workers::worker(&app, id, visitor.with_role(Role::Provider)?.account_filter()).await?;
    let page = Page::new(&app, &visitor, &format!("Config file of {}", worker.name));
    page.show(&ConfigPage {
        page: &page,
        id,
        file_name: worker.name.config_file_name(),
        is_used: worker.status != WorkerStatus::Offline,
        name: worker.name,
    })
}

pub(super) async fn config(
    State(app): State<App>,
    Path(id): Path<WorkerId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    Ok(workers::setup::config_file(&app, visitor.acting(Role::Provider)?, id).await?.into_response())
}

#[derive(Template)]
#[template(path = "console/worker_delete.html")]
struct DeletePage<'a> {
    page: &'a Page,
    id: WorkerId,
    name: WorkerName,
    running: usize,
    earned: String,
}

pub(super) async fn delete_page(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<WorkerId>,
) -> Result<impl IntoResponse> {
    let worker = workers::worker(&app, id, visitor.with_role(Role::Provider)?.account_filter()).await?;
    let page = Page::new(&app, &visitor, &format!("Delete {}?", worker.name));
    page.show(&DeletePage {
        id,
        running: worker.slots.iter().filter(|slot| slot.status == SlotStatus::Busy).count(),
        earned: text::money(&worker.earnings_micros, &page.currency),
        name: worker.name,
        page: &page,
    })
}

pub(super) async fn delete(
    State(app): State<App>,
    Path(id): Path<WorkerId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let caller = visitor.acting(Role::Provider)?;
    let name = workers::name(&app, id, caller.account_filter()).await?;
    workers::archive(&app, id, caller).await?;
    Ok(said(&format!("{name} is deleted."), "/workers"))
}
