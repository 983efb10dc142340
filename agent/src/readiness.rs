//! Whether this machine can take tasks: Blender, sandbox, disk, device. Tried again every minute until it can.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pictor_blender::{Detection, Installed, Places, Sandbox, detect, sandbox};
use pictor_protocol::{BlenderInstall, Check};
use tokio::sync::watch;

use crate::devices::DeviceChoice;

const PROBE_AGAIN: Duration = Duration::from_secs(60);
/// With less, the next scene or frame may not fit.
pub const DISK_FREE_BYTES_MIN: u64 = 256 << 20;

/// What a task needs of this machine.
#[derive(Debug)]
pub struct Tools {
    pub blender: Installed,
    pub sandbox: Sandbox,
}

#[derive(Debug, Clone)]
pub enum Verdict {
    /// Not yet known.
    Probing,
    Ready(Arc<Tools>),
    /// What keeps it, and what to do.
    Refused {
        check: Check,
        reason: String,
    },
}

/// The state of this machine, as last probed.
#[derive(Debug, Clone)]
pub struct Probed {
    pub blender: Vec<BlenderInstall>,
    pub verdict: Verdict,
}

/// What to probe.
#[derive(Debug)]
pub struct Probe {
    /// The owner may name another Blender.
    pub places: watch::Sender<Places>,
    pub sandbox: sandbox::Settings,
    pub device: DeviceChoice,
    pub data: PathBuf,
    /// How many slots there are.
    pub slots: usize,
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

    /// A task showed that this machine cannot render at present. The next probe may find otherwise.
    pub fn fault(&self, check: Check, reason: String) {
        tracing::error!("taking no tasks for a minute: {reason}");
        self.state.send_modify(|probed| probed.verdict = Verdict::Refused { check, reason });
    }

    /// Probes until ready, again a minute after every fault, and when there is another place to look. Runs for ever.
    pub async fn watch(&self, probe: &Probe) -> Infallible {
        let mut state = self.state.subscribe();
        let mut places = probe.places.subscribe();
        let mut last_reason = None;
        loop {
            places.mark_unchanged();
            let probed = probe.run().await;
            match &probed.verdict {
                Verdict::Ready(tools) => {
                    last_reason = None;
                    let Installed { version, path } = &tools.blender;
                    let mode = tools.sandbox.mode();
                    tracing::info!(
                        "ready to render with Blender {version} ({}), sandbox {mode:?}",
                        path.display()
                    );
                    if mode == sandbox::Mode::Off {
                        tracing::warn!("the sandbox is off: strangers' scenes run with this user's rights");
                    }
                }
                Verdict::Refused { reason, .. } if last_reason.as_ref() != Some(reason) => {
                    tracing::error!("taking no tasks: {reason}");
                    last_reason = Some(reason.clone());
                }
                Verdict::Refused { .. } | Verdict::Probing => {}
            }
            let is_ready = matches!(probed.verdict, Verdict::Ready(_));
            self.state.send_replace(probed);
            // Waiting fails only when the sender is gone, and both are ours.
            let again = async {
                if is_ready {
                    let _ = state.wait_for(|probed| matches!(probed.verdict, Verdict::Refused { .. })).await;
                }
                tokio::time::sleep(PROBE_AGAIN).await;
            };
            tokio::select! { () = again => {}, _ = places.changed() => {} }
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness::new()
    }
}

impl Probe {
    async fn run(&self) -> Probed {
        let places = self.places.borrow().clone();
        let detection = detect(&places).await;
        let blender = detection
            .installed
            .iter()
            .map(|found| BlenderInstall {
                version: found.version.clone(),
                path: found.path.display().to_string(),
            })
            .collect();
        let verdict = match self.tools(&places, &detection).await {
            Ok(tools) => Verdict::Ready(Arc::new(tools)),
            Err((check, reason)) => Verdict::Refused { check, reason },
        };
        Probed { blender, verdict }
    }

    async fn tools(&self, places: &Places, detection: &Detection) -> Result<Tools, (Check, String)> {
        let blender = choose(places, detection).map_err(|reason| (Check::Blender, reason))?;
        if self.slots == 0 && self.device == DeviceChoice::Gpu {
            let reason = "NVML shows no GPU, and `device = \"gpu\"` under [blender] allows nothing else: install the \
                          NVIDIA driver, or write `device = \"cpu\"`; then restart the agent";
            return Err((Check::Gpus, reason.to_owned()));
        }
        if let Some(shortage) = disk_shortage(&self.data) {
            return Err((Check::Disk, shortage));
        }
        let sandbox = Sandbox::probe(self.sandbox.clone()).await;
        let sandbox = sandbox.map_err(|error| (Check::Sandbox, error.to_string()))?;
        Ok(Tools { blender, sandbox })
    }
}

/// The configured Blender and no other, or the newest one.
pub fn choose(places: &Places, detection: &Detection) -> Result<Installed, String> {
    if let Some(configured) = &places.configured {
        let path = dunce::canonicalize(configured).unwrap_or_else(|_| configured.clone());
        if let Some(found) = detection.installed.iter().find(|found| found.path == path) {
            return Ok(found.clone());
        }
        let failure =
            detection.failed.iter().find(|failed| failed.path == path || failed.path == *configured);
        let reason = failure.map_or_else(|| format!("{} is no Blender", path.display()), ToString::to_string);
        return Err(format!("{reason}: correct --blender, or `path` under [blender]"));
    }
    detection.installed.first().cloned().ok_or_else(|| {
        let how = if cfg!(windows) {
            "with the installer from blender.org"
        } else {
            "`apt install blender`, or unpack one from blender.org in /opt"
        };
        format!("there is no Blender: install it ({how}), or name one with --blender")
    })
}

/// What to say when the disk under `folder` is nearly full.
pub fn disk_shortage(folder: &Path) -> Option<String> {
    let free = disk_free_bytes(folder)?;
    (free < DISK_FREE_BYTES_MIN).then(|| {
        format!(
            "the disk is full: {} MB are free under {}, at least {} are needed. Make room, or choose another disk with --data",
            free >> 20,
            folder.display(),
            DISK_FREE_BYTES_MIN >> 20
        )
    })
}

/// What an ordinary user can still write there.
pub fn disk_free_bytes(folder: &Path) -> Option<u64> {
    fs4::available_space(folder).ok()
}
