//! The agent behind the window: found or started, watched, paused, started anew with another config file, stopped.

use std::{path::PathBuf, time::Duration};

use pictor_protocol::DesiredState;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    app::link::Link,
    config::RunFlags,
    desktop::{
        agent::{Finder, Running},
        opened::Opened,
    },
};

/// How soon the tray knows of a pause from elsewhere, and the window of an agent that was started anew.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the window asks.
#[derive(Debug)]
pub(super) enum Order {
    /// Its owner has said yes.
    Import(Box<Opened>),
    Desire(DesiredState),
}

/// What the window is told.
#[derive(Debug)]
pub(super) enum News {
    Serves {
        link: Link,
        is_own: bool,
    },
    Desired(DesiredState),
    Silent,
    /// There is no agent any more, and why.
    Failed(String),
    /// The file of the command line, when it is no matter of course to import it.
    Open(PathBuf),
    Told(String),
    Stopped,
}

pub(super) struct Host<T> {
    pub(super) flags: RunFlags,
    pub(super) finder: Finder,
    pub(super) tell: T,
    /// Ends it, also while an agent starts.
    pub(super) quit: CancellationToken,
}

impl<T: Fn(News)> Host<T> {
    pub(super) async fn run(self, file: Option<PathBuf>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let file = self.install_first(file).await;
        let mut agent = self.meet().await;
        if let Some(file) = file {
            (self.tell)(News::Open(file));
        }
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Import(opened)) => agent = self.import(agent, &opened).await,
                    Some(Order::Desire(desired)) => self.desire(agent.as_ref(), desired).await,
                    None => break,
                },
                () = self.quit.cancelled() => break,
                error = ended(&mut agent) => {
                    agent = None;
                    (self.tell)(News::Failed(format!("{error:#}")));
                }
                _ = look.tick() => self.look(&mut agent).await,
            }
        }
        self.stop(agent).await;
        (self.tell)(News::Stopped);
    }

    /// A machine that is no worker becomes the file's without a question; what is left is to be asked about.
    async fn install_first(&self, file: Option<PathBuf>) -> Option<PathBuf> {
        let file = file?;
        if self.finder.find().await.is_some() {
            return Some(file);
        }
        match Opened::read(&file, &self.flags) {
            Ok(opened) if opened.question().is_none() => {
                if let Err(error) = opened.install() {
                    (self.tell)(News::Told(format!("{error:#}")));
                }
                None
            }
            // The window says what is wrong with it.
            _ => Some(file),
        }
    }

    async fn meet(&self) -> Option<Running> {
        let met = tokio::select! {
            met = self.finder.meet(&self.flags) => met,
            // Nothing renders yet, so nothing is lost.
            () = self.quit.cancelled() => return None,
        };
        match met {
            Ok(agent) => {
                (self.tell)(News::Serves { link: agent.link.clone(), is_own: agent.is_own() });
                Some(agent)
            }
            Err(error) => {
                tracing::error!("{error:#}");
                (self.tell)(News::Failed(format!("{error:#}")));
                None
            }
        }
    }

    async fn import(&self, agent: Option<Running>, opened: &Opened) -> Option<Running> {
        if agent.as_ref().is_some_and(|agent| !agent.is_own()) {
            if let Err(error) = opened.refuse_for_other() {
                (self.tell)(News::Told(format!("{error:#}")));
            }
            return agent;
        }
        if let Err(error) = opened.install() {
            (self.tell)(News::Told(format!("{error:#}")));
            return agent;
        }
        self.stop(agent).await;
        self.meet().await
    }

    async fn desire(&self, agent: Option<&Running>, desired: DesiredState) {
        let Some(agent) = agent else { return };
        match self.finder.set_desired(&agent.link, desired).await {
            Ok(()) => (self.tell)(News::Desired(desired)),
            Err(error) => (self.tell)(News::Told(format!("that did not reach the agent: {error:#}"))),
        }
    }

    /// Somebody else's agent may have been started anew, with another key or at another address; the own one moves to
    /// where its first config file says.
    async fn look(&self, agent: &mut Option<Running>) {
        if let Some(agent) = agent
            && let Ok(status) = self.finder.status(&agent.link).await
        {
            return (self.tell)(status.map_or(News::Silent, |status| News::Desired(status.desired_here)));
        }
        let Some(link) = self.finder.find().await else {
            if agent.is_some() {
                (self.tell)(News::Silent);
            }
            return;
        };
        let is_own = match agent {
            Some(own) if own.is_own() => {
                own.link = link.clone();
                true
            }
            _ => {
                *agent = Some(Running::of_others(link.clone()));
                false
            }
        };
        (self.tell)(News::Serves { link, is_own });
    }

    async fn stop(&self, agent: Option<Running>) {
        let Some(agent) = agent else { return };
        if let Err(error) = agent.stop().await {
            tracing::error!("{error:#}");
        }
    }
}

async fn ended(agent: &mut Option<Running>) -> anyhow::Error {
    match agent {
        Some(agent) => agent.ended().await,
        None => std::future::pending().await,
    }
}
