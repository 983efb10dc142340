//! The page of one worker: what it shows, to whom, and what its forms do.

use pictor_processes::SOON;
use serde_json::{Value, json};

use crate::browser::{Browser, Shown};
use crate::database::Place;
use crate::registry::{Account, Registry};

on_both_databases!(
    a_workers_page_shows_it_to_its_owner_alone,
    a_slot_is_paused_and_resumed_on_its_page,
    a_reader_sees_and_changes_nothing,
    a_heartbeat_reaches_an_open_page,
);

/// Sends a form as the page at `path` has it, to its `desired`.
async fn want(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Shown {
    let page = browser.get(path).await;
    browser.send_from(page.is(200), &format!("{path}/desired"), fields).await
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
    let page = Browser::signed_in(&registry, &provider).await.get(&path).await;
    let page = &page.is(200).text;
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
    let eve = Browser::signed_in(&registry, &eve).await;
    for path in [path.clone(), format!("{path}/live")] {
        eve.get(&path).await.is(404);
    }
    let made = registry.post(&provider.token, "/v1/workers", json!({"name": "new"})).await.ok();
    let path = format!("/workers/{}", made["id"].as_str().unwrap());
    let page = Browser::signed_in(&registry, &provider).await.get(&path).await;
    let page = &page.is(200).text;
    assert!(page.contains(&format!("{path}/setup")), "a worker that never connected is to be set up");
    registry.stop().await;
}

async fn a_slot_is_paused_and_resumed_on_its_page(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    let path = format!("/workers/{}", worker.id);
    let browser = Browser::signed_in(&registry, &provider).await;
    let answer = want(&browser, &path, &[("slot", "0"), ("desired", "paused")]).await;
    assert_eq!(answer.is(303).leads_to(), path);
    let told = worker.heartbeat(&[]).await.ok();
    assert_eq!(told["slots"], json!([{"slot": 0, "desired": "paused"}]));
    browser.get(&path).await.is(200).says("Paused from the console.");
    want(&browser, &path, &[("slot", "0"), ("desired", "active")]).await.is(303);
    want(&browser, &path, &[("desired", "draining")]).await.is(303);
    let told = worker.heartbeat(&[]).await.ok();
    assert_eq!((&told["slots"], &told["desired"]), (&json!([]), &json!("draining")));

    want(&browser, &path, &[("slot", "7"), ("desired", "paused")]).await.is(400);
    // No form of ours.
    browser.post(&format!("{path}/desired"), &[("desired", "active")], &[]).await.is(403);
    assert_eq!(worker.heartbeat(&[]).await.ok()["desired"], "draining");
    registry.stop().await;
}

async fn a_reader_sees_and_changes_nothing(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    let read = json!({"name": "reader", "scope": "read"});
    let read = registry.post(&provider.token, "/v1/tokens", read).await.ok();
    let browser = Browser::of(&registry);
    browser.sign_in(read["token"].as_str().unwrap()).await.is(303);
    let path = format!("/workers/{}", worker.id);
    let page = browser.get(&path).await;
    assert!(!page.is(200).text.contains("name=\"desired\""), "it offers nothing that is refused");
    want(&browser, &path, &[("desired", "paused")]).await.is(403);
    assert_eq!(worker.heartbeat(&[]).await.ok()["desired"], "active");
    registry.stop().await;
}

async fn a_heartbeat_reaches_an_open_page(place: Place) {
    let (registry, provider) = network(&place).await;
    let worker = registry.worker(&provider, "desk").await;
    let browser = Browser::signed_in(&registry, &provider).await;
    let mut live = browser.open(&format!("/workers/{}/live", worker.id)).await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let first = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("monitor-slots") && first.contains("monitor-facts"), "{first}");
    let beaten = std::time::Instant::now();
    worker.heartbeat_with(&[], machine()).await.ok();
    let mut said = String::new();
    while !said.contains("187 W") {
        said += &String::from_utf8_lossy(&live.chunk().await.unwrap().expect(&said));
    }
    // A second, on a machine that does nothing else.
    assert!(beaten.elapsed() < SOON, "{:?} {said}", beaten.elapsed());
    drop(live);
    registry.stop().await;
}
