//! What systems do differently about processes: how they are asked to end, ended, told apart and replaced.

use std::{io, path::Path, process::ExitStatus};

use tokio::process::{Child, Command};

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

#[cfg(unix)]
mod unix {
    use std::os::unix::process::{CommandExt, ExitStatusExt};

    use rustix::{
        fs::{Access, access},
        process::{Pid, Signal, kill_process_group},
    };
    use tokio::signal::unix::{self, SignalKind};

    use super::{Child, Command, ExitStatus, Path, io};

    /// Whether a process can go on as another program, with its id.
    pub const CAN_BECOME_ANOTHER: bool = true;

    /// An exit code above it says which signal ended a program below.
    pub const OF_SIGNAL: i32 = 128;

    /// What asks this process to end: a service manager's SIGTERM, a terminal's Ctrl-C.
    #[derive(Debug)]
    pub struct Requests {
        terminate: unix::Signal,
        interrupt: unix::Signal,
    }

    impl Requests {
        pub fn listen() -> io::Result<Requests> {
            let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(unix::signal);
            Ok(Requests { terminate: terminate?, interrupt: interrupt? })
        }

        pub async fn next(&mut self) {
            tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
        }
    }

    /// Keeps the terminal's Ctrl-C from it; what it starts can be ended with it by [`kill`].
    pub fn set_apart(command: &mut Command) {
        command.process_group(0);
    }

    /// Ends one that was set apart, and all that it started and that did not leave its group.
    pub fn kill(child: &mut Child) -> io::Result<()> {
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        pid.map_or(Ok(()), |pid| Ok(kill_process_group(pid, Signal::KILL)?))
    }

    /// Starts a program that may outlive this process, as any may here.
    pub fn start_free(command: &mut std::process::Command) -> io::Result<std::process::Child> {
        command.spawn()
    }

    /// The signal that ended it, if one did; also as shells and bubblewrap report one of the program they ran.
    pub fn signal_of(status: ExitStatus) -> Option<i32> {
        let of_program = || status.code().filter(|code| *code > OF_SIGNAL).map(|code| code - OF_SIGNAL);
        status.signal().or_else(of_program)
    }

    /// Whether this user can run it.
    pub fn can_run(program: &Path) -> bool {
        access(program, Access::EXEC_OK).is_ok()
    }

    /// When this process began, in clock ticks since the machine did, where the system tells. With its id it is told from
    /// every other one, and both stay when it goes on as another program.
    pub fn started_at() -> Option<u64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name, in parentheses, and may have any character; the third one follows it.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(22 - 3)?.parse().ok()
    }

    /// Goes on as another program with the same arguments; returns only when that fails.
    pub fn become_program(program: &Path) -> io::Error {
        std::process::Command::new(program).args(std::env::args_os().skip(1)).exec()
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::process::CommandExt;

    use tokio::signal::windows::{
        CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
    };
    use windows_sys::Win32::System::Threading::{CREATE_BREAKAWAY_FROM_JOB, CREATE_NO_WINDOW};

    use super::{Child, Command, ExitStatus, Path, io};

    /// Whether a process can go on as another program, with its id.
    pub const CAN_BECOME_ANOTHER: bool = false;

    /// What asks this process to end: its console, or the end of the session.
    #[derive(Debug)]
    pub struct Requests {
        interrupt: CtrlC,
        stop: CtrlBreak,
        close: CtrlClose,
        shutdown: CtrlShutdown,
    }

    impl Requests {
        pub fn listen() -> io::Result<Requests> {
            Ok(Requests {
                interrupt: ctrl_c()?,
                stop: ctrl_break()?,
                close: ctrl_close()?,
                shutdown: ctrl_shutdown()?,
            })
        }

        pub async fn next(&mut self) {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.stop.recv() => {}
                _ = self.close.recv() => {}
                _ = self.shutdown.recv() => {}
            }
        }
    }

    /// Gives it a console of its own that nobody sees, so that ours has no Ctrl-C for it.
    pub fn set_apart(command: &mut Command) {
        command.creation_flags(CREATE_NO_WINDOW);
    }

    /// Ends it. What it holds in a job object ends with it.
    pub fn kill(child: &mut Child) -> io::Result<()> {
        child.start_kill()
    }

    /// Starts a program of Windows' own that may outlive this process, whose job object ends all the rest.
    pub fn start_free(command: &mut std::process::Command) -> io::Result<std::process::Child> {
        command.creation_flags(CREATE_BREAKAWAY_FROM_JOB);
        command.spawn().or_else(|_| {
            // The shell around us may hold what it starts, and lets nothing go.
            command.creation_flags(0);
            command.spawn()
        })
    }

    /// There are none.
    pub fn signal_of(_: ExitStatus) -> Option<i32> {
        None
    }

    /// The name tells programs from other files.
    pub fn can_run(program: &Path) -> bool {
        let is = |suffix: &str| program.extension().is_some_and(|found| found.eq_ignore_ascii_case(suffix));
        ["exe", "com", "bat", "cmd"].into_iter().any(is)
    }

    /// Nobody needs to know it where no process goes on as another program.
    pub fn started_at() -> Option<u64> {
        None
    }

    pub fn become_program(_: &Path) -> io::Error {
        io::ErrorKind::Unsupported.into()
    }
}
