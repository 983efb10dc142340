//! A real agent process on free ports, and how to wait for what it does.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pictor-agent");
pub(crate) const TOKEN: &str = "test-token";

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Looks until `found` has something, or fails the test.
pub(crate) async fn wait_for<T>(what: &str, found: impl AsyncFnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, found).await
}

pub(crate) async fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut found: impl AsyncFnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
    }
}

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
    child: Child,
    pub(crate) folder: PathBuf,
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
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = command(folder)
            .arg("run")
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(&config_path)
            .arg("--data")
            .arg(folder.join("data"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut agent = Agent { child, folder: folder.to_owned(), address: ([127, 0, 0, 1], 0).into() };
        agent.address = wait_for("the agent's address", async || {
            let log = fs::read_to_string(folder.join("log")).unwrap();
            let (_, rest) = log.split_once("serving http://")?;
            rest.split_once("/metrics")?.0.parse().ok()
        })
        .await;
        agent
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
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
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        wait_for("the agent's end", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client() -> reqwest::Client {
    // The second test of a process finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
