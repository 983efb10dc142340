//! One run of the owner's program, below its guard.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use pictor_ground::process;
use tokio::process::{Child, ChildStdin, Command};

use super::{Program, log::Log};

/// Dropping it ends the program too, as the agent's own end does.
#[derive(Debug)]
pub(super) struct Process {
    guard: Child,
    /// Closing it is how the guard is told.
    line: Option<ChildStdin>,
}

impl Process {
    pub(super) fn start(agent: &Path, program: &Program, log: &Arc<Log>) -> io::Result<Process> {
        let (output, printed) = io::pipe()?;
        let mut command = Command::new(agent);
        command
            .args(["idle-guard", "--"])
            .args(&program.words)
            .stdin(Stdio::piped())
            .stdout(printed.try_clone()?)
            .stderr(printed);
        match &program.only_gpu {
            Some(uuid) => command.env("CUDA_VISIBLE_DEVICES", uuid),
            // Left to itself, CUDA begins with the fastest one.
            None => command.env_remove("CUDA_VISIBLE_DEVICES").env("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        };
        process::set_apart(&mut command);
        let mut guard = command.spawn()?;
        // Our own ends of the output; while they are open it does not end.
        drop(command);
        let line = guard.stdin.take();
        let log = Arc::clone(log);
        thread::Builder::new().name("idle-log".to_owned()).spawn(move || log.follow(output))?;
        Ok(Process { guard, line })
    }

    /// Asks it to end.
    pub(super) fn stop(&mut self) {
        self.line = None;
    }

    /// Waits until it and all that it started are gone; how it ended.
    pub(super) async fn ended(&mut self) -> String {
        match self.guard.wait().await {
            Ok(status) => said(status),
            Err(error) => format!("it cannot be waited for: {error}"),
        }
    }
}

fn said(status: ExitStatus) -> String {
    match (status.code(), process::signal_of(status)) {
        (Some(_), Some(signal)) => format!("ended by signal {signal}"),
        (Some(code), None) => format!("exit code {code}"),
        (None, signal) => format!("its guard was ended by signal {}", signal.unwrap_or_default()),
    }
}
