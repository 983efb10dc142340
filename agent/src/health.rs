//! Looks every second at what the agent knows of its machine: the same findings for `/metrics`, for the registry and for
//! `pictor-agent doctor`.

mod history;
mod holds;
mod sources;

use std::{convert::Infallible, time::Duration};

use pictor_protocol::Check;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    finding::Finding,
    findings::{self, Moment},
};
use sources::Watcher;

pub use sources::Sources;

const LOOK: Duration = Duration::from_secs(1);

/// The findings of now.
#[derive(Debug, Default)]
pub struct Health(watch::Sender<Vec<Finding>>);

impl Health {
    pub fn subscribe(&self) -> watch::Receiver<Vec<Finding>> {
        self.0.subscribe()
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.0.borrow().clone()
    }

    /// Looks for ever.
    pub async fn watch(&self, sources: Sources) -> Infallible {
        let mut watcher = Watcher::new(sources);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let now: Moment = watcher.look(Instant::now()).await;
            let found = findings::of_moment(&now);
            let Sources { slots, news, .. } = watcher.sources();
            holds::hold(slots, &now);
            self.tell(found, news);
        }
    }

    fn tell(&self, found: Vec<Finding>, news: &Notify) {
        let before = self.findings();
        let was =
            |check: Check| before.iter().find(|finding| finding.check == check && finding.advice.is_some());
        let mut is_news = false;
        for finding in &found {
            match (&finding.advice, was(finding.check)) {
                (Some(_), Some(old)) if old.found == finding.found || !is_about_gpus(finding.check) => {}
                (Some(advice), _) => {
                    is_news = true;
                    tracing::warn!("{}: {}. To do: {advice}", finding.check.as_str(), finding.found);
                }
                (None, Some(_)) => {
                    tracing::info!("{}: well again: {}", finding.check.as_str(), finding.found);
                }
                (None, None) => {}
            }
        }
        if found != before {
            self.0.send_replace(found);
        }
        if is_news {
            news.notify_one();
        }
    }
}

/// One of these can be about several GPUs, and become about another.
fn is_about_gpus(check: Check) -> bool {
    matches!(check, Check::Gpus | Check::GpuFallback | Check::GpuThrottling | Check::GpuXid)
}
