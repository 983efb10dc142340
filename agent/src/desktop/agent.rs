//! The agent whose pages are shown: the one that runs on this machine, or one started here. Never two.

#[cfg(feature = "desktop")]
use std::path::Path;
use std::{future, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, bail};
#[cfg(feature = "desktop")]
use pictor_protocol::DesiredState;
#[cfg(feature = "desktop")]
use reqwest::Method;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::absolute;
use crate::{
    app::{
        link::{self, Link},
        status::Status,
    },
    assembly,
    config::{self, RunFlags},
    data_folder::DataFolder,
    update,
};

/// How a user comes to use the service's app.
const MAY_USE: &str = if cfg!(windows) {
    "open the terminal with \"Run as administrator\""
} else {
    "run `sudo usermod -aG pictor-agent $USER`, then log in again"
};
/// How long an agent may take from its start to its first page: a late driver is waited for.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the agents of this machine.
#[derive(Debug, Clone)]
pub(super) struct Finder {
    client: reqwest::Client,
    data: PathBuf,
}

/// An agent that answers.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) link: Link,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Finder {
    pub(super) fn new(flags: &RunFlags) -> anyhow::Result<Finder> {
        let client = link::client(ANSWER_TIMEOUT)?;
        Ok(Finder { client, data: absolute(&config::data_of(flags)?)? })
    }

    #[cfg(feature = "desktop")]
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// The link that is answered now. What a killed agent left is not.
    pub(super) async fn find(&self) -> Option<Link> {
        for link in Link::candidates(&self.data) {
            if self.status(&link).await.is_ok() {
                return Some(link);
            }
        }
        None
    }

    /// None while the agent still asks for its config file.
    pub(super) async fn status(&self, link: &Link) -> anyhow::Result<Option<Status>> {
        Ok(link.status(&self.client).await?)
    }

    /// Presses a button of the Rendering page.
    #[cfg(feature = "desktop")]
    pub(super) async fn set_desired(&self, link: &Link, desired: DesiredState) -> anyhow::Result<()> {
        let form = format!("desired={desired}");
        let ask = link.call(&self.client, Method::POST, "/pause");
        let ask = ask.header("content-type", "application/x-www-form-urlencoded").body(form);
        ask.send().await?.error_for_status()?;
        Ok(())
    }

    /// Attaches to the agent that runs, or starts one.
    pub(super) async fn meet(&self, flags: &RunFlags) -> anyhow::Result<Running> {
        if let Some(link) = self.find().await {
            if flags.enrol.is_some() {
                println!("An agent runs on this machine already: the enrolment key was not used.");
            }
            return Ok(Running::of_others(link));
        }
        if Link::is_kept_from_us() {
            bail!(
                "the agent runs on this machine as a service, and this user may not use its app: {MAY_USE}"
            );
        }
        let shutdown = CancellationToken::new();
        let mut task = tokio::spawn({
            let (flags, shutdown) = (flags.clone(), shutdown.clone());
            async move {
                let ended = assembly::set_up_and_run(&flags, shutdown).await;
                // Another version takes over this process, and with it the window.
                update::or_go_back(|| ended)?.proceed()
            }
        });
        let until = Instant::now() + START_TIMEOUT;
        let mut look = tokio::time::interval(LOOK_EVERY);
        while Instant::now() < until {
            tokio::select! {
                ended = &mut task => return self.outrun(ended.context("the agent stopped at once")?).await,
                _ = look.tick() => {}
            }
            if let Some(link) = self.find().await.filter(|link| link.pid == std::process::id()) {
                return Ok(Running { link, own: Some(Own { shutdown, task }) });
            }
        }
        shutdown.cancel();
        task.await.context("the agent stopped at once")??;
        bail!("the agent did not answer within {} s of its start", START_TIMEOUT.as_secs())
    }

    /// Ours could not start. If that is because another one was quicker, that is the one to show.
    async fn outrun(&self, ended: anyhow::Result<()>) -> anyhow::Result<Running> {
        let until = Instant::now() + START_TIMEOUT;
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            // First, so that who held it a moment ago is looked for once more.
            let is_taken = DataFolder::is_taken(&self.data);
            if let Some(link) = self.find().await {
                return Ok(Running::of_others(link));
            }
            if !is_taken || Instant::now() >= until {
                break;
            }
            look.tick().await;
        }
        Err(ended.err().unwrap_or_else(|| anyhow!("the agent stopped at once")))
    }
}

impl Running {
    /// One that was not started here.
    pub(super) fn of_others(link: Link) -> Running {
        Running { link, own: None }
    }

    /// Whether it was started here, and so ends with this.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Why the agent that was started here ended by itself.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let Some(own) = &mut self.own else { return future::pending().await };
        let ended = (&mut own.task).await;
        self.own = None;
        match ended {
            Ok(Ok(())) => anyhow!("the agent stopped"),
            Ok(Err(error)) => error,
            Err(error) => anyhow!("the agent stopped: {error}"),
        }
    }

    /// Stops what was started here; anybody else's agent goes on.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Some(own) = self.own else { return Ok(()) };
        own.shutdown.cancel();
        own.task.await.context("the agent broke off")?
    }
}
