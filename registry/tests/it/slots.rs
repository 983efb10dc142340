//! One worker's slots: what is wanted of each, and why one is idle.

use pictor_processes::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Account, Answer, PAST_LEASE_SECONDS, Registry, Worker, text};

on_both_databases!(
    a_paused_slot_is_given_nothing_and_says_who_holds_it,
    what_is_wanted_of_slots_is_checked,
    an_idle_slot_says_what_matching_found,
    an_agents_own_words_stay,
    a_second_machine_shows_on_the_worker_it_tried_to_be,
);

/// Two slots, as their agent reports them.
fn two(first: &str, second: &str) -> Value {
    let slot = |slot: u32, status: &str| json!({"slot": slot, "gpu_uuid": null, "status": status, "attempt_id": null});
    json!({"slots": [slot(0, first), slot(1, second)]})
}

async fn want(registry: &Registry, token: &str, worker: &Worker<'_>, slots: Value) -> Answer {
    let path = format!("/v1/workers/{}", worker.id);
    registry.call(Method::PATCH, token, &path, Some(json!({"slots": slots}))).await
}

async fn ask(registry: &Registry, worker: &Worker<'_>, ask_id: &str, slots: &[u32]) -> Vec<u64> {
    let body = json!({"ask_id": ask_id, "slots": slots, "wait_seconds": 0});
    let answer = registry.post(&worker.token, "/v1/agent/leases", body).await.ok();
    answer["leases"].as_array().unwrap().iter().map(|lease| lease["slot"].as_u64().unwrap()).collect()
}

async fn slot(registry: &Registry, owner: &Account, worker: &Worker<'_>, number: usize) -> Value {
    let seen = registry.get(&owner.token, &format!("/v1/workers/{}", worker.id)).await.ok();
    seen["slots"][number].clone()
}

fn because(code: &str, count: Option<u64>) -> Value {
    json!({"code": code, "count": count, "check": null, "detail": null})
}

/// Waits until the slot gives just this reason: what the queue holds is looked up every few seconds.
async fn idle_because(
    registry: &Registry,
    owner: &Account,
    worker: &Worker<'_>,
    code: &str,
    count: Option<u64>,
) {
    let reasons = json!([because(code, count)]);
    until(&format!("a slot idle because of {code}"), async || {
        let slot = slot(registry, owner, worker, 0).await;
        (slot["status"] == "idle" && slot["reasons"] == reasons).then_some(())
    })
    .await;
}

async fn a_paused_slot_is_given_nothing_and_says_who_holds_it(place: Place) {
    let registry = Registry::start(&place).await;
    let (provider, creator) =
        (registry.account("ada", &["provider"]).await, registry.creator("bob", "1").await);
    registry.job(&creator, "1-9").await;
    let worker = registry.worker(&provider, "desk").await;
    worker.heartbeat_with(&[], two("idle", "idle")).await.ok();
    let changed =
        want(&registry, &provider.token, &worker, json!([{"slot": 1, "desired": "paused"}])).await.ok();
    assert_eq!((&changed["status"], &changed["desired"]), (&json!("idle"), &json!("active")));
    let paused = changed["slots"][1].clone();
    assert_eq!((&paused["status"], &paused["desired"]), (&json!("paused"), &json!("paused")));
    assert_eq!(paused["reasons"], json!([because("paused_by_console", None)]));
    let told = worker.heartbeat_with(&[], two("idle", "paused")).await.ok();
    assert_eq!(told["slots"], json!([{"slot": 1, "desired": "paused"}]));
    assert_eq!(ask(&registry, &worker, "both", &[0, 1]).await, [0]);
    assert!(ask(&registry, &worker, "paused", &[1]).await.is_empty());

    // All of its slots drained is the worker drained; one of them resumed is not.
    let all = json!([{"slot": 0, "desired": "draining"}, {"slot": 1, "desired": "draining"}]);
    want(&registry, &provider.token, &worker, all).await.ok();
    worker.heartbeat_with(&[], two("busy", "draining")).await.ok();
    let seen = registry.get(&provider.token, &format!("/v1/workers/{}", worker.id)).await.ok();
    assert_eq!(seen["status"], "draining");
    let one = json!([{"slot": 1, "desired": "active"}]);
    let resumed = want(&registry, &provider.token, &worker, one).await.ok();
    assert_eq!(resumed["slots"][0]["reasons"], json!([because("drained_by_console", None)]));
    let waits = &resumed["slots"][1];
    assert_eq!(
        (&waits["status"], text(&waits["reasons"][0]["code"])),
        (&json!("draining"), "about_to_resume")
    );
    let registry = {
        let (id, token, machine) = (worker.id.clone(), worker.token.clone(), worker.machine.clone());
        let restarted = registry.restart().await;
        let worker = restarted.again(id, token, machine);
        let told = worker.heartbeat_with(&[], two("idle", "idle")).await.ok();
        assert_eq!(told["slots"], json!([{"slot": 0, "desired": "draining"}]), "it is kept");
        assert_eq!(ask(&restarted, &worker, "resumed", &[0, 1]).await, [1]);
        restarted
    };
    registry.stop().await;
}

async fn what_is_wanted_of_slots_is_checked(place: Place) {
    let registry = Registry::start(&place).await;
    let (provider, other) =
        (registry.account("ada", &["provider"]).await, registry.account("eve", &["provider"]).await);
    let worker = registry.worker(&provider, "desk").await;
    for (slots, says) in [
        (json!([{"slot": 7, "desired": "paused"}]), "no slot 7"),
        (json!([{"slot": 0, "desired": "paused"}, {"slot": 0, "desired": "active"}]), "twice"),
    ] {
        let detail = want(&registry, &provider.token, &worker, slots).await.problem(400);
        assert!(detail.contains(says), "{detail}");
    }
    for malformed in [json!([{"slot": 0, "desired": "asleep"}]), json!([{"slot": 0}]), json!(3)] {
        let answer = want(&registry, &provider.token, &worker, malformed).await;
        answer.problem(answer.status.as_u16());
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    for slots in [json!([{"slot": 0, "desired": "paused"}]), json!([{"slot": 7, "desired": "paused"}])] {
        want(&registry, &other.token, &worker, slots).await.problem(404);
    }
    let read =
        registry.post(&provider.token, "/v1/tokens", json!({"name": "grafana", "scope": "read"})).await.ok();
    want(&registry, text(&read["token"]), &worker, json!([{"slot": 0, "desired": "paused"}]))
        .await
        .problem(403);
    assert_eq!(slot(&registry, &provider, &worker, 0).await["desired"], "active");
    registry.stop().await;
}

async fn an_idle_slot_says_what_matching_found(place: Place) {
    let registry = Registry::start(&place).await;
    let (provider, creator) =
        (registry.account("ada", &["provider"]).await, registry.creator("bob", "1").await);
    let worker = registry.worker(&provider, "desk").await;
    let second = registry.worker(&provider, "second").await;
    idle_because(&registry, &provider, &worker, "queue_empty", None).await;
    registry.job(&creator, "1").await;
    idle_because(&registry, &provider, &worker, "about_to_start", Some(1)).await;
    let lease = worker.lease().await;
    worker.end(&lease, "fail", json!({"error": "no camera", "render_seconds": null})).await.ok();
    worker.heartbeat(&[]).await.ok();
    assert!(worker.ask("again").await.is_empty());
    idle_because(&registry, &provider, &worker, "failed_here", Some(1)).await;
    idle_because(&registry, &provider, &second, "about_to_start", Some(1)).await;
    let listed = registry.get(&provider.token, "/v1/workers?search=desk").await.ok();
    assert_eq!(listed["items"][0]["slots"][0]["reasons"], json!([because("failed_here", Some(1))]));
    registry.clock.advance(PAST_LEASE_SECONDS);
    worker.heartbeat(&[]).await.ok();
    idle_because(&registry, &provider, &worker, "about_to_start", Some(1)).await;
    assert_eq!(worker.ask("at last").await.len(), 1);
    registry.stop().await;
}

async fn an_agents_own_words_stay(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    let held = |of_health: Value| {
        let drained = because("drained_by_console", None);
        json!({"slots": [{"slot": 0, "gpu_uuid": null, "status": "draining", "attempt_id": null,
            "reasons": [drained, of_health]}]})
    };
    let of_health = json!({"code": "health", "count": null, "check": "gpu_xid", "detail": "Xid 79"});
    let of_last_release = json!({"code": "health gpu_xid: Xid 79", "count": null});
    for said in [of_last_release, of_health.clone()] {
        worker.heartbeat_with(&[], held(said)).await.ok();
        let seen = slot(&registry, &provider, &worker, 0).await;
        // The console drains it no more; its agent has not heard so yet.
        assert_eq!(seen["reasons"], json!([of_health]));
    }
    want(&registry, &provider.token, &worker, json!([{"slot": 0, "desired": "paused"}])).await.ok();
    let seen = slot(&registry, &provider, &worker, 0).await;
    assert_eq!(seen["reasons"], json!([because("paused_by_console", None), of_health]));
    want(&registry, &provider.token, &worker, json!([{"slot": 0, "desired": "active"}])).await.ok();
    worker.heartbeat_with(&[], json!({"accepts_tasks": false, "refusal": "no sandbox"})).await.ok();
    let seen = slot(&registry, &provider, &worker, 0).await;
    assert_eq!(
        seen["reasons"],
        json!([{"code": "refused", "count": null, "check": null, "detail": "no sandbox"}])
    );
    registry.stop().await;
}

async fn a_second_machine_shows_on_the_worker_it_tried_to_be(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let mut worker = registry.worker(&provider, "desk").await;
    let own = worker.machine.clone();
    worker.machine = "a clone".to_owned();
    let refused = worker.heartbeat_with(&[], json!({"hostname": "clone", "boot_id": "other"})).await;
    assert_eq!(refused.problem_code(409), "duplicate_worker");
    worker.machine = own;
    worker.heartbeat(&[]).await.ok();
    let path = format!("/v1/workers/{}", worker.id);
    let found = registry.get(&provider.token, &path).await.ok()["health"][0].clone();
    assert_eq!(found["check"], "duplicate_worker");
    assert!(text(&found["found"]).contains("'clone'") && text(&found["advice"]).contains("Stop"), "{found}");
    for _ in 0..5 {
        registry.clock.advance(25);
        worker.heartbeat(&[]).await.ok();
    }
    assert_eq!(registry.get(&provider.token, &path).await.ok()["health"], json!([]), "it has gone");
    registry.stop().await;
}
