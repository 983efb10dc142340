//! Real programs: started with a log, stopped with everything they started.

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::poll::{self, PATIENCE};
use crate::tree::{Seen, descendants};

/// How long a process may take to end by itself when its test is over.
const GRACE: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 40;

/// One of this workspace's programs, built beside the test.
pub fn built(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the test's own path");
    let path = test.parent().and_then(Path::parent).expect("target/PROFILE/deps").join(name);
    assert!(path.is_file(), "{} is not built: run scripts/test", path.display());
    path
}

/// A program of the system.
pub fn installed(name: &str) -> PathBuf {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run scripts/test, which installs what the tests need")
    })
}

/// A command in a group of its own that hears no settings of whoever runs the tests, and dies with them.
pub fn command<A: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args).process_group(0).stdin(Stdio::null());
    let is_setting = |name: &str| name.starts_with("PICTOR_") || name.starts_with("OTEL_");
    for (name, _) in env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env("LC_ALL", "C.UTF-8");
    command
}

/// How a program that ran to its end went.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// It failed with this code, and said so in one message that has all these words and no backtrace.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let said = format!("{}{}", self.stdout, self.stderr).to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "'{word}' is not in {self:#?}");
        }
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "{self:#?}");
        assert!(self.stderr.lines().count() <= 8, "more than one message: {self:#?}");
    }
}

/// Runs a command to its end.
pub async fn run(command: Command) -> Outcome {
    let shown = format!("{command:?}");
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.unwrap_or_else(|_| panic!("still runs after {} s: {shown}", PATIENCE.as_secs()));
    let output = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A port of 127.0.0.1 that is free, and that nobody is given before it is used: no other test of this run, and none of
/// those that the system gives to connections and to whoever asks for any.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    // Other runs begin elsewhere.
    let mut ports = (20_000..32_000_u16).cycle().skip(std::process::id() as usize % 12_000);
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("a free port")
}

/// A server that runs beside the test.
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    ended: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
}

impl Process {
    /// Starts it, with what it prints appended to `FOLDER/NAME.log`.
    pub fn start(name: &str, folder: &Path, mut command: Command) -> Process {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        command.stdout(file.try_clone().expect("the log again")).stderr(file);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = Pid::from_child(&child);
        let ended = Arc::new((Mutex::new(None), Condvar::new()));
        let tell = Arc::clone(&ended);
        thread::spawn(move || {
            let status = child.wait().expect("the end of a child");
            *tell.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            tell.1.notify_all();
        });
        Process { name: name.to_owned(), pid, log, ended }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        File::open(&self.log).and_then(|mut file| file.read_to_end(&mut text)).expect("a readable log");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until the log has this, whatever the case of its letters.
    pub async fn says(&self, words: &str) {
        let words = words.to_lowercase();
        poll::until_true(&format!("{} says '{words}'", self.name), async || {
            self.log().to_lowercase().contains(&words)
        })
        .await;
    }

    /// Waits until it answers with a success; fails at once when it ends.
    pub async fn answers(&self, url: &str) {
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        poll::until_true(&format!("{} answers at {url}", self.name), async || {
            assert!(self.exit_status().is_none(), "{} ended: {}", self.name, tail(&self.log()));
            client.get(url).send().await.is_ok_and(|response| response.status().is_success())
        })
        .await;
    }

    /// What runs below it now.
    pub fn descendants(&self) -> Vec<Seen> {
        descendants(self.pid())
    }

    /// SIGTERM, and its exit code.
    pub async fn terminate(self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended().await.code()
    }

    /// SIGKILL, as a power cut would.
    pub async fn kill(self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Waits until it has ended, whoever asked it to.
    pub async fn ended(&self) -> ExitStatus {
        poll::until(&format!("{} ends", self.name), async || self.exit_status()).await
    }

    /// Nothing if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.exit_status().is_none() {
            kill_process(self.pid, signal).expect("a signal to our own process");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the end of {}'s log\n{}", self.name, tail(&self.log()));
        }
        if self.exit_status().is_some() {
            return;
        }
        let below = self.descendants();
        // It may end by itself between the look and the signal.
        let _ = kill_process(self.pid, Signal::TERM);
        let status = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, _) = self
            .ended
            .1
            .wait_timeout_while(status, GRACE, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if status.is_none() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        below.into_iter().for_each(Seen::kill);
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// The repository.
pub fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).expect("the repository")
}
