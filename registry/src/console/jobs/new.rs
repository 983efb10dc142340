//! Submitting a job: a form whose scene is streamed on as it arrives.

use askama::Template;
use axum::extract::multipart::Field;
use axum::extract::{Multipart, State};
use axum::response::{IntoResponse, Response};
use pictor_look::text;
use pictor_protocol::{FrameRange, JobSettings, Micros, Role};

use crate::App;
use crate::console::form::TOKEN_FIELD;
use crate::console::{Page, Visitor, said};
use crate::error::{Error, Result};
use crate::jobs;
use crate::ledger::store::{Book, balance};

const TEXT_BYTES_MAX: usize = 4_096;

/// What was typed, kept when it is refused.
#[derive(Debug, Clone, Default)]
struct Typed {
    key: String,
    name: String,
    frames: String,
    frames_per_task: String,
    price: String,
}

/// Which field is refused, and why.
type Refusal = (&'static str, String);

#[derive(Template)]
#[template(path = "console/jobs/new.html")]
struct NewPage<'a> {
    page: &'a Page,
    typed: Typed,
    refusal: Option<Refusal>,
    /// What the job would cost, once that can be told.
    cost: Option<Micros>,
    balance: Micros,
}

impl NewPage<'_> {
    fn refusal_of(&self, field: &str) -> Option<&str> {
        self.refusal.as_ref().filter(|(refused, _)| *refused == field).map(|(_, why)| why.as_str())
    }
}

pub(in crate::console) async fn form(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let typed = Typed {
        key: hex::encode(app.clock.random::<16>()),
        frames_per_task: "1".to_owned(),
        price: "0.05".to_owned(),
        ..Typed::default()
    };
    show(&app, &visitor, typed, None).await
}

async fn show(app: &App, visitor: &Visitor, typed: Typed, refusal: Option<Refusal>) -> Result<Response> {
    let caller = visitor.with_role(Role::Creator)?;
    let balance = balance(&mut *app.db.read().await?, &Book::Account(caller.account_id)).await?;
    let cost = typed.settings().ok().and_then(|settings| jobs::cost_of(&settings).ok());
    let page = Page::new(app, visitor, "New job");
    Ok(page.show(&NewPage { page: &page, typed, refusal, cost, balance })?.into_response())
}

/// What came before the scene.
enum Sent<'a> {
    Scene(Box<Field<'a>>),
    /// No more parts.
    Nothing,
    /// Only the cost is asked for.
    CostOnly,
}

pub(in crate::console) async fn send(
    State(app): State<App>,
    visitor: Visitor,
    mut form: Multipart,
) -> Result<Response> {
    let account = visitor.acting(Role::Creator)?.account_id;
    let token = jobs::next_part(&mut form).await?.filter(|part| part.name() == Some(TOKEN_FIELD));
    let token = match token {
        Some(part) => text_of(part).await?,
        None => String::new(),
    };
    visitor.check_form(&token)?;
    let mut typed = Typed::default();
    let made = match typed.read(&mut form).await? {
        Sent::CostOnly => Err(None),
        Sent::Nothing => Err(Some(("scene", "Choose the .blend file to render.".to_owned()))),
        Sent::Scene(scene) => submit(&app, account, &typed, *scene).await?.map_err(Some),
    };
    match made {
        Ok(id) => Ok(said(
            "The job is submitted; its tasks start as soon as workers are free.",
            &format!("/jobs/{id}"),
        )),
        Err(refusal) => {
            // A browser shows an answer only once it has sent everything.
            drain(&mut form, app.settings.scene_bytes_max).await;
            show(&app, &visitor, typed, refusal).await
        }
    }
}

/// Submits what was typed; or the field that is refused.
async fn submit(
    app: &App,
    account: pictor_protocol::AccountId,
    typed: &Typed,
    scene: Field<'_>,
) -> Result<std::result::Result<pictor_protocol::JobId, Refusal>> {
    let settings = match typed.settings() {
        Ok(settings) => settings,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if scene.file_name().is_none_or(str::is_empty) {
        return Ok(Err(("scene", "Choose the .blend file to render.".to_owned())));
    }
    let cost = match jobs::admit(app, account, &settings, Some(&typed.key)).await {
        Ok(cost) => cost,
        Err(error) => return refused(error).map(Err),
    };
    match jobs::receive(app, account, &settings, Some(typed.key.clone()), cost, Some(scene)).await {
        Ok((job, _)) => Ok(Ok(job.id)),
        Err(error) => refused(error).map(Err),
    }
}

/// The field that an error is about; other errors are not the form's.
fn refused(error: Error) -> Result<Refusal> {
    let detail = error.to_string();
    match error {
        Error::InsufficientFunds(_) => Ok(("price", format!("Too expensive: {detail}."))),
        Error::Unprocessable { code: "job_settings", .. } => {
            let (field, why) = detail.split_once(": ").unwrap_or(("name", &detail));
            let field = match field {
                "frames" => "frames",
                "frames_per_task" | "task_timeout_seconds" => "frames_per_task",
                "frame_cost_micros" => "price",
                _ => "name",
            };
            Ok((field, sentence(why)))
        }
        Error::Unprocessable { .. } | Error::TooLarge(_) => Ok(("scene", sentence(&detail))),
        other => Err(other),
    }
}

fn sentence(text: &str) -> String {
    format!("{}.", text::capitalised(text))
}

impl Typed {
    async fn read<'a>(&mut self, form: &'a mut Multipart) -> Result<Sent<'a>> {
        // The scene is the last part, so that everything else is known when it comes.
        for _ in 0..5 {
            let Some(part) = jobs::next_part(form).await? else { return Ok(Sent::Nothing) };
            match part.name().unwrap_or_default() {
                "key" => self.key = text_of(part).await?,
                "name" => self.name = text_of(part).await?,
                "frames" => self.frames = text_of(part).await?,
                "frames_per_task" => self.frames_per_task = text_of(part).await?,
                "price" => self.price = text_of(part).await?,
                _ => return Err(Error::Invalid("the form has a part that is none of its own".to_owned())),
            }
        }
        let Some(part) = jobs::next_part(form).await? else { return Ok(Sent::Nothing) };
        match part.name().unwrap_or_default() {
            "scene" => Ok(Sent::Scene(Box::new(part))),
            "cost" => Ok(Sent::CostOnly),
            _ => Err(Error::Invalid("the form has a part that is none of its own".to_owned())),
        }
    }

    fn settings(&self) -> std::result::Result<JobSettings, Refusal> {
        if self.name.trim().is_empty() {
            return Err(("name", "Give the job a name.".to_owned()));
        }
        let frames: FrameRange =
            self.frames.trim().parse().map_err(|cause| ("frames", sentence(&format!("{cause}"))))?;
        let per_task = self.frames_per_task.trim().parse();
        let frames_per_task =
            per_task.map_err(|_| ("frames_per_task", "Give a whole number, 1 or more.".to_owned()))?;
        let price = self.price.trim().parse();
        let frame_cost_micros = price.map_err(|_| ("price", "Give an amount, such as 0.05.".to_owned()))?;
        Ok(JobSettings {
            name: self.name.trim().to_owned(),
            frames,
            frames_per_task,
            frame_cost_micros,
            width: None,
            height: None,
            task_timeout_seconds: None,
            scene_sha256: None,
        })
    }
}

async fn text_of(mut part: Field<'_>) -> Result<String> {
    let mut bytes = Vec::new();
    loop {
        let chunk = part.chunk().await;
        let chunk = chunk
            .map_err(|cause| Error::Invalid(format!("the form cannot be read: {}", cause.body_text())))?;
        let Some(chunk) = chunk else { break };
        bytes.extend_from_slice(&chunk);
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(Error::TooLarge(format!("a field holds at most {TEXT_BYTES_MAX} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::Invalid("a field is no text".to_owned()))
}

async fn drain(form: &mut Multipart, bytes_max: u64) {
    let mut bytes = 0;
    while let Ok(Some(mut part)) = form.next_field().await {
        while let Ok(Some(chunk)) = part.chunk().await {
            bytes += chunk.len() as u64;
            if bytes > bytes_max {
                return;
            }
        }
    }
}
