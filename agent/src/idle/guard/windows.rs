//! The guard as the first process of a job object: nobody here can be asked to end, so all the others in it are ended.

use std::{
    io,
    os::windows::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio, exit},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use pictor_ground::job_object::{self, Bounds, Job};

use super::{CANNOT_START, GuardArgs};
use crate::idle::settings::SHELL;

/// Ended processes are gone at once, unless a driver holds them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the program until it ends or the agent wants it to. `system` is the folder of Windows' own programs.
pub fn guard(args: &GuardArgs, system: Option<&Path>) -> anyhow::Result<ExitCode> {
    let job = job_object::enter(&Bounds::default()).context("cannot hold what the program starts")?;
    let mut child = match command(args, system)?.stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot start {}: {error}", args.program[0].display());
            return Ok(ExitCode::from(CANNOT_START));
        }
    };
    thread::spawn(move || {
        // Ends when nobody holds the other end any more.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        end(job, 0)
    });
    let status = child.wait().context("cannot wait for the program")?;
    end(job, status.code().unwrap_or_default())
}

fn command(args: &GuardArgs, system: Option<&Path>) -> anyhow::Result<Command> {
    let [name, arguments @ ..] = args.program.as_slice() else { bail!("there is no program to start") };
    // The shell reads its line as it stands, quotes and all, which is not how arguments are handed over otherwise.
    if let ([shell, run], [given, line]) = (SHELL, arguments)
        && name == shell
        && given == run
    {
        let shell = system.context("SystemRoot is not set")?.join(shell);
        let mut command = Command::new(shell);
        command.raw_arg("/D /S /C \"").raw_arg(line).raw_arg("\"");
        return Ok(command);
    }
    let mut command = Command::new(name);
    command.args(arguments);
    Ok(command)
}

/// The agent takes the guard's end as the end of all of them.
fn end(job: Job, code: i32) -> ! {
    if let Err(error) = job.end_others(PATIENCE) {
        eprintln!("what the program started is not gone: {error}");
    }
    exit(code)
}
