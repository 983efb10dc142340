//! The processes of one Blender and our ends of its pipes.

use std::{
    io,
    process::{ExitStatus, Stdio},
};

use pictor_ground::process;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// Dropping it kills Blender and everything it started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) pid: u32,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    ended: bool,
}

impl Process {
    pub(super) fn start(command: std::process::Command) -> io::Result<Process> {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::set_apart(&mut command);
        let mut child = command.kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Process { child, pid, stdin, stdout, stderr, ended: false })
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.ended = true;
        status
    }

    /// With everything it started: bubblewrap takes its process namespace with it, a job object what is in it.
    pub(super) fn kill(&mut self) {
        if !self.ended
            && let Err(error) = process::kill(&mut self.child)
        {
            tracing::debug!(%error, "Blender is gone already");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
