//! Test renders: asked for by a worker's owner, rendered by its agent, paid by nobody.

use pictor_protocol::{TestRenderReport, TestRenderStatus, UnixMillis};
use pictor_registry::error::Error;
use pictor_registry::workers::test_render::{state::TestRenderEvent, store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::database::Place;
use crate::registry::{Account, Answer, Registry, Worker, png, text};

on_both_databases!(
    a_test_render_goes_to_every_slot_and_counts_nowhere,
    what_an_agent_says_of_it_is_checked,
    nobody_else_sees_or_answers_it,
    unanswered_for_ten_minutes_it_has_failed,
    of_two_reports_at_once_one_counts,
    the_setup_page_starts_and_shows_it,
);

fn two_slots() -> Value {
    let slot = |slot: u32, gpu: Option<&str>| json!({"slot": slot, "gpu_uuid": gpu, "status": "idle", "attempt_id": null});
    json!({"slots": [slot(0, Some("GPU-a")), slot(1, None)]})
}

fn path(worker: &Worker<'_>) -> String {
    format!("/v1/workers/{}/test-render", worker.id)
}

fn completed() -> Value {
    json!({"status": "completed", "seconds": 1.25, "device": "CPU", "peak_memory_bytes": 300_000_000_u64})
}

async fn report(registry: &Registry, worker: &Worker<'_>, id: &str, slot: u32, body: Value) -> Answer {
    let path = format!("/v1/agent/test-renders/{id}/slots/{slot}");
    registry.call(Method::PUT, &worker.token, &path, Some(body)).await
}

async fn asked<'a>(registry: &'a Registry, owner: &Account) -> (Worker<'a>, String) {
    let worker = registry.worker(owner, "desk").await;
    worker.heartbeat_with(&[], two_slots()).await.ok();
    let made = registry.post(&owner.token, &path(&worker), Value::Null).await.ok();
    let id = text(&made["id"]).to_owned();
    (worker, id)
}

async fn a_test_render_goes_to_every_slot_and_counts_nowhere(place: Place) {
    let registry = Registry::start(&place).await;
    let (provider, creator) =
        (registry.account("ada", &["provider"]).await, registry.creator("bob", "1").await);
    let (worker, id) = asked(&registry, &provider).await;
    let figures = async || {
        let earnings = registry.get(&provider.token, "/v1/earnings").await.ok();
        let attempts = registry.get(&provider.token, "/v1/attempts").await.ok();
        let seen = registry.get(&provider.token, &format!("/v1/workers/{}", worker.id)).await.ok();
        (
            earnings["total"].clone(),
            attempts["items"].clone(),
            seen["points"].clone(),
            seen["earnings_micros"].clone(),
        )
    };
    let before = figures().await;
    let shown = registry.get(&provider.token, &path(&worker)).await.ok();
    assert_eq!((text(&shown["id"]), shown["slots"].as_array().unwrap().len()), (id.as_str(), 2));
    assert_eq!(
        (&shown["slots"][0]["status"], &shown["slots"][0]["gpu_uuid"]),
        (&json!("pending"), &json!("GPU-a"))
    );
    let told = worker.heartbeat_with(&[], two_slots()).await.ok();
    assert_eq!(told["test_render"], json!({"id": id, "slots": [0, 1]}));

    // While a slot renders it, no task comes to that slot.
    report(&registry, &worker, &id, 0, json!({"status": "running"})).await.ok();
    registry.job(&creator, "1").await;
    assert!(worker.ask("meanwhile").await.is_empty());
    report(&registry, &worker, &id, 0, completed()).await.problem(409);
    let frame = png(64, 36, 7);
    worker.put_test_frame(&id, 0, frame.clone()).await.ok();
    let frame_path = format!("{}/slots/0/frame", path(&worker));
    registry.get(&provider.token, &frame_path).await.problem(404);
    report(&registry, &worker, &id, 0, completed()).await.ok();
    assert_eq!(registry.bytes(&provider.token, &frame_path).await, frame);
    report(&registry, &worker, &id, 1, json!({"status": "failed", "error": "no such device"})).await.ok();
    let shown = registry.get(&provider.token, &path(&worker)).await.ok();
    assert_eq!(
        shown["slots"][0],
        json!({"slot": 0, "gpu_uuid": "GPU-a", "status": "completed", "seconds": 1.25, "device": "CPU",
            "peak_memory_bytes": 300_000_000_u64, "error": null})
    );
    assert_eq!(
        (&shown["slots"][1]["status"], &shown["slots"][1]["error"]),
        (&json!("failed"), &json!("no such device"))
    );
    let told = worker.heartbeat_with(&[], two_slots()).await.ok();
    assert_eq!(told["test_render"], Value::Null);
    assert_eq!(figures().await, before);
    assert_eq!(worker.ask("afterwards").await.len(), 1, "the slot takes tasks again");

    // Another replaces it, with the frame.
    let again = registry.post(&provider.token, &path(&worker), Value::Null).await.ok();
    assert_ne!(text(&again["id"]), id);
    registry.get(&provider.token, &frame_path).await.problem(404);
    report(&registry, &worker, &id, 0, completed()).await.problem(404);
    registry.stop().await;
}

async fn what_an_agent_says_of_it_is_checked(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let (worker, id) = asked(&registry, &provider).await;
    let under_way = registry.post(&provider.token, &path(&worker), Value::Null).await;
    assert_eq!(under_way.problem_code(409), "test_render_under_way");
    for refused in [
        json!({"status": "pending"}),
        json!({"status": "completed"}),
        json!({"status": "completed", "seconds": -1.0}),
        json!({"status": "failed", "seconds": 1e300}),
    ] {
        report(&registry, &worker, &id, 0, refused).await.problem(400);
    }
    report(&registry, &worker, &id, 7, json!({"status": "running"})).await.problem(404);
    let whole = png(64, 36, 7);
    let cut = whole[..whole.len() / 2].to_vec();
    assert_eq!(worker.put_test_frame(&id, 0, cut).await.problem_code(422), "not_a_png");
    worker.put_test_frame(&id, 0, vec![0; (4 << 20) + 1]).await.problem(413);
    worker.put_test_frame(&id, 7, whole.clone()).await.problem(404);
    let long = json!({"status": "failed", "error": "x".repeat(5_000)});
    report(&registry, &worker, &id, 0, long).await.ok();
    let shown = registry.get(&provider.token, &path(&worker)).await.ok();
    assert_eq!(text(&shown["slots"][0]["error"]).len(), 2_000);
    let ended = report(&registry, &worker, &id, 0, json!({"status": "running"})).await;
    assert_eq!(ended.problem_code(409), "test_render_ended");
    assert_eq!(worker.put_test_frame(&id, 0, whole).await.problem_code(409), "test_render_ended");
    worker.heartbeat_with(&[], json!({"stopping": true})).await.ok();
    let offline = registry.post(&provider.token, &path(&worker), Value::Null).await;
    assert_eq!(offline.problem_code(409), "worker_offline");
    registry.stop().await;
}

async fn nobody_else_sees_or_answers_it(place: Place) {
    let registry = Registry::start(&place).await;
    let (provider, other) =
        (registry.account("ada", &["provider"]).await, registry.account("eve", &["provider"]).await);
    let creator = registry.creator("bob", "1").await;
    let (worker, id) = asked(&registry, &provider).await;
    let theirs = registry.worker(&other, "theirs").await;
    let second = registry.worker(&provider, "second").await;
    for stranger in [&theirs, &second] {
        report(&registry, stranger, &id, 0, json!({"status": "running"})).await.problem(404);
        stranger.put_test_frame(&id, 0, png(8, 8, 7)).await.problem(404);
    }
    registry.get(&provider.token, &path(&second)).await.problem(404);
    worker.put_test_frame(&id, 0, png(8, 8, 7)).await.ok();
    report(&registry, &worker, &id, 0, completed()).await.ok();
    let frame = format!("{}/slots/0/frame", path(&worker));
    for seen in [path(&worker), frame.clone()] {
        registry.get(&other.token, &seen).await.problem(404);
        registry.get(&creator.token, &seen).await.problem(403);
        registry.get(&worker.token, &seen).await.problem(403);
    }
    registry.post(&other.token, &path(&worker), Value::Null).await.problem(404);
    let reader = registry.read_token(&provider).await;
    registry.get(&reader, &path(&worker)).await.ok();
    registry.get(&reader, &frame).await.problem(403);
    registry.post(&reader, &path(&worker), Value::Null).await.problem(403);
    registry.stop().await;
}

async fn unanswered_for_ten_minutes_it_has_failed(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let (worker, id) = asked(&registry, &provider).await;
    report(&registry, &worker, &id, 0, json!({"status": "running"})).await.ok();
    registry.clock.advance(599);
    let told = worker.heartbeat_with(&[], two_slots()).await.ok();
    assert_eq!(told["test_render"]["slots"], json!([0, 1]));
    registry.clock.advance(1);
    let shown = registry.get(&provider.token, &path(&worker)).await.ok();
    for slot in shown["slots"].as_array().unwrap() {
        assert_eq!(slot["status"], "failed");
        assert!(text(&slot["error"]).contains("10 minutes"), "{slot}");
    }
    let told = worker.heartbeat_with(&[], two_slots()).await.ok();
    assert_eq!(told["test_render"], Value::Null);
    report(&registry, &worker, &id, 1, json!({"status": "running"})).await.problem(409);
    registry.post(&provider.token, &path(&worker), Value::Null).await.ok();
    registry.stop().await;
}

async fn the_setup_page_starts_and_shows_it(place: Place) {
    let registry = Registry::start(&place).await;
    let (provider, other) =
        (registry.account("ada", &["provider"]).await, registry.account("eve", &["provider"]).await);
    let worker = registry.worker(&provider, "desk").await;
    worker.heartbeat_with(&[], two_slots()).await.ok();
    let browser = Browser::signed_in(&registry, &provider).await;
    let (setup, start) =
        (format!("/workers/{}/setup", worker.id), format!("/workers/{}/test-render", worker.id));
    browser.get(&setup).await.is(200).says("id=\"test-render-start\"");
    browser.post(&start, &[], &[]).await.is(403);
    assert_eq!(browser.send(&start, &[]).await.leads_to(), format!("{setup}#test-render"));
    browser.get(&setup).await.says("Begins when the slot is free");
    browser.send(&start, &[]).await;
    browser.get(&setup).await.says("under way already");
    let told = worker.heartbeat_with(&[], two_slots()).await.ok();
    let id = text(&told["test_render"]["id"]).to_owned();
    worker.put_test_frame(&id, 0, png(64, 36, 7)).await.ok();
    report(&registry, &worker, &id, 0, completed()).await.ok();
    report(&registry, &worker, &id, 1, json!({"status": "failed", "error": "<b>no device"})).await.ok();
    let shown = browser.get(&setup).await;
    let frame = format!("{start}/0/frame");
    shown.says(&frame).says("1.2 s").says("286.1 MiB").says("&#60;b&#62;no device").says("Render again");
    assert_eq!(browser.get(&frame).await.is(200).header("content-type"), "image/png");
    let stranger = Browser::signed_in(&registry, &other).await;
    stranger.get(&frame).await.is(404);
    stranger.send(&start, &[]).await.is(404);
    registry.stop().await;
}

/// Both were read while the slot still ran: the second to be written must not change how it ended.
async fn of_two_reports_at_once_one_counts(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let (worker, _) = asked(&registry, &provider).await;
    let (id, db) = (worker.id.parse().unwrap(), place.open().await);
    let open = async || store::open_slots(&mut db.read().await.unwrap(), id, UnixMillis(0)).await.unwrap();
    let read_twice = [open().await.remove(0), open().await.remove(0)];
    let ends = [TestRenderEvent::Completed, TestRenderEvent::Failed];
    let reports = read_twice.into_iter().zip(ends).map(|(slot, event)| {
        let status = match event {
            TestRenderEvent::Completed => TestRenderStatus::Completed,
            _ => TestRenderStatus::Failed,
        };
        let report = TestRenderReport {
            status,
            seconds: Some(1.0),
            device: None,
            peak_memory_bytes: None,
            error: Some(status.to_string()),
        };
        db.write(move |conn| {
            let (slot, report) = (slot.clone(), report.clone());
            Box::pin(
                async move { store::report(conn, id, &slot, event, &report).await.map(|()| report.status) },
            )
        })
    });
    let results = futures_util::future::join_all(reports).await;
    let refused = |result: &Result<TestRenderStatus, Error>| {
        matches!(result, Err(Error::Conflict { code: "test_render_ended", .. }))
    };
    assert_eq!(results.iter().filter(|result| refused(result)).count(), 1, "{results:?}");
    let won = results.iter().flatten().next().unwrap();
    let last = store::last(&mut db.read().await.unwrap(), id).await.unwrap().unwrap();
    assert_eq!((last.slots[0].status, last.slots[0].error.clone()), (*won, Some(won.to_string())));
}
