//! A registry served on a port of its own, over a database of its own, and what speaks to it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use pictor_processes::{PATIENCE, until};
use pictor_protocol::HeartbeatRequest;
use pictor_registry::clock::Clock;
use pictor_registry::config::Settings;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::Place;

/// Longer than a lease: whoever was not heard since has lost it to the sweep.
pub(crate) const PAST_LEASE_SECONDS: i64 = 61;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

pub(crate) struct Registry {
    pub(crate) clock: Clock,
    place: Place,
    address: SocketAddr,
    client: reqwest::Client,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) token: String,
}

/// An answer, its body as JSON where it is JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The problem's detail, after checking that it is one with this status.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert!(self.content_type.starts_with("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "code", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
        problem["detail"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn problem_code(&self, status: u16) -> String {
        self.problem(status);
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

impl Registry {
    pub(crate) async fn start(place: &Place) -> Registry {
        Registry::start_with(place, &[]).await
    }

    pub(crate) async fn start_with(place: &Place, flags: &[&str]) -> Registry {
        Registry::serve(place.clone(), Clock::fixed(Clock::system().now()), flags).await
    }

    /// Stops it and serves the same database again, the clock going on.
    pub(crate) async fn restart(self) -> Registry {
        let (place, clock) = (self.place.clone(), self.clock.clone());
        self.stop().await;
        Registry::serve(place, clock, &[]).await
    }

    async fn serve(place: Place, clock: Clock, flags: &[&str]) -> Registry {
        // Another test may have installed it first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let blobs = format!("file://{}", place.folder.path().join("blobs").display());
        let own = ["serve", "--listen", "127.0.0.1:0", "--database", &place.database, "--blobs", &blobs];
        let settings = Flags::parse_from(own.iter().chain(flags)).settings;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served =
            tokio::spawn(pictor_registry::serve(settings, clock.clone(), listener, shutdown.clone()));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let registry = Registry { clock, place, address, client, shutdown, served };
        until("the registry is ready", async || {
            assert!(!registry.served.is_finished(), "serve ended early");
            let ready = registry.client.get(registry.url("/readyz")).send().await;
            ready.is_ok_and(|answer| answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        registry
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        drop(self.client);
        self.served.await.unwrap().unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn account(&self, name: &str, roles: &[&str]) -> Account {
        let roles = roles.iter().flat_map(|role| ["--role", role]);
        let made = self.cli(["account", "create", name].into_iter().chain(roles).chain(["--json"]));
        Account {
            id: made["account_id"].as_str().unwrap().to_owned(),
            token: made["token"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) async fn creator(&self, name: &str, credit: &str) -> Account {
        let account = self.account(name, &["creator"]).await;
        self.command(["account", "credit", name, credit]);
        account
    }

    /// What a command of the real binary prints, as JSON.
    fn cli<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Value {
        serde_json::from_str(&self.command(arguments)).unwrap()
    }

    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let named = ["--database".to_owned(), self.place.database.clone()];
        self.plain_command(arguments.into_iter().map(str::to_owned).chain(named))
    }

    /// What a command prints that needs no database.
    pub(crate) fn plain_command(&self, arguments: impl IntoIterator<Item = String>) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_pictor-registry")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(Method::GET, token, path, None).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(Method::POST, token, path, Some(body)).await
    }

    pub(crate) async fn call(&self, method: Method, token: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.client.request(method, self.url(path)).bearer_auth(token);
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub(crate) async fn post_form(&self, token: &str, path: &str, form: String) -> Answer {
        let request = self.client.post(self.url(path)).bearer_auth(token).body(form);
        answer(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    /// The status and the bytes of an answer that is no text.
    pub(crate) async fn post_for_bytes(&self, token: &str, path: &str, body: Value) -> (u16, Vec<u8>) {
        let request = self.client.post(self.url(path)).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// One more token of an account, that only reads.
    pub(crate) async fn read_token(&self, account: &Account) -> String {
        let asked = json!({"name": "reader", "scope": "read"});
        text(&self.post(&account.token, "/v1/tokens", asked).await.ok()["token"]).to_owned()
    }

    pub(crate) async fn bytes(&self, token: &str, path: &str) -> Vec<u8> {
        let answer = self.client.get(self.url(path)).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap().into()
    }

    pub(crate) async fn post_text(&self, token: &str, path: &str, body: &'static str) -> Answer {
        answer(self.client.post(self.url(path)).bearer_auth(token).body(body)).await
    }

    /// Asks for what ends before it is whole.
    pub(crate) async fn broken_off(&self, token: &str, path: &str) {
        let mut answer = self.client.get(self.url(path)).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        while let Ok(chunk) = answer.chunk().await {
            assert!(chunk.is_some(), "the answer ended as if it were whole");
        }
    }

    pub(crate) async fn anonymous(&self, path: &str) -> Answer {
        answer(self.client.get(self.url(path))).await
    }

    pub(crate) async fn submit(&self, token: &str, settings: Value, scene: Vec<u8>) -> Answer {
        let form = form(&settings).part("scene", Part::bytes(scene).file_name("scene.blend"));
        answer(self.client.post(self.url("/v1/jobs")).bearer_auth(token).multipart(form)).await
    }

    pub(crate) async fn submit_without_scene(&self, token: &str, settings: Value) -> Answer {
        answer(self.client.post(self.url("/v1/jobs")).bearer_auth(token).multipart(form(&settings))).await
    }

    /// A job of `frames` at 0.05 a frame; its id.
    pub(crate) async fn job(&self, creator: &Account, frames: &str) -> String {
        let settings = json!({"name": "test", "frames": frames, "frame_cost_micros": 50_000});
        let job = self.submit(&creator.token, settings, blend()).await.ok();
        job["id"].as_str().unwrap().to_owned()
    }

    /// A new worker that has said its first heartbeat.
    pub(crate) async fn worker(&self, provider: &Account, name: &str) -> Worker<'_> {
        let made = self.post(&provider.token, "/v1/workers", json!({"name": name})).await.ok();
        let id = made["id"].as_str().unwrap().to_owned();
        let token = self.worker_token(provider, &id).await;
        let worker = Worker { registry: self, id, token, machine: format!("machine-{name}") };
        worker.heartbeat(&[]).await.ok();
        worker
    }

    /// A worker known from before a restart.
    pub(crate) fn again(&self, id: String, token: String, machine: String) -> Worker<'_> {
        Worker { registry: self, id, token, machine }
    }

    /// The token in a freshly downloaded config file.
    pub(crate) async fn worker_token(&self, provider: &Account, worker_id: &str) -> String {
        let config = self.get(&provider.token, &format!("/v1/workers/{worker_id}/config")).await;
        assert_eq!(config.status, StatusCode::OK, "{config:?}");
        let line =
            config.text.lines().find_map(|line| line.strip_prefix("token = \"")).expect("a token line");
        line.trim_end_matches('"').to_owned()
    }

    pub(crate) async fn balance(&self, account: &Account) -> i64 {
        self.get(&account.token, "/v1/me").await.ok()["balance_micros"].as_i64().unwrap()
    }
}

/// One worker's agent, as far as the registry can tell.
pub(crate) struct Worker<'a> {
    registry: &'a Registry,
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) machine: String,
}

impl Worker<'_> {
    pub(crate) async fn heartbeat(&self, attempts: &[&str]) -> Answer {
        self.heartbeat_with(attempts, json!({})).await
    }

    /// A heartbeat in which `changes` replace what it says otherwise.
    pub(crate) async fn heartbeat_with(&self, attempts: &[&str], changes: Value) -> Answer {
        let reports: Vec<Value> = attempts
            .iter()
            .map(|id| json!({"attempt_id": id, "progress_ratio": 0.5, "elapsed_seconds": 1.0, "remaining_seconds": 1.0}))
            .collect();
        let status = if attempts.is_empty() { "idle" } else { "busy" };
        let mut body = serde_json::to_value(HeartbeatRequest::example()).unwrap();
        body["machine_id"] = json!(self.machine);
        body["slots"][0]["status"] = json!(status);
        body["slots"][0]["attempt_id"] = json!(attempts.first());
        body["attempts"] = json!(reports);
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.registry.post(&self.token, "/v1/agent/heartbeat", body).await
    }

    pub(crate) async fn ask(&self, ask_id: &str) -> Vec<Value> {
        let body = json!({"ask_id": ask_id, "slots": [0], "wait_seconds": 0});
        let answer = self.registry.post(&self.token, "/v1/agent/leases", body).await.ok();
        answer["leases"].as_array().unwrap().clone()
    }

    /// The lease that asking now gives, reported as rendering.
    pub(crate) async fn lease(&self) -> Value {
        self.heartbeat(&[]).await.ok();
        let ask = hex::encode(self.registry.clock.random::<8>());
        let leases = self.ask(&ask).await;
        assert_eq!(leases.len(), 1, "{leases:?}");
        let held = self.heartbeat(&[text(&leases[0]["id"])]).await.ok();
        assert_eq!(held["leases"][0]["state"], "held");
        leases[0].clone()
    }

    pub(crate) async fn put_frame(&self, lease: &Value, frame: i64, bytes: Vec<u8>, sha256: &[u8]) -> Answer {
        let url = self.registry.url(&format!("/v1/agent/leases/{}/frames/{frame}", text(&lease["id"])));
        let request = self
            .registry
            .client
            .put(url)
            .bearer_auth(&self.token)
            .header("content-type", "image/png")
            .header("content-digest", format!("sha-256=:{}:", STANDARD.encode(sha256)))
            .body(bytes);
        answer(request).await
    }

    pub(crate) async fn upload(&self, lease: &Value, frame: i64) -> Answer {
        let bytes = png(8, 8, u8::try_from(frame).unwrap());
        let sha256 = Sha256::digest(&bytes);
        self.put_frame(lease, frame, bytes, &sha256).await
    }

    pub(crate) async fn put_test_frame(&self, id: &str, slot: u32, bytes: Vec<u8>) -> Answer {
        let url = self.registry.url(&format!("/v1/agent/test-renders/{id}/slots/{slot}/frame"));
        let digest = STANDARD.encode(Sha256::digest(&bytes));
        let request = self.registry.client.put(url).bearer_auth(&self.token).body(bytes);
        answer(request.header("content-digest", format!("sha-256=:{digest}:"))).await
    }

    pub(crate) async fn end(&self, lease: &Value, how: &str, body: Value) -> Answer {
        self.registry.post(&self.token, &format!("/v1/agent/leases/{}/{how}", text(&lease["id"])), body).await
    }

    pub(crate) async fn complete(&self, lease: &Value) -> Answer {
        self.end(lease, "complete", json!({"render_seconds": 1.5})).await
    }

    /// Uploads every frame of the lease and completes it.
    pub(crate) async fn render(&self, lease: &Value) -> Value {
        for frame in frames(lease) {
            self.upload(lease, frame).await.ok();
        }
        self.complete(lease).await.ok()
    }

    /// Waits until an attempt of this worker stands at `status`.
    pub(crate) async fn attempt_is(&self, owner: &Account, lease: &Value, status: &str) -> Value {
        until(&format!("attempt {status}"), async || {
            let path = format!("/v1/attempts?worker={}&limit=1000", self.id);
            let rows = self.registry.get(&owner.token, &path).await.ok();
            let rows = rows["items"].as_array().unwrap().clone();
            rows.into_iter().find(|row| row["id"] == lease["id"] && row["status"] == status)
        })
        .await
    }
}

pub(crate) fn frames(lease: &Value) -> impl Iterator<Item = i64> + use<> {
    let range: pictor_protocol::FrameRange = serde_json::from_value(lease["frames"].clone()).unwrap();
    range.iter().map(i64::from)
}

#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
    Answer { status, content_type: content_type.unwrap_or_default(), text }
}

fn form(settings: &Value) -> Form {
    Form::new().part("settings", Part::text(settings.to_string()).mime_str("application/json").unwrap())
}

pub(crate) fn png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_pixel(width, height, image::Rgb([shade, 0, 0]));
    pixels.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The smallest file with the form of a scene: a header, one block of data, and the block that ends it.
pub(crate) fn blend() -> Vec<u8> {
    let block = |code: &[u8; 4], data: &[u8]| {
        let mut block = code.to_vec();
        block.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        block.extend([0; 8]);
        block.extend(0_u32.to_le_bytes());
        block.extend(1_u32.to_le_bytes());
        block.extend(data);
        block
    };
    let mut file = b"BLENDER-v304".to_vec();
    file.extend(block(b"DNA1", &[7; 64]));
    file.extend(block(b"ENDB", &[]));
    file
}

/// Every `"…"` of `key` in a list of objects.
pub(crate) fn all<'a>(items: &'a Value, key: &str) -> HashSet<&'a str> {
    items["items"].as_array().unwrap().iter().map(|item| text(&item[key])).collect()
}
