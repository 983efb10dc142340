//! The way of one task through leases, frames and ends: rendered once, paid once, whatever goes wrong.

use pictor_processes::until;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::database::Place;
use crate::registry::{Account, PAST_LEASE_SECONDS, Registry, Worker, blend, png, text};

on_both_databases!(
    a_job_is_rendered_and_paid,
    said_twice_is_done_once,
    frames_are_checked_before_they_are_kept,
    a_lapsed_lease_still_completes_and_is_paid_once,
    a_heartbeat_takes_a_lapsed_lease_back,
    who_lost_the_task_to_another_is_paid_nothing,
    a_task_fails_for_good_at_its_third_failure,
    another_worker_takes_a_failed_task_at_once,
    a_task_fails_for_good_at_its_fifth_expiry,
    a_released_task_blames_nobody,
    a_restart_keeps_leases,
    many_askers_never_share_a_task,
);

/// A network of one creator with 10.00 and one provider.
async fn network(place: &Place) -> (Registry, Account, Account) {
    let registry = Registry::start(place).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    (registry, creator, provider)
}

async fn job_is(registry: &Registry, creator: &Account, job: &str, status: &str) -> Value {
    until(&format!("job {status}"), async || {
        let seen = registry.get(&creator.token, &format!("/v1/jobs/{job}")).await.ok();
        (seen["status"] == status).then_some(seen)
    })
    .await
}

/// Waits until the sweep has taken the job's one task from its holder.
async fn lapsed(registry: &Registry, creator: &Account, job: &str) {
    until("the lease lapses", async || {
        let seen = registry.get(&creator.token, &format!("/v1/jobs/{job}")).await.ok();
        (seen["tasks_running"] == 0).then_some(())
    })
    .await;
}

async fn a_job_is_rendered_and_paid(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let settings =
        json!({"name": "film", "frames": "1-5", "frames_per_task": 2, "frame_cost_micros": 50_000});
    let job = registry.submit(&creator.token, settings, blend()).await.ok();
    let worker = registry.worker(&provider, "desk").await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(lease["job_id"], job["id"]);
        worker.render(&lease).await;
    }
    let done = job_is(&registry, &creator, text(&job["id"]), "completed").await;
    assert_eq!((&done["frames_completed"], &done["spent_micros"]), (&json!(5), &json!(250_000)));
    assert_eq!((registry.balance(&creator).await, registry.balance(&provider).await), (9_750_000, 200_000));
    let earned = worker.heartbeat(&[]).await.ok()["earned"].clone();
    assert_eq!(
        (&earned["currency"], &earned["earnings_micros"], &earned["points"]),
        (&json!("EUR"), &json!(200_000), &json!(5))
    );
    assert!(worker.ask("more").await.is_empty());

    let frame = registry.get(&creator.token, &format!("/v1/jobs/{}/frames/3", text(&job["id"]))).await;
    assert_eq!((frame.status.as_u16(), frame.content_type.as_str()), (200, "image/png"));
    registry.get(&creator.token, &format!("/v1/jobs/{}/frames/6", text(&job["id"]))).await.problem(404);
    registry.stop().await;
}

async fn said_twice_is_done_once(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    registry.job(&creator, "1-2").await;
    let worker = registry.worker(&provider, "desk").await;
    let asked = worker.ask("ask").await;
    assert_eq!(worker.ask("ask").await, asked, "the same ask gets the same leases");
    let lease = &asked[0];
    worker.upload(lease, 1).await.ok();
    let again = worker.upload(lease, 1).await;
    assert_eq!(again.status.as_u16(), 200);
    let first = worker.complete(lease).await;
    let second = worker.complete(lease).await;
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!((first.status.as_u16(), &first.ok()["reward_micros"]), (200, &json!(40_000)));
    assert_eq!(registry.balance(&provider).await, 40_000);
    worker.end(lease, "fail", json!({"error": "late", "render_seconds": null})).await.problem(409);
    assert_eq!(registry.balance(&provider).await, 40_000);
    registry.stop().await;
}

async fn frames_are_checked_before_they_are_kept(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let settings = json!({"name": "film", "frames": "1-2", "frames_per_task": 2, "frame_cost_micros": 1, "width": 8, "height": 8});
    registry.submit(&creator.token, settings, blend()).await.ok();
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;

    let picture = png(8, 8, 1);
    worker.put_frame(&lease, 1, picture.clone(), &Sha256::digest(b"other")).await.problem(422);
    let no_picture = b"these are no pixels".to_vec();
    let digest = Sha256::digest(&no_picture);
    worker.put_frame(&lease, 1, no_picture, &digest).await.problem(422);
    let half = picture[..picture.len() / 2].to_vec();
    let digest = Sha256::digest(&half);
    worker.put_frame(&lease, 1, half, &digest).await.problem(422);
    let large = png(9, 8, 1);
    let digest = Sha256::digest(&large);
    worker.put_frame(&lease, 1, large, &digest).await.problem(422);
    let outside = worker.upload(&lease, 3).await;
    assert!(matches!(outside.status.as_u16(), 404 | 422), "{outside:?}");

    worker.upload(&lease, 1).await.ok();
    let other = png(8, 8, 200);
    let digest = Sha256::digest(&other);
    worker.put_frame(&lease, 1, other, &digest).await.problem(409);
    worker.complete(&lease).await.problem(422);
    worker.upload(&lease, 2).await.ok();
    worker.complete(&lease).await.ok();
    registry.stop().await;
}

async fn a_lapsed_lease_still_completes_and_is_paid_once(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let job = registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;
    worker.upload(&lease, 1).await.ok();
    registry.clock.advance(PAST_LEASE_SECONDS);
    lapsed(&registry, &creator, &job).await;
    let first = worker.complete(&lease).await;
    assert_eq!(first.ok()["reward_micros"], 40_000);
    assert_eq!(worker.complete(&lease).await.text, first.text);
    assert_eq!(registry.balance(&provider).await, 40_000);
    job_is(&registry, &creator, &job, "completed").await;
    registry.stop().await;
}

async fn a_heartbeat_takes_a_lapsed_lease_back(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let job = registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    let other = registry.worker(&provider, "other").await;
    let lease = worker.lease().await;
    registry.clock.advance(PAST_LEASE_SECONDS);
    lapsed(&registry, &creator, &job).await;
    let answer = worker.heartbeat(&[text(&lease["id"])]).await.ok();
    assert_eq!(answer["leases"][0]["state"], "held");
    worker.attempt_is(&provider, &lease, "running").await;
    other.heartbeat(&[]).await.ok();
    assert!(other.ask("late").await.is_empty());
    registry.stop().await;
}

async fn who_lost_the_task_to_another_is_paid_nothing(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let rival = registry.account("eve", &["provider"]).await;
    let job = registry.job(&creator, "1").await;
    let slow = registry.worker(&provider, "slow").await;
    let quick = registry.worker(&rival, "quick").await;
    let lost = slow.lease().await;
    slow.upload(&lost, 1).await.ok();
    registry.clock.advance(PAST_LEASE_SECONDS);
    lapsed(&registry, &creator, &job).await;
    let taken = quick.lease().await;
    assert_eq!(taken["task_id"], lost["task_id"]);
    slow.attempt_is(&provider, &lost, "expired").await;

    assert_eq!(slow.heartbeat(&[text(&lost["id"])]).await.ok()["leases"][0]["state"], "lost");
    assert_eq!(slow.complete(&lost).await.problem_code(409), "lease_lost");
    assert_eq!(slow.upload(&lost, 1).await.problem_code(409), "lease_lost");
    quick.render(&taken).await;
    assert_eq!(slow.complete(&lost).await.problem_code(409), "lease_lost");
    assert_eq!((registry.balance(&provider).await, registry.balance(&rival).await), (0, 40_000));
    registry.stop().await;
}

async fn fail(worker: &Worker<'_>, lease: &Value) {
    worker.end(lease, "fail", json!({"error": "no light", "render_seconds": 0.5})).await.ok();
}

async fn a_task_fails_for_good_at_its_third_failure(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let job = registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    for round in 0..3 {
        let lease = worker.lease().await;
        fail(&worker, &lease).await;
        let row = worker.attempt_is(&provider, &lease, "failed").await;
        assert_eq!((&row["error"], &row["reward_micros"]), (&json!("no light"), &Value::Null));
        worker.heartbeat(&[]).await.ok();
        assert!(worker.ask(&format!("at once {round}")).await.is_empty(), "who failed it waits for others");
        registry.clock.advance(PAST_LEASE_SECONDS);
    }
    worker.heartbeat(&[]).await.ok();
    assert!(worker.ask("no more").await.is_empty());
    let failed = job_is(&registry, &creator, &job, "failed").await;
    assert_eq!((&failed["tasks_failed"], &failed["spent_micros"]), (&json!(1), &json!(0)));
    assert!(failed["error"].as_str().is_some_and(|error| !error.is_empty()), "{failed}");
    until("the refund", async || (registry.balance(&creator).await == 10_000_000).then_some(())).await;
    registry.stop().await;
}

async fn another_worker_takes_a_failed_task_at_once(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    let other = registry.worker(&provider, "other").await;
    let lease = worker.lease().await;
    fail(&worker, &lease).await;
    worker.heartbeat(&[]).await.ok();
    assert!(worker.ask("again").await.is_empty());
    let taken = other.lease().await;
    assert_eq!(taken["task_id"], lease["task_id"]);
    other.render(&taken).await;
    assert_eq!(registry.balance(&provider).await, 40_000);
    registry.stop().await;
}

async fn a_task_fails_for_good_at_its_fifth_expiry(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    let job = registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    for _ in 0..5 {
        worker.lease().await;
        registry.clock.advance(PAST_LEASE_SECONDS);
        lapsed(&registry, &creator, &job).await;
    }
    job_is(&registry, &creator, &job, "failed").await;
    registry.stop().await;
}

async fn a_released_task_blames_nobody(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    for _ in 0..6 {
        let lease = worker.lease().await;
        worker.end(&lease, "release", json!({"reason": "the owner plays a game"})).await.ok();
        worker.attempt_is(&provider, &lease, "released").await;
    }
    let lease = worker.lease().await;
    worker.render(&lease).await;
    assert_eq!(registry.balance(&provider).await, 40_000);
    registry.stop().await;
}

async fn a_restart_keeps_leases(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    registry.job(&creator, "1-2").await;
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;
    worker.upload(&lease, 1).await.ok();
    let (id, token, machine) = (worker.id.clone(), worker.token.clone(), worker.machine.clone());
    let registry = registry.restart().await;
    let worker = registry.again(id, token, machine);
    let path = format!("/v1/workers/{}", worker.id);
    let seen = registry.get(&provider.token, &path).await.ok();
    assert_ne!(seen["offline_reason"], "never_connected", "{seen}");
    assert_eq!(worker.heartbeat(&[text(&lease["id"])]).await.ok()["leases"][0]["state"], "held");
    assert_eq!(worker.complete(&lease).await.ok()["reward_micros"], 40_000);
    assert_eq!(registry.balance(&provider).await, 40_000);
    registry.stop().await;
}

async fn many_askers_never_share_a_task(place: Place) {
    let (registry, creator, provider) = network(&place).await;
    registry.job(&creator, "1-20").await;
    let mut workers = Vec::new();
    for number in 0..8 {
        workers.push(registry.worker(&provider, &format!("w{number}")).await);
    }
    let asked = futures_util::future::join_all(workers.iter().map(|worker| worker.ask("all at once"))).await;
    let tasks: Vec<&str> = asked.iter().flatten().map(|lease| text(&lease["task_id"])).collect();
    let distinct: std::collections::HashSet<&str> = tasks.iter().copied().collect();
    assert_eq!((tasks.len(), distinct.len()), (8, 8));
    registry.stop().await;
}
