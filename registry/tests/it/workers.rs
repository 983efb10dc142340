//! Setting a worker up: its name, its config file and the tokens in it, its heartbeats, its end.

use pictor_processes::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{PAST_LEASE_SECONDS, Registry, text};

on_both_databases!(
    a_worker_is_made_and_comes_online,
    a_name_is_free_again_when_its_worker_is_archived,
    the_config_file_holds_what_an_agent_needs,
    the_first_use_of_a_new_config_disconnects_the_old,
    a_second_machine_on_one_token_is_refused,
    what_is_wrong_with_a_machine_has_bounds,
    a_deleted_worker_keeps_its_history_and_loses_its_lease,
    a_paused_worker_is_given_nothing,
);

async fn a_worker_is_made_and_comes_online(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let made = registry.post(&provider.token, "/v1/workers", json!({"name": "Büro PC"})).await.ok();
    assert_eq!((&made["status"], &made["offline_reason"]), (&json!("offline"), &json!("never_connected")));
    assert_eq!(
        (&made["uptime_seconds"], &made["ip"], &made["cpu"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );

    let worker = registry.worker(&provider, "desk").await;
    let path = format!("/v1/workers/{}", worker.id);
    let seen = registry.get(&provider.token, &path).await.ok();
    assert_eq!((&seen["status"], &seen["offline_reason"]), (&json!("idle"), &Value::Null));
    assert_eq!(
        (&seen["ip"], &seen["os"], &seen["name"]),
        (&json!("127.0.0.1"), &json!("Debian 12"), &json!("desk"))
    );
    assert_eq!(seen["blender"][0]["version"], "3.4.1");
    assert_eq!(seen["slots"][0]["slot"], 0);

    registry.clock.advance(31);
    let lost = until("lost", async || {
        let seen = registry.get(&provider.token, &path).await.ok();
        (seen["status"] == "offline").then_some(seen)
    })
    .await;
    assert_eq!((&lost["offline_reason"], &lost["uptime_seconds"]), (&json!("lost"), &Value::Null));
    worker.heartbeat_with(&[], json!({"stopping": true})).await.ok();
    let stopped = registry.get(&provider.token, &path).await.ok();
    assert_eq!(stopped["offline_reason"], "stopped");
    registry.stop().await;
}

async fn a_name_is_free_again_when_its_worker_is_archived(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    for taken in ["desk", "DESK", " desk "] {
        registry.post(&provider.token, "/v1/workers", json!({"name": taken})).await.problem(409);
    }
    let other = registry.account("eve", &["provider"]).await;
    registry.worker(&other, "desk").await;
    for refused in [json!({"name": ""}), json!({"name": "a/b"}), json!({}), json!({"name": "a", "more": 1})] {
        let answer = registry.post(&provider.token, "/v1/workers", refused).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        answer.problem(answer.status.as_u16());
    }
    let second = registry.worker(&provider, "second").await;
    let path = format!("/v1/workers/{}", second.id);
    let taken = registry.call(Method::PATCH, &provider.token, &path, Some(json!({"name": "desk"}))).await;
    taken.problem(409);

    let path = format!("/v1/workers/{}", worker.id);
    registry.call(Method::DELETE, &provider.token, &path, None).await.ok();
    worker.heartbeat(&[]).await.problem(401);
    registry.worker(&provider, "desk").await;
    registry.stop().await;
}

async fn the_config_file_holds_what_an_agent_needs(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let made = registry.post(&provider.token, "/v1/workers", json!({"name": "Büro PC"})).await.ok();
    let config = registry.get(&provider.token, &format!("/v1/workers/{}/config", text(&made["id"]))).await;
    assert!(config.status.is_success(), "{config:?}");
    let has =
        |line: String| assert!(config.text.lines().any(|found| found == line), "{line} in {}", config.text);
    has(format!("worker_id = \"{}\"", text(&made["id"])));
    has("worker_name = \"Büro PC\"".to_owned());
    assert!(config.text.contains(&format!("registry = \"{}", registry.url(""))), "{}", config.text);
    registry
        .get(&provider.token, "/v1/workers/wrk_00000000000070008000000000000000/config")
        .await
        .problem(404);
    registry.stop().await;
}

async fn the_first_use_of_a_new_config_disconnects_the_old(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let mut worker = registry.worker(&provider, "desk").await;
    let old = worker.token.clone();
    let unused = registry.worker_token(&provider, &worker.id).await;
    worker.heartbeat(&[]).await.ok();
    let newest = registry.worker_token(&provider, &worker.id).await;
    worker.heartbeat(&[]).await.ok();
    // At most the token in use and the newest one: the one between was never used, and never can be.
    worker.token = unused;
    worker.heartbeat(&[]).await.problem(401);
    worker.token = newest;
    worker.heartbeat(&[]).await.ok();
    worker.token = old;
    worker.heartbeat(&[]).await.problem(401);
    registry.stop().await;
}

async fn a_second_machine_on_one_token_is_refused(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let mut worker = registry.worker(&provider, "desk").await;
    worker.machine = "a clone".to_owned();
    let refused = worker.heartbeat_with(&[], json!({"hostname": "clone", "boot_id": "other"})).await;
    assert_eq!(refused.problem_code(409), "duplicate_worker");
    assert!(refused.problem(409).contains("clone") && refused.problem(409).contains("host"), "{refused:?}");
    registry.stop().await;
}

async fn what_is_wrong_with_a_machine_has_bounds(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    let health = |count: usize, length: usize| {
        let finding = json!({"check": "disk", "found": "x".repeat(length), "advice": "free some"});
        json!({"health": vec![finding; count]})
    };
    let reasons = |count: usize, length: usize| {
        let reason = json!({"code": "health", "check": "disk", "detail": "x".repeat(length)});
        let slot = json!({"slot": 0, "gpu_uuid": null, "status": "draining", "attempt_id": null,
                          "reasons": vec![reason; count]});
        json!({"slots": [slot]})
    };
    for fits in [health(32, 1_000), reasons(32, 1_000)] {
        worker.heartbeat_with(&[], fits).await.ok();
    }
    for (changes, says) in [
        (health(33, 1), "health has more than 32"),
        (reasons(33, 1), "reasons has more than 32"),
        (health(32, 9_000), "bytes"),
        (reasons(32, 9_000), "bytes"),
    ] {
        let detail = worker.heartbeat_with(&[], changes).await.problem(400);
        assert!(detail.contains(says), "{detail}");
    }
}

async fn a_deleted_worker_keeps_its_history_and_loses_its_lease(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let creator = registry.creator("bob", "1").await;
    registry.job(&creator, "1-2").await;
    let worker = registry.worker(&provider, "desk").await;
    let first = worker.lease().await;
    worker.render(&first).await;
    let second = worker.lease().await;
    let path = format!("/v1/workers/{}", worker.id);
    registry.call(Method::DELETE, &provider.token, &path, None).await.ok();
    worker.complete(&second).await.problem(401);
    worker.attempt_is(&provider, &second, "released").await;
    let summary = registry.get(&provider.token, "/v1/summary").await.ok();
    assert_eq!(summary["earnings_micros"], 40_000);
    let statistics = registry.get(&provider.token, &format!("{path}/statistics")).await.ok();
    assert_eq!(
        (&statistics["earnings_micros"], &statistics["tasks"]["released"]),
        (&json!(40_000), &json!(1))
    );
    let another = registry.worker(&provider, "desk").await;
    assert_eq!(another.lease().await["task_id"], second["task_id"]);
    registry.stop().await;
}

async fn a_paused_worker_is_given_nothing(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let creator = registry.creator("bob", "1").await;
    registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    let path = format!("/v1/workers/{}", worker.id);
    for desired in ["paused", "draining"] {
        registry.call(Method::PATCH, &provider.token, &path, Some(json!({"desired": desired}))).await.ok();
        assert_eq!(worker.heartbeat(&[]).await.ok()["desired"], desired);
        assert!(worker.ask(desired).await.is_empty());
    }
    registry.call(Method::PATCH, &provider.token, &path, Some(json!({"desired": "active"}))).await.ok();
    worker.heartbeat_with(&[], json!({"accepts_tasks": false, "refusal": "no sandbox"})).await.ok();
    assert!(worker.ask("refusing").await.is_empty());
    registry.clock.advance(PAST_LEASE_SECONDS);
    worker.lease().await;
    registry.stop().await;
}
