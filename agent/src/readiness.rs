//! Whether this machine can take tasks: as the findings of a look at it have it. Looks again every minute until it can.

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use pictor_blender::{Installed, Places, sandbox};
use pictor_protocol::{BlenderInstall, Check};
use tokio::sync::watch;

use crate::{
    disk::Disk,
    finding::Finding,
    findings::{self, Refusal},
    probe::{self, Inventory, Probe, Tools},
};

const LOOK_AGAIN: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub enum Verdict {
    /// Not yet known.
    Probing,
    Ready(Arc<Tools>),
    Refused(Refusal),
}

/// The state of this machine, as last probed.
#[derive(Debug, Clone)]
pub struct Probed {
    pub blender: Vec<BlenderInstall>,
    pub verdict: Verdict,
}

/// What is looked at.
pub struct Sources {
    pub probe: Probe,
    /// The owner may name another Blender than the probe has.
    pub places: watch::Sender<Places>,
    /// What the slots were made of.
    pub gpus: Inventory,
}

/// Shared by those who ask for tasks, run them, and report.
#[derive(Debug)]
pub struct Readiness {
    state: watch::Sender<Probed>,
}

impl Readiness {
    pub fn new() -> Readiness {
        Readiness { state: watch::Sender::new(Probed { blender: Vec::new(), verdict: Verdict::Probing }) }
    }

    pub fn subscribe(&self) -> watch::Receiver<Probed> {
        self.state.subscribe()
    }

    pub fn probed(&self) -> Probed {
        self.state.borrow().clone()
    }

    /// This machine cannot render at present, as a task showed. The next look may find otherwise.
    pub fn fault(&self, check: Check, reason: String) {
        tracing::error!("taking no tasks for a minute: {reason}");
        self.state.send_modify(|probed| probed.verdict = Verdict::Refused(Refusal { check, reason }));
    }

    /// A last look before a task is asked for: the one thing that gets worse by itself.
    pub fn has_room(&self, data: &Path) -> bool {
        let shortage = Disk::look(data).shortage();
        let has_room = shortage.is_none();
        if let Some(shortage) = shortage {
            self.fault(Check::Disk, shortage);
        }
        has_room
    }

    /// Looks until ready, again a minute after every fault, and when there is another place to look. Runs for ever.
    pub async fn watch(&self, sources: &Sources) -> Infallible {
        let mut state = self.state.subscribe();
        let mut places = sources.places.subscribe();
        let mut last_reason = None;
        loop {
            let probe = Probe { places: places.borrow_and_update().clone(), ..sources.probe.clone() };
            let probed = look(&probe, &sources.gpus).await;
            match &probed.verdict {
                Verdict::Ready(tools) => {
                    last_reason = None;
                    say_ready(tools);
                }
                Verdict::Refused(Refusal { reason, .. }) if last_reason.as_ref() != Some(reason) => {
                    tracing::error!("taking no tasks: {reason}");
                    last_reason = Some(reason.clone());
                }
                Verdict::Refused(_) | Verdict::Probing => {}
            }
            let verdict = probed.verdict.clone();
            self.state.send_replace(probed);
            let again = async {
                if let Verdict::Ready(tools) = verdict {
                    self.until_refused(&mut state, &tools.blender).await;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            };
            // Waiting fails only when the sender is gone, which is ours.
            tokio::select! { () = again => {}, _ = places.changed() => {} }
        }
    }

    /// Until somebody says what is wrong, or Blender is not where it was.
    async fn until_refused(&self, state: &mut watch::Receiver<Probed>, blender: &Installed) {
        let gone = async {
            loop {
                tokio::time::sleep(GLANCE).await;
                if let Err(gone) = probe::still_there(blender) {
                    break findings::gone(&gone);
                }
            }
        };
        tokio::select! {
            // Fails only when the sender is gone, which is ours.
            _ = state.wait_for(|probed| matches!(probed.verdict, Verdict::Refused(_))) => {}
            Finding { check, found, .. } = gone => self.fault(check, found),
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness::new()
    }
}

async fn look(probe: &Probe, gpus: &Inventory) -> Probed {
    let look = probe.machine(|_| ()).await;
    let install = |Installed { version, path }: &Installed| BlenderInstall {
        version: version.clone(),
        path: path.display().to_string(),
    };
    let blender = look.facts.blender.installed.iter().map(install).collect();
    let verdict = match (findings::refusal(&look.facts, gpus), look.tools) {
        (Some(refusal), _) => Verdict::Refused(refusal),
        (None, Some(tools)) => Verdict::Ready(Arc::new(tools)),
        // There are tools where neither Blender nor sandbox is refused.
        (None, None) => Verdict::Probing,
    };
    Probed { blender, verdict }
}

fn say_ready(Tools { blender: Installed { version, path }, sandbox }: &Tools) {
    let mode = sandbox.mode();
    tracing::info!("ready to render with Blender {version} ({}), sandbox {mode:?}", path.display());
    if mode == sandbox::Mode::Off {
        tracing::warn!("the sandbox is off: strangers' scenes run with this user's rights");
    }
}
