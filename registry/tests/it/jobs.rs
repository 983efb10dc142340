//! Submitting work: what is refused, what is set aside, what comes back.

use pictor_processes::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Registry, blend};

on_both_databases!(
    a_job_sets_its_cost_aside,
    a_cancelled_job_gives_its_cost_back,
    a_paused_job_gives_no_tasks,
    what_is_no_scene_is_refused,
    settings_that_make_no_sense_are_refused,
    a_scene_is_named_only_by_its_uploader,
);

fn settings(changes: &Value) -> Value {
    let mut settings = json!({"name": "test", "frames": "1-10", "frame_cost_micros": 50_000});
    settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    settings
}

async fn a_job_sets_its_cost_aside(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let job = registry.submit(&creator.token, settings(&json!({"frames_per_task": 4})), blend()).await.ok();
    assert_eq!(
        (&job["status"], &job["frames_total"], &job["frames_completed"]),
        (&json!("pending"), &json!(10), &json!(0))
    );
    assert_eq!((&job["cost_micros"], &job["tasks_total"]), (&json!(500_000), &json!(3)));
    assert_eq!(registry.balance(&creator).await, 500_000);
    let refused = registry.submit(&creator.token, settings(&json!({"frames": "1-11"})), blend()).await;
    assert_eq!(refused.problem_code(402), "insufficient_funds");
    assert_eq!(registry.balance(&creator).await, 500_000);
    registry.submit(&creator.token, settings(&json!({"frames": "3"})), blend()).await.ok();
    let listed = registry.get(&creator.token, "/v1/jobs").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    registry.stop().await;
}

async fn a_cancelled_job_gives_its_cost_back(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let job = registry.job(&creator, "1-10").await;
    assert_eq!(registry.balance(&creator).await, 500_000);
    registry.call(Method::POST, &creator.token, &format!("/v1/jobs/{job}/cancel"), None).await.ok();
    until("the refund", async || (registry.balance(&creator).await == 1_000_000).then_some(())).await;
    let job = registry.get(&creator.token, &format!("/v1/jobs/{job}")).await.ok();
    assert_eq!((&job["status"], &job["spent_micros"]), (&json!("cancelled"), &json!(0)));
    registry.stop().await;
}

async fn a_paused_job_gives_no_tasks(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    let job = registry.job(&creator, "1-2").await;
    let call = async |what: &str| {
        registry.call(Method::POST, &creator.token, &format!("/v1/jobs/{job}/{what}"), None).await
    };
    assert_eq!(call("pause").await.ok()["status"], "paused");
    assert!(worker.ask("while paused").await.is_empty());
    call("resume").await.ok();
    let lease = worker.lease().await;
    assert_eq!(lease["job_id"], job);
    call("cancel").await.ok();
    worker.attempt_is(&provider, &lease, "cancelled").await;
    worker.complete(&lease).await.problem(409);
    call("resume").await.problem(409);
    registry.stop().await;
}

async fn what_is_no_scene_is_refused(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let whole = blend();
    let scenes = [
        ("text", b"this is no scene at all, but a text".to_vec()),
        ("empty", Vec::new()),
        ("truncated", whole[..10].to_vec()),
        ("picture", crate::registry::png(4, 4, 0)),
    ];
    for (what, scene) in scenes {
        let answer = registry.submit(&creator.token, settings(&json!({})), scene).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{what}: {answer:?}");
        answer.problem(answer.status.as_u16());
    }
    assert_eq!(registry.balance(&creator).await, 1_000_000);
    assert_eq!(registry.get(&creator.token, "/v1/jobs").await.ok()["items"], json!([]));
    registry.stop().await;
}

async fn settings_that_make_no_sense_are_refused(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let refused = [
        json!({"frames": "10-1"}),
        json!({"frames": "a-b"}),
        json!({"frames": "1-99999999"}),
        json!({"frame_cost_micros": -1}),
        json!({"frame_cost_micros": i64::MAX}),
        json!({"frame_cost_micros": 0.5}),
        json!({"frames_per_task": 0}),
        json!({"task_timeout_seconds": 0}),
        json!({"width": 10}),
        json!({"width": 0, "height": 0}),
        json!({"name": ""}),
        json!({"colour": "red"}),
    ];
    for changes in refused {
        let answer = registry.submit(&creator.token, settings(&changes), blend()).await;
        assert!(matches!(answer.status.as_u16(), 400 | 413 | 422), "{changes}: {answer:?}");
        answer.problem(answer.status.as_u16());
    }
    assert_eq!(registry.balance(&creator).await, 1_000_000);
    let backwards = registry.submit(&creator.token, settings(&json!({"frames": "10-1"})), blend()).await;
    assert!(backwards.text.contains("10-1"), "{backwards:?}");
    let plain = registry.post(&creator.token, "/v1/jobs", json!({"name": "not multipart"})).await;
    assert!(plain.status.is_client_error(), "{plain:?}");
    plain.problem(plain.status.as_u16());
    registry.stop().await;
}

async fn a_scene_is_named_only_by_its_uploader(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let job = registry.submit(&creator.token, settings(&json!({})), blend()).await.ok();
    let thief = registry.creator("eve", "1").await;
    let named = settings(&json!({"scene_sha256": job["scene_sha256"]}));
    let answer = registry.submit_without_scene(&thief.token, named.clone()).await;
    assert!(answer.status.is_client_error(), "{answer:?}");
    registry.submit_without_scene(&creator.token, named).await.ok();
    registry.stop().await;
}
