//! A machine whose agent is kept running, and what its registry publishes.
//!
//! The newer version is this very program with another number in it: the number stands in it as text, and one that is as
//! long takes its place. It is signed with the real minisign, by a key of the test's own.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Write,
    path::{Path as FilePath, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{Method, StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, ToSpan};
use pictor_agent::update::TARGET;
use pictor_processes::until;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::io::ReaderStream;

use crate::{
    agent::{PROGRAM, client, config_text},
    registry::{Registry, Shared},
};

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the registry publishes.
#[derive(Default)]
pub(crate) struct Releases {
    pub(crate) files: HashMap<String, Bytes>,
    /// The line breaks after so many bytes of a program, or stays open without another.
    pub(crate) breaks_after: Option<usize>,
    pub(crate) hangs_after: Option<usize>,
    /// How often a program was asked for.
    pub(crate) fetched: usize,
}

pub(crate) async fn serve(State(books): State<Shared>, Path(file): Path<String>) -> Response {
    let mut books = books.lock().unwrap();
    let releases = &mut books.releases;
    let Some(bytes) = releases.files.get(&file).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if file.starts_with("manifest") {
        return bytes.into_response();
    }
    releases.fetched += 1;
    if let Some(length) = releases.breaks_after {
        return bytes.slice(..length).into_response();
    }
    let Some(length) = releases.hangs_after else { return bytes.into_response() };
    let (reader, mut writer) = tokio::io::duplex(64 << 10);
    let first = bytes.slice(..length);
    tokio::spawn(async move {
        // Ends with the reader's death.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &first).await;
        std::future::pending::<()>().await;
    });
    ([(CONTENT_LENGTH, bytes.len())], Body::from_stream(ReaderStream::new(reader))).into_response()
}

/// A version number as long as this one: later by its first figure.
pub(crate) fn later(figure: &str) -> String {
    format!("{figure}{}", &VERSION[1..])
}

pub(crate) fn replaced(program: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let (mut copy, mut at) = (program.to_vec(), 0);
    while let Some(found) = program[at..].iter().position(|byte| *byte == from[0]).map(|found| at + found) {
        let end = found + from.len();
        if program.get(found..end) == Some(from) {
            copy[found..end].copy_from_slice(to);
        }
        at = found + 1;
    }
    assert!(copy != program, "{:?} is not in the program", String::from_utf8_lossy(from));
    copy
}

/// This program, as that version of it.
pub(crate) fn program(version: &str) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let this = || fs::read(PROGRAM).unwrap();
    if version == VERSION {
        return this();
    }
    let mut made = MADE.lock().unwrap();
    made.entry(version.to_owned())
        .or_insert_with(|| replaced(&this(), VERSION.as_bytes(), version.as_bytes()))
        .clone()
}

/// Puts a program where it can be started. By another process: who starts one while this one writes would have it open
/// for writing, for a moment, and nobody can start it then.
pub(crate) fn put_program(to: &FilePath, program: &[u8]) {
    let mut install = Command::new("install");
    let mut install =
        install.args(["-m", "755", "/dev/stdin"]).arg(to).stdin(Stdio::piped()).spawn().unwrap();
    install.stdin.take().unwrap().write_all(program).unwrap();
    assert!(install.wait().unwrap().success());
}

/// A program that passes for that version until it is to run.
pub(crate) fn script(version: &str, run: &str) -> Vec<u8> {
    let said = json!({"version": version, "target": TARGET});
    format!("#!/bin/sh\nif [ \"$1\" = self-check ]; then echo '{said}'; else {run}; fi\n").into_bytes()
}

/// A release, as its maker may have made it.
pub(crate) struct Release {
    pub(crate) manifest: Value,
    pub(crate) program: Vec<u8>,
}

impl Release {
    pub(crate) fn new(version: &str, program: Vec<u8>) -> Release {
        let (now, file) = (Timestamp::now(), format!("pictor-agent-{version}"));
        let entry =
            json!({"file": file, "size_bytes": program.len(), "sha256": hex(&Sha256::digest(&program))});
        let manifest = json!({
            "format": 1, "version": version, "notes": "What is new.", "published_at": now,
            "expires_at": now + 24.hours(), "files": { TARGET: entry },
        });
        Release { manifest, program }
    }

    pub(crate) fn with(mut self, pointer: &str, value: Value) -> Release {
        *self.manifest.pointer_mut(pointer).unwrap() = value;
        self
    }

    pub(crate) fn entry(&self) -> Value {
        self.manifest["files"][TARGET].clone()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A machine with an agent, and its registry.
pub(crate) struct Machine {
    pub(crate) folder: TempDir,
    pub(crate) registry: Registry,
    child: Option<Child>,
    /// How often the agent ended and was started again.
    pub(crate) restarts: usize,
}

impl Machine {
    pub(crate) async fn new() -> Machine {
        let machine = Machine {
            folder: tempfile::tempdir().unwrap(),
            registry: Registry::start().await,
            child: None,
            restarts: 0,
        };
        fs::create_dir(machine.path("bin")).unwrap();
        put_program(&machine.installed(), &program(VERSION));
        machine.new_key("release");
        machine.configure("");
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn installed(&self) -> PathBuf {
        self.path("bin/pictor-agent")
    }

    pub(crate) fn neighbour(&self, suffix: &str) -> PathBuf {
        self.path(&format!("bin/pictor-agent.{suffix}"))
    }

    pub(crate) fn new_key(&self, name: &str) {
        minisign(&[
            "-G",
            "-W",
            "-p",
            &self.text(&format!("{name}.pub")),
            "-s",
            &self.text(&format!("{name}.key")),
        ]);
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The config file, with more under `[update]`.
    pub(crate) fn configure(&self, more: &str) {
        let key = fs::read_to_string(self.path("release.pub")).unwrap();
        let key = key.lines().last().unwrap();
        let config = format!(
            "{}[blender]\ndevice = \"cpu\"\n[update]\npublic_key = \"{key}\"\n{more}",
            config_text(&self.registry.url())
        );
        fs::write(self.path("worker.toml"), config).unwrap();
    }

    pub(crate) fn publish(&self, release: &Release) {
        self.publish_as(release, &release.manifest.to_string(), "release");
    }

    /// The manifest signed with a key, and served as this text.
    pub(crate) fn publish_as(&self, release: &Release, served: &str, key: &str) {
        let manifest = self.path("manifest.json");
        fs::write(&manifest, release.manifest.to_string()).unwrap();
        minisign(&[
            "-S",
            "-W",
            "-s",
            &self.text(&format!("{key}.key")),
            "-m",
            &manifest.display().to_string(),
        ]);
        let signature = fs::read(self.path("manifest.json.minisig")).unwrap();
        let file = release.entry()["file"].as_str().unwrap_or("none").to_owned();
        let mut books = self.registry.books();
        books.releases.files = HashMap::from([
            ("manifest.json".to_owned(), Bytes::from(served.to_owned())),
            ("manifest.json.minisig".to_owned(), Bytes::from(signature)),
            (file, Bytes::from(release.program.clone())),
        ]);
    }

    pub(crate) fn arguments(&self, command: &str) -> Vec<String> {
        let (config, data) = (self.text("worker.toml"), self.text("data"));
        [command, "--config", &config, "--data", &data].map(str::to_owned).to_vec()
    }

    /// As a service manager does: the installed program, whatever it is now.
    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut run = Command::new(self.installed());
        run.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        run.args(self.arguments("run")).args(["--listen", "127.0.0.1:0"]);
        self.child = Some(run.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for it, starting the agent again whenever it ends.
    pub(crate) async fn until<T>(&mut self, what: &str, mut found: impl FnMut(&Machine) -> Option<T>) -> T {
        let this = self;
        until(what, async || {
            if let Some(child) = &mut this.child
                && child.try_wait().unwrap().is_some()
            {
                this.restarts += 1;
                this.start();
            }
            found(this)
        })
        .await
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A page of the worker app, or the one that comes after a press of a button.
    pub(crate) async fn page(&self, method: Method, path: &str) -> String {
        let answer = self.ask(&self.link("key").unwrap(), method, path).await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    async fn ask(&self, key: &str, method: Method, path: &str) -> reqwest::Result<reqwest::Response> {
        let ask = client().request(method, format!("http://{}{path}", self.link("address").unwrap()));
        ask.bearer_auth(key).send().await
    }

    /// Of the worker app's link, once there is one.
    fn link(&self, field: &str) -> Option<String> {
        let link: Value = serde_json::from_slice(&fs::read(self.path("data/app.json")).ok()?).ok()?;
        link[field].as_str().map(str::to_owned)
    }

    /// The key of the version that was started first, which a page that is open has.
    pub(crate) async fn key_of_an_open_page(&mut self) -> String {
        self.until("the worker app's link", |machine| machine.link("key")).await
    }

    /// A page that was opened with this key still is, once the agent that is last in a row of versions listens.
    pub(crate) async fn still_opens_with(&self, key: &str) {
        let ask = async || self.ask(key, Method::GET, "/settings").await.ok();
        assert_eq!(until("an answer", ask).await.status(), StatusCode::OK);
    }

    pub(crate) async fn says(&mut self, text: &str) {
        self.until(text, |machine| machine.log().contains(text).then_some(())).await;
    }

    /// Waits until an installed agent of this version beats, and nothing is left of an update.
    pub(crate) async fn runs(&mut self, version: &str) {
        let of =
            |machine: &Machine| machine.registry.books().beats.last().map(|beat| beat.agent_version.clone());
        self.until(&format!("version {version} at work"), |machine| {
            let is_at_rest = machine.state()["stage"] == "none" && !machine.neighbour("next").exists();
            (of(machine).as_deref() == Some(version) && is_at_rest).then_some(())
        })
        .await;
        assert_eq!(self.installed_version(), version);
    }

    pub(crate) fn installed_version(&self) -> String {
        let output = Command::new(self.installed()).args(self.arguments("self-check")).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        said["version"].as_str().unwrap().to_owned()
    }

    pub(crate) fn state(&self) -> Value {
        let text = fs::read(self.path("data/update/state.json"));
        text.map_or(json!({"stage": "none"}), |text| serde_json::from_slice(&text).unwrap())
    }

    /// `pictor-agent update`: its exit code, and all it says.
    pub(crate) async fn update(&self, arguments: &[&str]) -> (i32, String) {
        let mut update = Command::new(self.installed());
        update.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        update.args(self.arguments("update")).args(arguments);
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || update.output().unwrap()).await.unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().unwrap(), said)
    }

    /// Nothing of an update was taken.
    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        assert!(!self.neighbour("next").exists() && !self.neighbour("previous").exists());
        assert_eq!(fs::read(self.installed()).unwrap(), fs::read(PROGRAM).unwrap());
        let left: Vec<_> =
            fs::read_dir(self.path("bin")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [self.installed()]);
        assert_eq!(self.state()["stage"], "none");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}\n{:#}", self.log(), self.state());
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn minisign(arguments: &[&str]) {
    let run = Command::new("minisign").args(arguments).stdin(Stdio::null()).output();
    let run = run.expect("these tests need minisign: scripts/test installs it");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
