//! What has to be done besides where no namespaces can be made: the same process tree, network and files as the host's,
//! and perhaps its user. Landlock gives files, [`super::syscalls`] refuses the rest; here is what both are told.
//!
//! The confined program is one process and stays one: so it can leave nobody behind, and ends with the host.

use std::{
    fs::{self, File},
    io,
    net::UdpSocket,
    os::{
        fd::{AsRawFd, BorrowedFd, IntoRawFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use landlock::{ABI, CompatLevel, Compatible, Ruleset};
use rustix::{
    fs::OFlags,
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    process::{Pid, Signal, getppid, set_parent_process_death_signal, test_kill_process},
};

use super::rules::handle;

/// The confined program finds what it is given open under these numbers, so that it needs to walk no folder above.
pub(super) const SCENE: &str = "/proc/self/fd/100";
pub(super) const DRIVER: &str = "/proc/self/fd/101";
pub(super) const OUTPUT: &str = "/proc/self/fd/102";
const FIRST_HANDED_ON: i32 = 100;
const HANDED_ON: i32 = 3;

/// Within the output folder, so that it counts against the same limit.
pub(super) const SCRATCH: &str = ".scratch";
pub(super) const SCRATCH_INSIDE: &str = "/proc/self/fd/102/.scratch";

/// Programs and libraries, where `/lib` is not a link to `/usr/lib` too.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// What libraries ask the kernel about the machine and about themselves, and no other process.
const PROC: [&str; 8] = [
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/devices",
    "/proc/driver/nvidia",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/mmap_min_addr",
];

const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

pub(super) fn readable<'a>() -> impl Iterator<Item = &'a Path> {
    SYSTEM.into_iter().chain(super::ETC).chain(PROC).chain([SCENE, DRIVER]).map(Path::new)
}

pub(super) fn devices(more: &[PathBuf]) -> impl Iterator<Item = &Path> {
    DEVICES.into_iter().map(Path::new).chain(more.iter().map(PathBuf::as_path))
}

/// Which Landlock this kernel has, as far as we know of them.
pub(super) fn landlock_abi() -> Option<i32> {
    let has = |version: &i32| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        handle(ruleset, ABI::from(*version)).is_ok()
    };
    (1..=super::LANDLOCK_ABI).rev().find(has)
}

/// Opens files and folders under numbers that the confined program is told.
pub(super) fn hand_on(paths: &[PathBuf]) -> anyhow::Result<()> {
    let only_path = i32::try_from(OFlags::PATH.bits())?;
    for (path, wanted) in paths.iter().zip(FIRST_HANDED_ON..FIRST_HANDED_ON + HANDED_ON) {
        let opened = File::options().read(true).custom_flags(only_path).open(path);
        let opened = opened.with_context(|| format!("cannot open {}", path.display()))?;
        let held = fcntl_dupfd_cloexec(&opened, wanted)?;
        ensure!(held.as_raw_fd() == wanted, "the number {wanted} is taken by an open file");
        fcntl_setfd(&held, FdFlags::empty())?;
        // Open until the confined program ends.
        let _ = held.into_raw_fd();
    }
    Ok(())
}

/// Whatever else is open was left open by whoever started the host, and would be open to a stranger.
#[expect(unsafe_code, reason = "names open files by their numbers")]
pub(super) fn keep_what_is_handed_on() -> anyhow::Result<()> {
    for entry in fs::read_dir("/proc/self/fd").context("cannot list its open files")? {
        let name = entry?.file_name();
        let number: i32 = name.to_string_lossy().parse()?;
        if number <= 2 || (FIRST_HANDED_ON..FIRST_HANDED_ON + HANDED_ON).contains(&number) {
            continue;
        }
        // SAFETY: it was open a moment ago, nothing else runs in this process, and it is neither closed nor used.
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(open, FdFlags::CLOEXEC)?;
    }
    Ok(())
}

/// Has the kernel end this process with the host, or with the thread of it that started us.
pub(super) fn end_with(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    ensure!(getppid() == pid(parent), "the agent has ended");
    Ok(())
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// What the rules and filters should have done, tried out.
pub(super) fn check(parent: u32) -> anyhow::Result<()> {
    for folder in ["/", "/proc", "/etc", "/dev", "/tmp"] {
        ensure!(fs::read_dir(folder).is_err(), "it can list {folder}");
    }
    ensure!(fs::metadata(OUTPUT).is_ok_and(|output| output.is_dir()), "there is no output folder");
    refused("a network socket", UdpSocket::bind("127.0.0.1:0"))?;
    refused("a call to a local socket", UnixStream::connect("/run/socket"))?;
    refused("another process", Command::new("/usr/bin/true").spawn())?;
    let parent = pid(parent).context("no process")?;
    refused("a signal to the agent", test_kill_process(parent).map_err(io::Error::from))
}

/// Refused it has to be, not failed in some other way.
fn refused<T>(what: &str, attempt: io::Result<T>) -> anyhow::Result<()> {
    match attempt {
        Ok(_) => bail!("it is given {what}"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => bail!("it is not refused {what}: {error}"),
    }
}
