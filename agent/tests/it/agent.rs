//! A real agent process on free ports, and how to wait for what it does.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, ExitStatus, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use pictor_processes::{Process, until};
use rustix::process::Signal;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pictor-agent");
pub(crate) const TOKEN: &str = "test-token";

/// A config file's text for a worker of this registry.
pub(crate) fn config_text(registry: &str) -> String {
    format!(
        "registry = \"{registry}\"\nworker_id = \"wrk_019a0000000070008000000000000000\"\n\
         worker_name = \"test\"\ntoken = \"{TOKEN}\"\n"
    )
}

/// A registry address where nobody listens. A port that was free a moment ago may be another test's now; this one is
/// never given to who asks for any.
pub(crate) fn nobody() -> String {
    "http://127.0.0.1:1".to_owned()
}

/// The agent with nothing of this machine's own environment.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder);
    command
}

pub(crate) fn run_to_end(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A running agent; killed with its test.
pub(crate) struct Agent {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Agent {
    /// Starts `run` with a config file of this text and waits until it serves.
    pub(crate) async fn start(folder: &Path, config: &str) -> Agent {
        Self::start_with(folder, config, &[]).await
    }

    pub(crate) async fn start_with(folder: &Path, config: &str, arguments: &[&str]) -> Agent {
        let config_path = folder.join("worker.toml");
        fs::write(&config_path, config).unwrap();
        let mut command = command(folder);
        command.arg("run").args(["--listen", "127.0.0.1:0", "--config"]).arg(&config_path);
        command.arg("--data").arg(folder.join("data")).args(arguments);
        // A log for each start.
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let name = format!("agent-{}", STARTS.fetch_add(1, Ordering::Relaxed));
        let process = Process::start(&name, folder, command);
        let address = until("the agent's address", async || {
            assert!(process.exit_status().is_none(), "the agent ended: {}", process.log());
            let log = process.log();
            let (_, rest) = log.split_once("serving http://")?;
            rest.split_once("/metrics")?.0.parse().ok()
        })
        .await;
        Agent { process, address }
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log has this.
    pub(crate) async fn says(&self, words: &str) {
        self.process.says(words).await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        client().get(self.url(path)).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// The value of one series, as it stands in the exposition.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").await;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// As a power cut would.
    pub(crate) async fn kill(&self) {
        self.process.signal(Signal::KILL);
        self.ended().await;
    }

    pub(crate) async fn ended(&self) -> ExitStatus {
        self.process.ended().await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its registry may be of this very thread, so that nobody would hear its goodbye.
        self.process.signal(Signal::KILL);
    }
}

pub(crate) fn client() -> reqwest::Client {
    // The second test of a process finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
