//! The Settings page: what its owner can change of this worker, each with its message at its field.

use std::{path::PathBuf, sync::Arc};

use askama::Template;
use axum::{
    Form, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use jiff::{Timestamp, tz::TimeZone};
use pictor_look::{Said, live::Parts, text::Moment};
use pictor_protocol::{BlenderInstall, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{App, live, page::Page};
use crate::{
    settings::{Applied, Current, Setting, SettingError},
    update::{self, Phase},
};

#[derive(Template)]
#[template(path = "app/settings.html")]
struct SettingsPage {
    fields: Fields,
    console: String,
    blender: Vec<BlenderInstall>,
    update: update::Status,
}

#[derive(Template)]
#[template(path = "app/settings_update.html")]
struct UpdatePart<'a> {
    update: &'a update::Status,
}

impl UpdatePart<'_> {
    fn word(&self) -> &'static str {
        match self.update.state {
            Phase::Unknown => "not looked yet",
            Phase::Current => "up to date",
            Phase::Available => "available",
            Phase::Downloading => "downloading",
            Phase::Waiting => "ready",
            Phase::Trial => "on trial",
        }
    }

    /// Unless it stands beside it already.
    fn reason(&self) -> Option<&str> {
        self.update.reason.as_deref().filter(|reason| self.update.kept_by.as_deref() != Some(*reason))
    }

    /// In this machine's zone.
    fn time(&self, at: &Timestamp) -> Moment {
        let millis = |at: &Timestamp| UnixMillis(at.as_millisecond());
        Moment::at(millis(at), millis(&Timestamp::now()), &TimeZone::system())
    }
}

#[derive(Template)]
#[template(path = "app/settings_blender.html")]
struct BlenderPart<'a> {
    blender: &'a [BlenderInstall],
}

impl SettingsPage {
    fn found(&self) -> BlenderPart<'_> {
        BlenderPart { blender: &self.blender }
    }

    fn update(&self) -> UpdatePart<'_> {
        UpdatePart { update: &self.update }
    }
}

/// One field with its form, and what was wrong with what was typed there.
#[derive(Template)]
#[template(path = "app/settings_field.html")]
pub(super) struct Field<'a> {
    pub(super) setting: &'a Setting,
    label: &'a str,
    typed: Option<&'a str>,
    error: Option<&'a SettingError>,
    unwritable: bool,
    /// Where its form goes, and so the page it comes back to.
    action: &'a str,
}

/// The settings as the file says them, and the one that was just refused.
pub(super) struct Fields {
    pub(super) current: Current,
    refused: Option<(SettingError, String)>,
    action: &'static str,
}

impl Fields {
    pub(super) fn of(app: &App, action: &'static str) -> Result<Fields, String> {
        let current = app.settings.current().map_err(|error| error.to_string())?;
        Ok(Fields { current, refused: None, action })
    }

    pub(super) fn value(&self, key: &str) -> String {
        let setting = self.current.settings.iter().find(|setting| setting.key == key);
        setting
            .and_then(|setting| setting.value.clone().or_else(|| setting.default.clone()))
            .unwrap_or_default()
    }

    pub(super) fn field<'a>(&'a self, key: &str, label: &'a str) -> Option<Field<'a>> {
        let refused = self.refused.as_ref().filter(|(error, _)| error.field == key);
        Some(Field {
            setting: self.current.settings.iter().find(|setting| setting.key == key)?,
            label,
            typed: refused.map(|(_, typed)| typed.as_str()),
            error: refused.map(|(error, _)| error),
            unwritable: self.current.unwritable.is_some(),
            action: self.action,
        })
    }
}

impl Field<'_> {
    fn id(&self) -> String {
        self.setting.key.replace('.', "-")
    }

    fn shown(&self) -> &str {
        self.typed.or(self.setting.value.as_deref()).unwrap_or_default()
    }

    fn is_switch(&self) -> bool {
        self.setting.key.ends_with(".enabled")
    }

    fn is_on(&self) -> bool {
        self.setting.value.as_deref().or(self.setting.default.as_deref()) == Some("true")
    }
}

/// One change.
#[derive(Deserialize)]
pub(super) struct Change {
    key: String,
    #[serde(default)]
    value: String,
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    match Fields::of(&app, "/settings") {
        Ok(fields) => page(&app, fields, None),
        Err(error) => unreadable(&app, error),
    }
}

/// A form of the page; what was refused is shown at its field.
pub(super) async fn change(State(app): State<Arc<App>>, Form(change): Form<Change>) -> Response {
    match changed(&app, "/settings", change).await {
        Ok((fields, said)) => page(&app, fields, said),
        Err(error) => unreadable(&app, error),
    }
}

/// Makes the change, and says how the page is to look afterwards.
pub(super) async fn changed(
    app: &App,
    action: &'static str,
    change: Change,
) -> Result<(Fields, Option<Said>), String> {
    let result = set_whole(app, change.key.clone(), change.value.clone()).await;
    let mut fields = Fields::of(app, action)?;
    let said = match result {
        Ok(applied) => Some(Said { text: said(&applied), is_good: true }),
        Err(error) => {
            fields.refused = Some((error, change.value));
            None
        }
    };
    Ok((fields, said))
}

/// To its end, also when nobody waits for the answer any more: a rename is two steps, and so is taking a change over.
async fn set_whole(app: &App, key: String, value: String) -> Result<Applied, SettingError> {
    let (settings, field) = (Arc::clone(&app.settings), key.clone());
    let setting = tokio::spawn(async move { settings.set(&key, &value).await });
    setting
        .await
        .unwrap_or_else(|_| Err(SettingError { field, message: "the agent ends".to_owned(), to_write: None }))
}

fn said(Applied { restart, .. }: &Applied) -> String {
    restart.as_ref().map_or_else(|| "Saved.".to_owned(), |restart| format!("Saved: {restart}."))
}

fn page(app: &App, fields: Fields, said: Option<Said>) -> Response {
    let status = fields.status();
    let page = Page { said, ..Page::tab("Settings", app.worker_name()).live("/settings/live") };
    let console = app.config.identity.0.registry.to_string();
    let blender = app.readiness.probed().blender;
    let update = app.updates.status();
    (status, page.show(&SettingsPage { fields, console, blender, update })).into_response()
}

impl Fields {
    pub(super) fn status(&self) -> StatusCode {
        if self.refused.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
    }
}

/// Somebody broke the file while the agent ran.
pub(super) fn unreadable(app: &App, error: String) -> Response {
    let page =
        Page { said: Some(Said { text: error, is_good: false }), ..Page::tab("Settings", app.worker_name()) };
    (StatusCode::INTERNAL_SERVER_ERROR, page.show(&BrokenPage)).into_response()
}

#[derive(Template)]
#[template(path = "app/settings_broken.html")]
struct BrokenPage;

pub(super) async fn live(app: State<Arc<App>>) -> Response {
    live::live(app, false, parts)
}

fn parts(app: &App) -> Parts {
    let (blender, update) = (app.readiness.probed().blender, app.updates.status());
    let parts = [
        ("blender-found", BlenderPart { blender: &blender }.render()),
        ("update-state", UpdatePart { update: &update }.render()),
    ];
    parts.into_iter().filter_map(|(id, html)| Some((id.to_owned(), html.ok()?))).collect()
}

pub(super) async fn look_for_update(State(app): State<Arc<App>>) -> Redirect {
    app.updates.check_now();
    Redirect::to("/settings#update-title")
}

/// What a program of this machine asks to have changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProgramsChange {
    /// Of the file that it means: another one is not this agent's.
    pub config: PathBuf,
    pub key: String,
    pub value: String,
}

/// For `pictor-agent set`: what came of it, or the words of the refusal.
pub(super) async fn set(State(app): State<Arc<App>>, Json(change): Json<ProgramsChange>) -> Response {
    if change.config.canonicalize().ok() != app.config.path.canonicalize().ok() {
        let said = format!("this agent runs with {}", app.config.path.display());
        return (StatusCode::CONFLICT, said).into_response();
    }
    match set_whole(&app, change.key, change.value).await {
        Ok(applied) => Json(applied).into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.explained()).into_response(),
    }
}
