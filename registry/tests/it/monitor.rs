//! The page of one worker: what it shows, to whom, and what its forms do.

use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Account, Registry};

on_both_databases!(
    a_workers_page_shows_it_to_its_owner_alone,
    a_slot_is_paused_and_resumed_on_its_page,
    a_reader_sees_and_changes_nothing,
    a_heartbeat_reaches_an_open_page,
);

/// A browser in which an account is signed in.
struct Browser<'a> {
    registry: &'a Registry,
    client: Client,
    cookie: String,
}

impl<'a> Browser<'a> {
    async fn signed_in(registry: &'a Registry, token: &str) -> Browser<'a> {
        let client = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        let form = format!("token={token}&next=%2Fworkers");
        let request = client.post(registry.url("/login")).body(form);
        let answer =
            request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(answer.status(), 303, "{answer:?}");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Browser { registry, client, cookie }
    }

    async fn open(&self, path: &str) -> Response {
        let request = self.client.get(self.registry.url(path)).header("accept", "text/html");
        request.header("cookie", &self.cookie).send().await.unwrap()
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.open(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    /// Sends a form as the page at `path` has it, to its `desired`.
    async fn want(&self, path: &str, fields: &str) -> Response {
        let page = self.page(path).await;
        let token = page.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        self.send(path, &format!("form_token={token}&{fields}")).await
    }

    async fn send(&self, path: &str, body: &str) -> Response {
        let request = self.client.post(self.registry.url(&format!("{path}/desired"))).body(body.to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("accept", "text/html").header("cookie", &self.cookie).send().await.unwrap()
    }
}

async fn network(place: &Place) -> (Registry, Account) {
    let registry = Registry::start(place).await;
    let provider = registry.account("ada", &["provider"]).await;
    (registry, provider)
}

fn machine() -> Value {
    json!({
        "local_ip": "192.0.2.7", "gpus": [{"uuid": "GPU-1", "index": 0, "name": "<b>RTX</b>", "driver_version": "580",
            "memory_total_bytes": 25_769_803_776_u64, "memory_used_bytes": 0, "utilization_ratio": 0.25,
            "temperature_celsius": 61.0, "power_watts": 187.4}],
        "slots": [{"slot": 0, "gpu_uuid": "GPU-1", "status": "idle", "attempt_id": null}],
        "health": [{"check": "disk", "found": "nearly full", "advice": "make room"}],
    })
}

async fn a_workers_page_shows_it_to_its_owner_alone(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    worker.heartbeat_with(&[], machine()).await.ok();
    let path = format!("/workers/{}", worker.id);
    let page = Browser::signed_in(&registry, &provider.token).await.page(&path).await;
    for shown in [
        &worker.id,
        "Debian 12",
        "Blender 3.4.1",
        "/usr/bin/blender",
        "127.0.0.1",
        "192.0.2.7",
        "0.1.0",
        "25 %",
        "61 °C",
        "187 W",
        "24 GiB",
        "Disk: nearly full",
        "Make room",
        "no task waits",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    assert!(!page.contains("<b>RTX"), "a GPU's name is text");
    let eve = registry.account("eve", &["provider"]).await;
    let eve = Browser::signed_in(&registry, &eve.token).await;
    for path in [path.clone(), format!("{path}/live")] {
        assert_eq!(eve.open(&path).await.status(), 404);
    }
    let made = registry.post(&provider.token, "/v1/workers", json!({"name": "new"})).await.ok();
    let path = format!("/workers/{}", made["id"].as_str().unwrap());
    let page = Browser::signed_in(&registry, &provider.token).await.page(&path).await;
    assert!(page.contains(&format!("{path}/setup")), "a worker that never connected is to be set up");
    registry.stop().await;
}

async fn a_slot_is_paused_and_resumed_on_its_page(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    let path = format!("/workers/{}", worker.id);
    let browser = Browser::signed_in(&registry, &provider.token).await;
    let answer = browser.want(&path, "slot=0&desired=paused").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &path.parse().unwrap()));
    let told = worker.heartbeat(&[]).await.ok();
    assert_eq!(told["slots"], json!([{"slot": 0, "desired": "paused"}]));
    assert!(browser.page(&path).await.contains("Paused from the console."));
    assert_eq!(browser.want(&path, "slot=0&desired=active").await.status(), 303);
    assert_eq!(browser.want(&path, "desired=draining").await.status(), 303);
    let told = worker.heartbeat(&[]).await.ok();
    assert_eq!((&told["slots"], &told["desired"]), (&json!([]), &json!("draining")));

    assert_eq!(browser.want(&path, "slot=7&desired=paused").await.status(), 400);
    assert_eq!(browser.send(&path, "desired=active").await.status(), 403, "no form of ours");
    assert_eq!(worker.heartbeat(&[]).await.ok()["desired"], "draining");
    registry.stop().await;
}

async fn a_reader_sees_and_changes_nothing(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    let read = json!({"name": "reader", "scope": "read"});
    let read = registry.post(&provider.token, "/v1/tokens", read).await.ok();
    let browser = Browser::signed_in(&registry, read["token"].as_str().unwrap()).await;
    let path = format!("/workers/{}", worker.id);
    assert!(!browser.page(&path).await.contains("name=\"desired\""), "it offers nothing that is refused");
    assert_eq!(browser.want(&path, "desired=paused").await.status(), 403);
    assert_eq!(worker.heartbeat(&[]).await.ok()["desired"], "active");
    registry.stop().await;
}

async fn a_heartbeat_reaches_an_open_page(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    let browser = Browser::signed_in(&registry, &provider.token).await;
    let mut live = browser.open(&format!("/workers/{}/live", worker.id)).await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let first = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("monitor-slots") && first.contains("monitor-facts"), "{first}");
    let beaten = std::time::Instant::now();
    worker.heartbeat_with(&[], machine()).await.ok();
    let next = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(next.contains("187 W") && beaten.elapsed().as_secs_f64() < 2.0, "{:?} {next}", beaten.elapsed());
    drop(live);
    registry.stop().await;
}
