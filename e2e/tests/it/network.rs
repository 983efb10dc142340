//! A registry with its accounts, and workers with their agents: real processes in one folder of a test's own.

use std::fs;
use std::path::{Path, PathBuf};

use pictor_processes::{
    Outcome, Process, built, command, free_port, installed, repository, run, until, until_true,
};
use pictor_protocol::{
    Earnings, HistoryRow, Job, JobId, JobStatus, List, Me, Worker, WorkerId, WorkerStatus,
};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What the creator starts with.
pub(crate) const CREDIT_MICROS: i64 = 10_000_000;
/// What a frame costs in every job of these tests, and what its provider gets at the default fee of a fifth.
pub(crate) const FRAME_COST: &str = "0.05";
pub(crate) const FRAME_COST_MICROS: i64 = 50_000;
pub(crate) const FRAME_REWARD_MICROS: i64 = 40_000;

/// Networks that run at the same time. More only take each other's time.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// How the registry is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) lease_seconds: u32,
    pub(crate) heartbeat_seconds: u32,
}

impl Pace {
    /// As it ships.
    pub(crate) const USUAL: Pace = Pace { lease_seconds: 60, heartbeat_seconds: 10 };
    /// So that a lost lease takes no minute.
    pub(crate) const QUICK: Pace = Pace { lease_seconds: 4, heartbeat_seconds: 1 };
}

/// An account as `account create --json` prints it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Account {
    pub(crate) account_id: String,
    pub(crate) token: String,
}

pub(crate) struct Network {
    // Fields are dropped in this order: processes before their folder.
    registry: Option<Process>,
    pub(crate) provider: Account,
    pub(crate) creator: Account,
    pub(crate) url: String,
    pace: Pace,
    /// More of `serve`.
    serve_options: Vec<String>,
    client: reqwest::Client,
    folder: TempDir,
    _permit: SemaphorePermit<'static>,
}

/// A worker whose config file has been downloaded and imported.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: WorkerId,
    pub(crate) config: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) listen: String,
}

impl Network {
    pub(crate) async fn start(pace: Pace) -> Network {
        Network::start_with(pace, &[]).await
    }

    pub(crate) async fn start_with(pace: Pace, serve_options: &[&str]) -> Network {
        let permit = AT_ONCE.acquire().await.expect("never closed");
        installed("bwrap");
        // Another test of this run may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nobody = || Account { account_id: String::new(), token: String::new() };
        let mut network = Network {
            registry: None,
            provider: nobody(),
            creator: nobody(),
            url: format!("http://127.0.0.1:{}", free_port()),
            pace,
            serve_options: serve_options.iter().copied().map(str::to_owned).collect(),
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
            folder: TempDir::with_prefix("pictor-e2e-").expect("a folder"),
            _permit: permit,
        };
        network.start_registry().await;
        network.provider = network.account("provider", &["--role", "provider", "--wallet", WALLET]).await;
        network.creator = network.account("creator", &["--role", "creator"]).await;
        network.on_database(&["account", "credit", "creator", "10"]).await.succeeded();
        network
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn database(&self) -> String {
        format!("sqlite://{}", self.folder().join("registry.db").display())
    }

    /// On the same port and database each time.
    pub(crate) async fn start_registry(&mut self) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        let blobs = format!("file://{}", self.folder().join("blobs").display());
        let (lease, heartbeat) =
            (self.pace.lease_seconds.to_string(), self.pace.heartbeat_seconds.to_string());
        let mut serve = command(&built("pictor-registry"), ["serve", "--listen", &listen]);
        serve.args(["--database", &self.database(), "--blobs", &blobs]);
        serve.args(["--lease-seconds", &lease, "--heartbeat-seconds", &heartbeat]);
        serve.args(&self.serve_options);
        let registry = Process::start("registry", self.folder(), serve);
        registry.answers(&format!("{}/readyz", self.url)).await;
        self.registry = Some(registry);
    }

    pub(crate) fn registry(&mut self) -> Process {
        self.registry.take().expect("a running registry")
    }

    /// `pictor-registry … --database …`
    pub(crate) async fn on_database(&self, args: &[&str]) -> Outcome {
        let mut registry = command(&built("pictor-registry"), args);
        registry.args(["--database", &self.database()]);
        run(registry).await
    }

    pub(crate) async fn account(&self, name: &str, options: &[&str]) -> Account {
        let args = [&["account", "create", name], options, &["--json"]].concat();
        let printed = self.on_database(&args).await.succeeded();
        serde_json::from_str(&printed).expect("an account as JSON")
    }

    /// One more token of this account, for numbers and history alone.
    pub(crate) async fn read_token(&self, account: &str) -> String {
        let printed = self.on_database(&["account", "token", account, "--scope", "read", "--json"]).await;
        let token: Value = serde_json::from_str(&printed.succeeded()).expect("a token as JSON");
        token["token"].as_str().expect("the token").to_owned()
    }

    /// `pictor-registry job …` as the creator.
    pub(crate) fn job_command(&self, args: &[&str]) -> std::process::Command {
        let mut job = command(&built("pictor-registry"), ["job"]);
        job.args(args).args(["--registry", &self.url]).env("PICTOR_TOKEN", &self.creator.token);
        job
    }

    pub(crate) async fn submit(&self, scene: &Path, options: &[&str]) -> JobId {
        let scene = scene.to_str().expect("a path in UTF-8");
        let args = [&["submit", scene, "--cost", FRAME_COST, "--json"], options].concat();
        let printed = run(self.job_command(&args)).await.succeeded();
        let job: Value = serde_json::from_str(&printed).expect("a job as JSON");
        job["id"].as_str().expect("its id").parse().expect("a job's id")
    }

    pub(crate) async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Response {
        let call = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        let call = if let Some(body) = body { call.json(&body) } else { call };
        call.send().await.expect("an answer")
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    async fn get<T: DeserializeOwned>(&self, account: &Account, path: &str) -> T {
        let response = self.call(&account.token, Method::GET, path, None).await;
        let (status, text) = (response.status(), response.text().await.expect("a body"));
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error} in {text}"))
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.get(&self.creator, &format!("/v1/jobs/{id}")).await
    }

    pub(crate) async fn attempts(&self) -> Vec<HistoryRow> {
        self.get::<List<HistoryRow>>(&self.provider, "/v1/attempts").await.items
    }

    pub(crate) async fn earnings(&self) -> Earnings {
        self.get(&self.provider, "/v1/earnings").await
    }

    pub(crate) async fn creators_balance(&self) -> i64 {
        self.get::<Me>(&self.creator, "/v1/me").await.balance_micros.0
    }

    pub(crate) async fn worker(&self, id: WorkerId) -> Worker {
        self.get(&self.provider, &format!("/v1/workers/{id}")).await
    }

    pub(crate) async fn worker_is(&self, id: WorkerId, status: WorkerStatus) {
        until_true(&format!("the worker is {status}"), async || self.worker(id).await.status == status).await;
    }

    /// Waits until the job has completed, and fails if it ends otherwise.
    pub(crate) async fn completed(&self, id: JobId) -> Job {
        until(&format!("{id} completes"), async || {
            let job = self.job(id).await;
            let may_complete = !job.status.has_ended() || job.status == JobStatus::Completed;
            assert!(may_complete, "the job is {}: {:?}", job.status, job.error);
            (job.status == JobStatus::Completed).then_some(job)
        })
        .await
    }

    /// Creates a worker and downloads its config file, as a provider does in the console.
    pub(crate) async fn download(&self, name: &str) -> (WorkerId, PathBuf) {
        let response =
            self.call(&self.provider.token, Method::POST, "/v1/workers", Some(json!({ "name": name }))).await;
        assert!(response.status().is_success(), "{}", response.text().await.unwrap_or_default());
        let worker: Worker = response.json().await.expect("a worker");
        let path = format!("/v1/workers/{}/config", worker.id);
        let response = self.call(&self.provider.token, Method::GET, &path, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        let file = self.folder().join(format!("pictor-worker-{name}.toml"));
        fs::write(&file, response.bytes().await.expect("a config file")).expect("a place for it");
        (worker.id, file)
    }

    /// A worker ready to run: created, downloaded, imported.
    pub(crate) async fn machine(&self, name: &str) -> Machine {
        let (id, file) = self.download(name).await;
        let config = self.folder().join(format!("{name}.toml"));
        let mut import = command(&built("pictor-agent"), ["import"]);
        import.arg(file).arg("--config").arg(&config);
        run(import).await.succeeded();
        // GPUs of whoever runs these tests are not what is tested.
        let text = fs::read_to_string(&config).expect("the imported file");
        fs::write(&config, format!("{text}\n[blender]\ndevice = \"cpu\"\n")).expect("the imported file");
        let data = self.folder().join(format!("{name}-data"));
        Machine { id, config, data, listen: format!("127.0.0.1:{}", free_port()) }
    }

    pub(crate) fn agent(&self, machine: &Machine, options: &[&str]) -> Process {
        Process::start("agent", self.folder(), machine.command("run", options))
    }

    /// An agent that waits for tasks.
    pub(crate) async fn idle_agent(&self, machine: &Machine) -> Process {
        let agent = self.agent(machine, &[]);
        agent.answers(&format!("http://{}/metrics", machine.listen)).await;
        self.worker_is(machine.id, WorkerStatus::Idle).await;
        agent.says("ready to render").await;
        agent
    }

    /// The ledger as Python reads it from the file, checked there against the rules of money.
    pub(crate) async fn ledger(&self) -> Ledger {
        let mut python = command(&installed("python3"), [repository().join("e2e/ledger.py")]);
        python.arg(self.folder().join("registry.db"));
        let printed = run(python).await.succeeded();
        serde_json::from_str(&printed).expect("a ledger as JSON")
    }

    /// So many frames of one job were paid, each once, and nothing else moved. Waits for the job to be wound up.
    pub(crate) async fn paid_frames(&self, frames: i64) {
        let rewards = frames * FRAME_REWARD_MICROS;
        until_true("what was not spent is back", async || {
            self.creators_balance().await == CREDIT_MICROS - frames * FRAME_COST_MICROS
        })
        .await;
        let ledger = self.ledger().await;
        assert_eq!(ledger.moved("reward"), rewards, "{ledger:?}");
        assert_eq!(ledger.moved("fee"), frames * FRAME_COST_MICROS - rewards, "{ledger:?}");
        assert_eq!(ledger.book(&self.provider.account_id), rewards, "{ledger:?}");
        let earnings = self.earnings().await;
        assert_eq!(
            (earnings.balance_micros.0, earnings.earnings_micros.0),
            (rewards, rewards),
            "{earnings:?}"
        );
    }
}

impl Machine {
    /// `pictor-agent SUBCOMMAND` with this machine's places.
    pub(crate) fn command(&self, subcommand: &str, options: &[&str]) -> std::process::Command {
        self.command_of(&built("pictor-agent"), subcommand, options)
    }

    /// The same of another agent's program.
    pub(crate) fn command_of(
        &self,
        program: &Path,
        subcommand: &str,
        options: &[&str],
    ) -> std::process::Command {
        let mut agent = command(program, [subcommand, "--listen", &self.listen]);
        agent.arg("--config").arg(&self.config).arg("--data").arg(&self.data).args(options);
        agent
    }
}

const WALLET: &str = "0x00000000000000000000000000000000c0ffee00";

#[derive(Debug, Deserialize)]
pub(crate) struct Ledger {
    books: std::collections::HashMap<String, i64>,
    /// How many transfers there are of each kind, and what they move together.
    kinds: std::collections::HashMap<String, (i64, i64)>,
}

impl Ledger {
    pub(crate) fn book(&self, name: &str) -> i64 {
        self.books.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn moved(&self, kind: &str) -> i64 {
        self.kinds.get(kind).map_or(0, |(_, micros)| *micros)
    }

    pub(crate) fn transfers(&self, kind: &str) -> i64 {
        self.kinds.get(kind).map_or(0, |(count, _)| *count)
    }
}
