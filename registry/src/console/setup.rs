//! Setting workers up: their names, their config files, and the wait for the first heartbeat.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use pictor_look::live::Parts;
use pictor_look::text;
use pictor_protocol::{HeartbeatRequest, NewWorkers, Role, TestRender, WorkerId, WorkerName, WorkerStatus};
use serde::Deserialize;

use super::{Form, Page, Visitor, live, render, test_render};
use crate::App;
use crate::error::{Error, Path, Query, Result};
use crate::workers::store::WorkerRow;
use crate::workers::{self, Standing, setup};

/// How long a new enrolment key is good for, in days; 0: until it is revoked.
const LIFETIMES: [(u32, &str); 4] = [(1, "a day"), (7, "a week"), (30, "30 days"), (0, "until revoked")];
const SYSTEMS: [(&str, &str); 3] = [("linux", "Linux"), ("windows", "Windows"), ("macos", "macOS")];

#[derive(Default, Deserialize)]
pub(super) struct One {
    name: String,
    #[serde(skip)]
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Many {
    names: String,
    #[serde(default)]
    tags: String,
    #[serde(skip)]
    refusal: Option<String>,
}

/// A key to be made, as the visitor types it.
#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) name_pattern: String,
    pub(super) count: u32,
    pub(super) days: u32,
    #[serde(default)]
    pub(super) tags: String,
    #[serde(skip)]
    pub(super) refusal: Option<String>,
}

impl Default for Key {
    fn default() -> Key {
        Key { name_pattern: "{hostname}".to_owned(), count: 10, days: 7, tags: String::new(), refusal: None }
    }
}

#[derive(Template)]
#[template(path = "console/new.html")]
struct NewPage<'a> {
    page: &'a Page,
    one: One,
    many: Many,
    key: Key,
}

fn show(app: &App, visitor: &Visitor, one: One, many: Many, key: Key) -> Result<Response> {
    let page = Page::new(app, visitor, "Set workers up");
    Ok(page.show(&NewPage { page: &page, one, many, key })?.into_response())
}

pub(super) fn show_key(app: &App, visitor: &Visitor, key: Key) -> Result<Response> {
    show(app, visitor, One::default(), Many::default(), key)
}

pub(super) async fn new_page(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    visitor.with_role(Role::Provider)?;
    show_key(&app, &visitor, Key::default())
}

/// What is wrong with what the visitor typed, to be said beside it; every other error is the page's own.
pub(super) fn refusal(error: Error) -> Result<String> {
    match error {
        Error::Invalid(detail) | Error::Conflict { detail, .. } => Ok(detail),
        other => Err(other),
    }
}

/// Tags as people type them.
pub(super) fn tags(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

pub(super) async fn create(State(app): State<App>, Form(visitor, one): Form<One>) -> Result<Response> {
    let caller = visitor.acting(Role::Provider)?;
    let name: Result<WorkerName> =
        one.name.parse().map_err(|error: pictor_protocol::WorkerNameError| Error::Invalid(error.to_string()));
    let made = match name {
        Ok(name) => setup::register(&app, caller.account_id, name).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(id) => Ok(Redirect::to(&format!("/workers/{id}/setup")).into_response()),
        Err(error) => {
            let one = One { refusal: Some(refusal(error)?), ..one };
            show(&app, &visitor, one, Many::default(), Key::default())
        }
    }
}

pub(super) async fn create_many(State(app): State<App>, Form(visitor, many): Form<Many>) -> Result<Response> {
    let caller = visitor.acting(Role::Provider)?;
    let new = NewWorkers { names: many.names.clone(), tags: tags(&many.tags) };
    match setup::register_many(&app, caller, new).await {
        Ok(download) => Ok(download.into_response()),
        Err(error) => {
            let many = Many { refusal: Some(refusal(error)?), ..many };
            show(&app, &visitor, One::default(), many, Key::default())
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum System {
    Linux,
    Windows,
    Macos,
}

impl System {
    /// As far as the browser says; most that are none of these run on Linux.
    fn of(headers: &HeaderMap) -> System {
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if agent.contains("Windows") {
            System::Windows
        } else if agent.contains("Mac OS") || agent.contains("Macintosh") {
            System::Macos
        } else {
            System::Linux
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        SYSTEMS[self as usize]
    }

    fn as_str(self) -> &'static str {
        self.words().0
    }

    fn label(self) -> &'static str {
        self.words().1
    }

    fn is_windows(self) -> bool {
        self == System::Windows
    }

    fn is_linux(self) -> bool {
        self == System::Linux
    }
}

#[derive(Deserialize)]
pub(super) struct Choice {
    system: Option<System>,
}

/// Whether the worker's machine has said anything, and what.
enum Contact {
    Waiting,
    Gone(&'static str),
    Online(std::sync::Arc<HeartbeatRequest>),
}

impl Contact {
    fn of(standing: &Standing) -> Contact {
        match (&standing.seen, standing.status, standing.offline_reason) {
            (None, ..) => Contact::Waiting,
            (Some(_), WorkerStatus::Offline, reason) => {
                Contact::Gone(reason.map_or("offline", |reason| reason.as_str()))
            }
            (Some(seen), ..) => Contact::Online(seen.report.clone()),
        }
    }
}

#[derive(Template)]
#[template(path = "console/setup.html")]
struct SetupPage<'a> {
    page: &'a Page,
    worker: WorkerRow,
    contact: Contact,
    registry: String,
    is_local: bool,
    config_name: String,
    system: System,
    may_write: bool,
    test: Option<TestRender>,
    is_online: bool,
}

impl SetupPage<'_> {
    fn fetch_command(&self) -> String {
        let base = self.registry.trim_end_matches('/');
        format!(
            "curl -fsS -H \"Authorization: Bearer $PICTOR_TOKEN\" -o {} {base}/v1/workers/{}/config",
            self.config_name, self.worker.id
        )
    }

    fn import_command(&self) -> String {
        format!("pictor-agent import ~/Downloads/{}", self.config_name)
    }

    /// Config files carry the worker's name in a form that is safe everywhere.
    fn container(&self) -> &str {
        self.config_name.trim_end_matches(".toml")
    }

    fn open_command(&self) -> String {
        format!("pictor-agent app ~/Downloads/{}", self.config_name)
    }

    fn service_command(&self) -> String {
        format!(r".\pictor-agent.exe service install $HOME\Downloads\{}", self.config_name)
    }

    fn place_command(&self) -> String {
        format!(
            "docker run --rm --interactive --volume {}:/data pictor-agent \\\n  import /dev/stdin <~/Downloads/{}",
            self.container(),
            self.config_name
        )
    }

    fn container_command(&self) -> String {
        let name = self.container();
        let network = if self.is_local { "--network host " } else { "" };
        format!(
            "docker run --detach --name {name} --restart unless-stopped --stop-timeout 30 {network}\\\n  \
             --cap-drop ALL --security-opt no-new-privileges --volume {name}:/data pictor-agent"
        )
    }

    fn check_command(&self) -> String {
        format!("docker exec {} pictor-agent doctor", self.container())
    }
}

#[derive(Template)]
#[template(path = "console/setup_state.html")]
struct SetupState {
    worker: WorkerRow,
    contact: Contact,
}

#[derive(Template)]
#[template(path = "console/test_render.html")]
struct TestPart<'a> {
    page: &'a Page,
    worker: WorkerRow,
    test: Option<TestRender>,
    is_online: bool,
    may_write: bool,
}

pub(super) async fn setup_page(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Path(id): Path<WorkerId>,
    Query(choice): Query<Choice>,
) -> Result<Response> {
    let caller = visitor.with_role(Role::Provider)?;
    let standing = workers::standing(&app, id, caller.account_filter()).await?;
    let page = Page::new(&app, &visitor, &format!("Set up {}", standing.row.name));
    let page = page.live(format!("/workers/{id}/setup/live"));
    let content = SetupPage {
        page: &page,
        worker: standing.row.clone(),
        is_online: standing.status != WorkerStatus::Offline,
        test: workers::test_render::last(&app, id, caller.account_filter()).await?,
        contact: Contact::of(&standing),
        registry: app.public_url.to_string(),
        is_local: pictor_protocol::is_loopback(&app.public_url),
        config_name: standing.row.name.config_file_name(),
        system: choice.system.unwrap_or_else(|| System::of(&headers)),
        may_write: caller.is_full(),
    };
    Ok(page.show(&content)?.into_response())
}

pub(super) async fn setup_live(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<WorkerId>,
) -> Result<Response> {
    // Refused now rather than by an empty stream.
    let caller = visitor.with_role(Role::Provider)?;
    workers::standing(&app, id, caller.account_filter()).await?;
    Ok(live(app, visitor, move |app, visitor| parts(app, visitor, id)))
}

async fn parts(app: App, visitor: Visitor, id: WorkerId) -> Result<Parts> {
    let caller = visitor.with_role(Role::Provider)?;
    let standing = workers::standing(&app, id, caller.account_filter()).await?;
    let state = SetupState { worker: standing.row.clone(), contact: Contact::of(&standing) };
    let page = Page::new(&app, &visitor, "");
    let test = TestPart {
        page: &page,
        worker: standing.row.clone(),
        test: workers::test_render::last(&app, id, caller.account_filter()).await?,
        is_online: standing.status != WorkerStatus::Offline,
        may_write: caller.is_full(),
    };
    Ok(vec![("setup-state".to_owned(), render(&state)?), ("test-render".to_owned(), render(&test)?)])
}
