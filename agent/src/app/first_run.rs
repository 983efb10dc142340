//! The First run page: a machine gets its config file, is checked, and renders a test scene on every slot.

use std::{
    future::IntoFuture,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path as UrlPath, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use pictor_look::{Said, live::Parts};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    App,
    access::{self, Access},
    checkup::{Checkup, RenderState, Seen},
    link::Link,
    live,
    page::{self, Page},
};
use crate::{
    finding::Grade,
    import::{self, Imported},
};

/// Browsers open connections that they may need; those are not waited for.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Template)]
#[template(path = "app/first_run.html")]
struct FirstRunPage {
    seen: Seen,
    config: PathBuf,
}

#[derive(Template)]
#[template(path = "app/first_run_checks.html")]
struct ChecksPart<'a> {
    seen: &'a Seen,
}

impl FirstRunPage {
    fn checks(&self) -> ChecksPart<'_> {
        ChecksPart { seen: &self.seen }
    }
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let page = Page::tab("First run", app.worker_name()).live("/first-run/live");
    page.show(&FirstRunPage { seen: app.checkup.seen(), config: app.config.path.clone() })
}

pub(super) async fn live(app: State<Arc<App>>) -> Response {
    live::live(app, false, parts)
}

fn parts(app: &App) -> Parts {
    let seen = app.checkup.seen();
    ChecksPart { seen: &seen }.render().map(|html| ("checks".to_owned(), html)).into_iter().collect()
}

pub(super) async fn check(State(app): State<Arc<App>>) -> Redirect {
    Checkup::start(&app);
    Redirect::to("/first-run")
}

/// The picture that a slot rendered.
pub(super) async fn frame(State(app): State<Arc<App>>, UrlPath(slot): UrlPath<u32>) -> Response {
    let rendered = app.checkup.seen().renders.into_iter().find(|render| render.slot == slot);
    match rendered.map(|render| render.state) {
        Some(RenderState::Completed(_, frame)) => {
            ([(header::CONTENT_TYPE, "image/png")], frame).into_response()
        }
        _ => (StatusCode::NOT_FOUND, "nothing was rendered there\n").into_response(),
    }
}

/// Before there is a config file.
struct Setup {
    destination: PathBuf,
    /// A file is there and the agent can start, or it is not to start at all.
    done: CancellationToken,
    /// One import at a time: a second click must not spend a second key.
    is_imported: Mutex<bool>,
}

#[derive(Template)]
#[template(path = "app/set_up.html")]
struct SetUpPage {
    destination: PathBuf,
    text: String,
    enrolment: String,
    /// What was wrong with the file, or with the link.
    file_error: Option<String>,
    enrolment_error: Option<String>,
}

#[derive(Template)]
#[template(path = "app/set_up_done.html")]
struct DonePage;

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    text: String,
    #[serde(default)]
    enrolment: String,
}

/// Serves the page until a config file is imported, or `shutdown`.
pub async fn serve(
    listener: TcpListener,
    key: &str,
    data: &Path,
    destination: PathBuf,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let listen = listener.local_addr()?;
    let link = Link::new(listen, key.to_owned());
    let published = link.publish(data, false).context("cannot leave the worker app's link")?;
    tracing::info!(
        "no config file {} yet: the worker app at http://{} asks for it",
        destination.display(),
        link.address
    );
    let done = shutdown.child_token();
    let setup = Arc::new(Setup { destination, done: done.clone(), is_imported: Mutex::default() });
    let routes = Router::new()
        .route("/", get(|| async { Redirect::to("/first-run") }))
        .route("/first-run", get(ask).post(take))
        .with_state(setup)
        .layer(middleware::from_fn_with_state(Access::new(key, listen), access::guard))
        .route("/assets/{name}", get(page::asset));
    let serving = axum::serve(listener, routes).with_graceful_shutdown(done.clone().cancelled_owned());
    let late = async {
        done.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served?,
        () = late => {}
    }
    published.take_away();
    Ok(())
}

/// The page of a machine that is no worker yet.
fn set_up() -> Page {
    Page::bare("First run")
}

async fn ask(State(setup): State<Arc<Setup>>) -> Response {
    set_up().show(&SetUpPage::new(&setup, Given { text: String::new(), enrolment: String::new() }))
}

impl SetUpPage {
    fn new(setup: &Setup, given: Given) -> SetUpPage {
        SetUpPage {
            destination: setup.destination.clone(),
            text: given.text,
            enrolment: given.enrolment,
            file_error: None,
            enrolment_error: None,
        }
    }
}

async fn take(State(setup): State<Arc<Setup>>, Form(given): Form<Given>) -> Response {
    // To its end, also when the browser waits no longer: a key is spent only once.
    tokio::spawn(import_once(setup, given))
        .await
        .unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

async fn import_once(setup: Arc<Setup>, given: Given) -> Response {
    let mut is_imported = setup.is_imported.lock().await;
    if *is_imported {
        return Redirect::to("/first-run").into_response();
    }
    let is_enrolment = given.text.trim().is_empty() && !given.enrolment.trim().is_empty();
    let imported = if is_enrolment {
        enrol(&given.enrolment, &setup.destination).await
    } else {
        import::install(Path::new("the config file"), given.text.clone(), &setup.destination)
    };
    match imported {
        Ok(Imported { worker, left_out, .. }) => {
            *is_imported = true;
            // The page that says so still loads its style and script from here.
            let done = setup.done.clone();
            tokio::spawn(async move {
                tokio::time::sleep(GRACE).await;
                done.cancel();
            });
            let mut text = format!("This machine is worker {} now.", worker.0.worker_name);
            if !left_out.is_empty() {
                text.push_str(&format!(
                    " Left out, for they are its owner's to write: {}.",
                    left_out.join(", ")
                ));
            }
            let page = Page { said: Some(Said { text, is_good: true }), ..set_up() };
            // What keeps the connection would keep this page's server.
            ([(header::CONNECTION, "close")], page.show(&DonePage)).into_response()
        }
        Err(error) => {
            let mut content = SetUpPage::new(&setup, given);
            let error = Some(format!("{error:#}"));
            if is_enrolment {
                content.enrolment_error = error;
            } else {
                content.file_error = error;
            }
            (StatusCode::UNPROCESSABLE_ENTITY, set_up().show(&content)).into_response()
        }
    }
}

async fn enrol(given: &str, destination: &Path) -> anyhow::Result<Imported> {
    let (key, registry) = enrolment(given).context(
        "this is neither an enrolment link nor the console's command: it needs the key and the registry's address",
    )?;
    import::enrol(&key, &registry, destination, None).await
}

/// `REGISTRY#KEY`, or the command that the console shows.
fn enrolment(given: &str) -> Option<(String, Url)> {
    let mut words = given.split_whitespace();
    let (mut key, mut registry) = (None, None);
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix("PICTOR_ENROL_KEY=") {
            key = Some(value.to_owned());
        } else if word == "--enrol" {
            key = words.next().map(str::to_owned);
        } else if word == "--registry" {
            registry = words.next().and_then(|word| word.parse::<Url>().ok());
        } else if let Ok(mut url) = word.parse::<Url>()
            && let Some(fragment) = url.fragment().map(str::to_owned)
        {
            url.set_fragment(None);
            (key, registry) = (Some(fragment), Some(url));
        }
    }
    Some((
        key.filter(|key| !key.is_empty())?,
        registry.filter(|url| matches!(url.scheme(), "http" | "https"))?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrolment_is_a_link_or_the_consoles_command() {
        let expected = Some(("key_1".to_owned(), Url::parse("https://registry.example/").unwrap()));
        for given in [
            "https://registry.example/#key_1",
            "  https://registry.example#key_1\n",
            "PICTOR_ENROL_KEY=key_1 \\\n  pictor-agent import --registry https://registry.example && pictor-agent run",
            "pictor-agent import --enrol key_1 --registry https://registry.example/",
        ] {
            assert_eq!(enrolment(given), expected, "{given}");
        }
        for given in [
            "",
            "key_1",
            "https://registry.example/",
            "ftp://registry.example#key",
            "https://registry.example#",
        ] {
            assert_eq!(enrolment(given), None, "{given}");
        }
    }
}
