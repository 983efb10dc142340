//! The guard as the holder of a job object: nobody here can be asked to end, so all in it end with the guard.

use std::{
    io,
    process::{Command, ExitCode, Stdio, exit},
    thread,
};

use anyhow::{Context, bail};

use super::{CANNOT_START, GuardArgs};
use crate::job_object::{self, Bounds};

/// Runs the program until it ends or the agent wants it to.
pub fn guard(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    job_object::enter(&Bounds::default()).context("cannot hold what the program starts")?;
    let [name, arguments @ ..] = args.program.as_slice() else { bail!("there is no program to start") };
    let mut child = match Command::new(name).args(arguments).stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot start {}: {error}", name.display());
            return Ok(ExitCode::from(CANNOT_START));
        }
    };
    thread::spawn(|| {
        // Ends when nobody holds the other end any more.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        exit(0);
    });
    let status = child.wait().context("cannot wait for the program")?;
    exit(status.code().unwrap_or_default())
}
