//! The step inside: gives up what is left of our rights, checks that it is gone, becomes Blender.
//!
//! It runs as a process of its own, see [`crate::inner`]: within bubblewrap's mounts, because bubblewrap sets no limits and no
//! filter of its own, or by itself where there can be no mounts.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetCreatedAttr, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, geteuid, getgroups, getuid, setrlimit};

use super::{
    super::STEP, OUTPUT_INSIDE, READABLE_INSIDE, WRITABLE_INSIDE, rules, syscalls,
    without_namespaces as without,
};

/// Not for people.
#[derive(Debug, clap::Parser)]
#[command(name = STEP)]
pub(in crate::sandbox) struct InnerArgs {
    /// Become this user and group first; only root can.
    #[arg(long)]
    identity: Option<u32>,
    /// Processes and threads.
    #[arg(long)]
    processes: u64,
    /// Bytes of one file.
    #[arg(long)]
    file_bytes: u64,
    /// Readable besides the system's own files.
    #[arg(long)]
    read: Vec<PathBuf>,
    /// Device nodes to use, where there is no `/dev` of our own.
    #[arg(long)]
    device: Vec<PathBuf>,
    /// There are no namespaces around. This is the process with whose end ours comes.
    #[arg(long)]
    without_namespaces_under: Option<u32>,
    /// To be handed on open, in this order: who we become may not be able to walk there.
    #[arg(long)]
    open: Vec<PathBuf>,
    /// As if the kernel's Landlock were no newer.
    #[arg(long, default_value_t = super::LANDLOCK_ABI)]
    landlock_abi: i32,
    /// What to become, with its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Never returns but with an error. Call it on the first thread, before any other is started.
pub(in crate::sandbox) fn run_inner(args: InnerArgs) -> anyhow::Result<Infallible> {
    // The first to go when memory is short. Best effort: it protects others, not the sandbox.
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "1000") {
        eprintln!("sandbox: cannot offer itself to the OOM killer: {error}");
    }
    without::hand_on(&args.open)?;
    match args.identity {
        Some(identity) if geteuid().is_root() => become_user(identity, args),
        Some(_) => bail!("only root can take another identity"),
        None => confine(args),
    }
}

/// Starts over as an unprivileged user: executing as another user drops groups and capabilities too,
/// and limits set after that count against that user alone.
fn become_user(identity: u32, args: InnerArgs) -> anyhow::Result<Infallible> {
    ensure!(identity != 0, "the sandbox does not run as root");
    let mut again = Command::new("/proc/self/exe");
    again.arg(STEP);
    again.args(["--processes", &args.processes.to_string(), "--file-bytes", &args.file_bytes.to_string()]);
    for path in args.read {
        again.arg("--read").arg(path);
    }
    for path in args.device {
        again.arg("--device").arg(path);
    }
    if let Some(parent) = args.without_namespaces_under {
        again.args(["--without-namespaces-under", &parent.to_string()]);
    }
    again.args(["--landlock-abi", &args.landlock_abi.to_string()]);
    again.arg("--").args(args.command).gid(identity).uid(identity);
    Err(again.exec()).with_context(|| format!("cannot continue as user {identity}"))
}

fn confine(args: InnerArgs) -> anyhow::Result<Infallible> {
    ensure!(!getuid().is_root() && !geteuid().is_root(), "the sandbox does not run as root");
    let parent = args.without_namespaces_under;
    if let Some(parent) = parent {
        without::end_with(parent)?;
        without::keep_what_is_handed_on()?;
    }
    limit(Resource::Nproc, args.processes)?;
    limit(Resource::Fsize, args.file_bytes)?;
    limit(Resource::Core, 0)?;
    restrict_files(&args)?;
    syscalls::refuse()?;
    check_confined()?;
    match parent {
        Some(parent) => {
            syscalls::refuse_without_namespaces(std::process::id())?;
            without::check(parent)?;
        }
        None => check_namespaces()?,
    }
    let mut command = args.command.into_iter();
    let program = command.next().context("nothing to run")?;
    Err(Command::new(&program).args(command).exec())
        .with_context(|| format!("cannot run {}", Path::new(&program).display()))
}

fn limit(resource: Resource, value: u64) -> anyhow::Result<()> {
    let limits = Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(resource, limits).with_context(|| format!("cannot limit {resource:?} to {value}"))
}

fn restrict_files(args: &InnerArgs) -> anyhow::Result<()> {
    let abi = ABI::from(args.landlock_abi);
    let given = args.read.iter().map(PathBuf::as_path);
    let mut ruleset = Ruleset::default();
    let (readable, writable, nodes): (Vec<&Path>, Vec<&Path>, Vec<&Path>) =
        if args.without_namespaces_under.is_some() {
            ruleset = ruleset.set_compatibility(CompatLevel::HardRequirement);
            ruleset = rules::handle(ruleset, ABI::V1).context("this kernel has no Landlock")?;
            ruleset = ruleset.set_compatibility(CompatLevel::BestEffort);
            let readable = without::readable().chain(given).collect();
            (readable, vec![Path::new(without::OUTPUT)], without::devices(&args.device).collect())
        } else {
            let readable = READABLE_INSIDE.iter().map(Path::new).chain(given).collect();
            (readable, WRITABLE_INSIDE.iter().map(Path::new).collect(), vec![Path::new("/dev")])
        };
    let devices = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let status = rules::handle(ruleset, abi)?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(abi)))?
        .add_rules(path_beneath_rules(nodes, devices & AccessFs::from_all(abi)))?
        .restrict_self()
        .context("cannot restrict files by Landlock")?;
    ensure!(status.no_new_privs, "cannot refuse new privileges");
    Ok(())
}

/// What the steps above should have done, seen from inside.
fn check_confined() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read its own status")?;
    for (field, wanted) in [
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        ensure!(line.map(str::trim) == Some(wanted), "{field} is {line:?}, not {wanted}");
    }
    Ok(())
}

/// What bubblewrap should have done.
fn check_namespaces() -> anyhow::Result<()> {
    // An ordinary user keeps its groups; the user namespace makes nothing of them.
    let groups = getgroups().context("cannot read its own groups")?;
    ensure!(!groups.iter().any(|group| group.is_root()), "still in root's group");
    let interfaces = fs::read_to_string("/proc/net/dev").context("cannot list network interfaces")?;
    let outside =
        interfaces.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() != "lo");
    ensure!(outside.is_none(), "there is a network: {outside:?}");
    ensure!(Path::new(OUTPUT_INSIDE).is_dir(), "there is no output folder");
    Ok(())
}
