//! Isolation by the operating system, as far as it goes: [`linux`] shuts a scene in, [`windows`] only bounds it.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(windows)]
use std::ffi::OsString;
use std::{
    io,
    path::{Path, PathBuf},
    process::exit,
    time::Duration,
};

use clap::Parser;

#[cfg(target_os = "linux")]
pub use linux::{Handover, Sandbox};
#[cfg(target_os = "linux")]
use linux::{InnerArgs, run_inner};
#[cfg(windows)]
pub use windows::{Handover, Sandbox};
#[cfg(windows)]
use windows::{InnerArgs, run_inner};

use super::{command::Device, watch::Limits};

/// The newest Landlock that we know how to use.
const LANDLOCK_ABI: i32 = 6;

/// Slots render as this user and the ones after it, when the host is root. No system hands these out.
pub const FIRST_IDENTITY: u32 = 64_990;

const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// The first argument of a process that is the step into the sandbox.
const STEP: &str = "sandbox";

/// The step into the sandbox. Whoever starts sandboxes calls it first in `main`, before any other thread is started: its
/// limits and filters bind the thread that sets them. Returns at once, unless this process was started to be that step;
/// then it becomes what is to run, or ends with what kept it from that.
pub fn inner() {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_none_or(|first| first != STEP) {
        return;
    }
    let Err(error) = run_inner(InnerArgs::parse_from(arguments));
    eprintln!("{STEP}: {error:#}");
    exit(1)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Linux: bubblewrap, or Landlock where the system refuses namespaces. Windows: nothing contains a stranger's scene.
    #[default]
    Auto,
    #[cfg(target_os = "linux")]
    Bubblewrap,
    /// Landlock and seccomp alone, without namespaces.
    #[cfg(target_os = "linux")]
    Landlock,
    /// Limits, and little else. Only if the machine's owner writes it.
    #[cfg(windows)]
    #[serde(rename = "job-object")]
    JobObject,
    /// Only if the machine's owner writes it.
    Off,
}

/// What to isolate with.
#[derive(Debug, Clone)]
pub struct Settings {
    pub mode: Mode,
    /// The program `bwrap`, by path or by name in the standard folders.
    pub bubblewrap: PathBuf,
    /// The executable whose `main` calls [`crate::inner`] first: our own.
    pub host: PathBuf,
    /// See [`FIRST_IDENTITY`].
    pub first_identity: u32,
    /// As if the kernel's Landlock were no newer.
    pub landlock_abi: i32,
    /// Of the host's environment, what names the system's own folders.
    #[cfg(windows)]
    pub system: Vec<(OsString, OsString)>,
}

impl Settings {
    pub fn new(mode: Mode, host: PathBuf) -> Self {
        let (bubblewrap, first_identity) = ("bwrap".into(), FIRST_IDENTITY);
        Self {
            mode,
            bubblewrap,
            host,
            first_identity,
            landlock_abi: LANDLOCK_ABI,
            #[cfg(windows)]
            system: Vec::new(),
        }
    }
}

/// Why this machine cannot isolate, and what its owner can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("bubblewrap is not there ({program}: {source}): install the package `bubblewrap` (0.8 or newer)")]
    NotInstalled { program: String, source: io::Error },
    #[error("{said}: bubblewrap is too old, 0.8 or newer is needed")]
    TooOld { said: String },
    #[error(
        "{said}: this system does not let bubblewrap make namespaces. Ubuntu 24.04: give bwrap an AppArmor profile \
         with `userns,`; older Debian: `sysctl kernel.unprivileged_userns_clone=1`; in a container, and where neither \
         can be: write `mode = \"landlock\"` under `[sandbox]`"
    )]
    NoNamespaces { said: String },
    #[error("{0}; nor can Landlock do without them here: {1}")]
    NeitherHolds(Box<SandboxError>, Box<SandboxError>),
    #[error(
        "this kernel has no Landlock: that came with Linux 5.13, and can be left out of the `lsm=` that the kernel is \
         started with. Start a kernel that has it, or install bubblewrap and write `mode = \"bubblewrap\"` under `[sandbox]`"
    )]
    NoLandlock,
    #[error(
        "{path} can be executed by its owner alone, and the sandbox runs it as an unprivileged user: \
         run `chmod 755 {path}`"
    )]
    NotExecutable { path: String },
    #[error(
        "Windows does not contain a stranger's scene as Linux does: it could read and change what this user can, the \
         worker's token included, and use the network. \
         Render in WSL 2 or Docker instead, or, to allow that on this machine, write `mode = \"job-object\"` under \
         `[sandbox]`"
    )]
    ContainsLess,
    #[error("the sandbox does not hold: {said}")]
    Fails { said: String },
    #[error("the sandbox did not start within {} s", PROBE_TIMEOUT.as_secs())]
    Hangs,
    #[error("cannot prepare the sandbox: {0}")]
    Io(#[from] io::Error),
}

/// What one confined program gets to see.
#[derive(Debug)]
pub struct Confinement<'a> {
    /// The installation to show, besides the system's.
    pub blender: &'a Path,
    pub scene: &'a Path,
    pub driver: &'a Path,
    pub output: &'a Path,
    pub device: &'a Device,
    /// From 0; each has an identity of its own.
    pub slot: u32,
    pub limits: &'a Limits,
}

/// Where the confined program finds what it is given.
#[derive(Debug, Clone)]
pub struct View {
    pub scene: PathBuf,
    pub driver: PathBuf,
    pub output: PathBuf,
}
