//! The guard as the parent of orphans, which ends the program's group gently first.

use std::{
    ffi::OsString,
    fs,
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use pictor_ground::process::OF_SIGNAL;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, test_kill_process_group, wait,
};
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{Instant, timeout_at},
};

use super::{CANNOT_START, GRACE, GuardArgs};

/// Killed processes are gone at once, unless a driver holds them.
const KILLED_PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// Runs the program until it ends or the agent wants it to. Its name is looked up as the agent's own would be.
pub fn guard(args: &GuardArgs, _: Option<&Path>) -> anyhow::Result<ExitCode> {
    if let Some(guard) = args.of {
        return become_program(guard, &args.program);
    }
    // What the program leaves behind becomes our child, whatever group it put itself into.
    set_child_subreaper(Some(getpid())).context("cannot become the parent of orphans")?;
    // One thread: the program dies with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(&args.program))
}

/// The last step before the program, which is bound to its guard's life.
fn become_program(guard: i32, program: &[OsString]) -> anyhow::Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be bound to the guard")?;
    if getppid().map(Pid::as_raw_pid) != Some(guard) {
        bail!("the guard is gone already");
    }
    let [name, arguments @ ..] = program else { bail!("there is no program to start") };
    let error = std::process::Command::new(name).args(arguments).exec();
    eprintln!("cannot start {}: {error}", name.display());
    Ok(ExitCode::from(CANNOT_START))
}

async fn watch(program: &[OsString]) -> anyhow::Result<ExitCode> {
    let agent = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)
        .context("for the agent's own use: it has no pipe to the agent")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["idle-guard", "--of", &getpid().as_raw_pid().to_string(), "--"])
        .args(program)
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start")?;
    let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let group = group.context("it ended at once")?;
    let ended = tokio::select! {
        status = child.wait() => Some(status?),
        () = is_gone(&agent) => None,
        _ = terminate.recv() => None,
    };
    let status = end(&mut child, group, ended).await?;
    Ok(ExitCode::from(code(status)))
}

/// Returns when nobody holds the other end any more.
async fn is_gone(agent: &pipe::Receiver) {
    let mut byte = [0];
    while agent.readable().await.is_ok() {
        match agent.try_read(&mut byte) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// Ends the group, gently first, and then all that got out of it.
async fn end(child: &mut Child, group: Pid, ended: Option<ExitStatus>) -> anyhow::Result<ExitStatus> {
    let until = Instant::now() + GRACE;
    // Fails when nobody is left in it.
    let _ = kill_process_group(group, Signal::TERM);
    let status = match ended {
        Some(status) => status,
        None => match timeout_at(until, child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                let _ = kill_process_group(group, Signal::KILL);
                child.wait().await?
            }
        },
    };
    // From here on every child is an orphan of the program's.
    while test_kill_process_group(group).is_ok() {
        reap();
        if Instant::now() >= until {
            let _ = kill_process_group(group, Signal::KILL);
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let until = Instant::now() + KILLED_PATIENCE;
    while reap() && Instant::now() < until {
        for orphan in children() {
            let _ = kill_process(orphan, Signal::KILL);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(status)
}

/// Takes note of ended children; whether there are others.
fn reap() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    };
    lists.flat_map(pids).collect()
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| OF_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
