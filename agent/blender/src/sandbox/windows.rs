//! On Windows a scene is bounded, not shut in: a job object limits its processes and ends it with the host, but it runs
//! as the host's user, does whatever that one can, and can leave the job if it means to. So it is the owner's to allow.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio, exit},
};

use anyhow::Context;
use pictor_ground::{
    durable,
    job_object::{self, Bounds},
    process,
};

use super::{Confinement, Device, Limits, Mode, PROBE_TIMEOUT, STEP, SandboxError, Settings, View};

/// Within the output folder, so that it counts against the same limit.
const SCRATCH: &str = ".scratch";

/// Not for people.
#[derive(Debug, clap::Parser)]
#[command(name = STEP)]
pub(super) struct InnerArgs {
    /// Of the program and all that it starts.
    #[arg(long)]
    processes: u32,
    /// What to run, with its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Enters the job object before the program starts, so that nothing of it is ever outside. Ends as the program does;
/// returns only with an error.
pub(super) fn run_inner(args: InnerArgs) -> anyhow::Result<Infallible> {
    let bounds = Bounds { processes: Some(args.processes.saturating_add(1)), lets_go: false };
    job_object::enter(&bounds).context("cannot enter a job object")?;
    let mut command = args.command.into_iter();
    let program = command.next().context("nothing to run")?;
    let status = Command::new(&program).args(command).status();
    let status = status.with_context(|| format!("cannot run {}", Path::new(&program).display()))?;
    exit(status.code().unwrap_or(1))
}

/// What holds on this machine, tried out.
#[derive(Debug, Clone)]
pub struct Sandbox {
    settings: Settings,
}

impl Sandbox {
    /// Runs a program in the job object. A machine whose owner does not allow scenes so takes no tasks.
    pub async fn probe(settings: Settings) -> Result<Sandbox, SandboxError> {
        let sandbox = Sandbox { settings };
        match sandbox.settings.mode {
            Mode::Auto => Err(SandboxError::ContainsLess),
            Mode::JobObject => sandbox.try_out().await.map(|()| sandbox),
            Mode::Off => Ok(sandbox),
        }
    }

    /// What bounds a scene, and never [`Mode::Auto`].
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// The same in words.
    pub fn describe(&self) -> String {
        match self.settings.mode {
            Mode::Off => "it is off: strangers' scenes run with this user's rights, without limits".to_owned(),
            Mode::Auto | Mode::JobObject => {
                "a job object holds: a program was run in it. A scene can read and change what this user can, and use the \
                 network, as this machine's owner has allowed"
                    .to_owned()
            }
        }
    }

    async fn try_out(&self) -> Result<(), SandboxError> {
        let folder = tempfile::tempdir()?;
        let host = &self.settings.host;
        let confinement = Confinement {
            blender: host,
            scene: host,
            driver: host,
            output: folder.path(),
            device: &Device::Cpu,
            slot: 0,
            limits: &Limits::default(),
        };
        let _handover = self.hand_over(&confinement)?;
        let mut command =
            tokio::process::Command::from(self.command(&confinement, host, &["--version".into()]));
        process::set_apart(&mut command);
        let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output =
            tokio::time::timeout(PROBE_TIMEOUT, running).await.map_err(|_| SandboxError::Hangs)??;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let said = text.trim().lines().last().map_or_else(|| output.status.to_string(), str::to_owned);
        Err(SandboxError::Fails { said })
    }

    pub fn view(&self, confinement: &Confinement<'_>) -> View {
        View {
            scene: confinement.scene.into(),
            driver: confinement.driver.into(),
            output: confinement.output.into(),
        }
    }

    /// Makes the scratch folder, until the guard is dropped.
    pub fn hand_over(&self, confinement: &Confinement<'_>) -> io::Result<Handover> {
        let scratch = scratch(confinement);
        fs::create_dir(&scratch)?;
        Ok(Handover { scratch })
    }

    /// `program` with `arguments`, in a job object. The mode `off` confines nothing but the environment.
    pub fn command(&self, confinement: &Confinement<'_>, program: &Path, arguments: &[OsString]) -> Command {
        let mut command = match self.settings.mode {
            Mode::Off => Command::new(program),
            Mode::Auto | Mode::JobObject => {
                let mut command = Command::new(&self.settings.host);
                command.args([STEP, "--processes", &confinement.limits.processes.to_string()]);
                command.arg("--").arg(program);
                command
            }
        };
        // Nothing of the host's environment but what names the system's own folders.
        command.args(arguments).env_clear().envs(self.settings.system.iter().cloned());
        let scratch = scratch(confinement);
        for name in ["TEMP", "TMP", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"] {
            command.env(name, &scratch);
        }
        command.env("CUDA_VISIBLE_DEVICES", confinement.device.gpu_uuid().unwrap_or_default());
        command.current_dir(&scratch);
        command
    }
}

fn scratch(confinement: &Confinement<'_>) -> PathBuf {
    confinement.output.join(SCRATCH)
}

/// Removes what was left in the scratch folder when dropped.
#[derive(Debug)]
#[must_use = "dropping it removes the scratch folder"]
pub struct Handover {
    scratch: PathBuf,
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_folder(&self.scratch)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove a scratch folder");
        }
    }
}
