//! A task is paid once, to the attempt that completes it, whatever is said twice, late, or by somebody else.

use pictor_processes::until_true;
use pictor_protocol::{AttemptStatus, JobId, LeaseState};
use reqwest::StatusCode;

use crate::hand::{Hand, accepted, refused};
use crate::network::{FRAME_REWARD_MICROS, Network, Pace};
use crate::scenes;

#[tokio::test]
async fn a_completion_sent_twice_is_paid_once() {
    let network = Network::start(Pace::QUICK).await;
    let hand = Hand::register(&network, "twice").await;
    let job = network.submit(&scenes::quick().await, &["--frames", "1-2", "--frames-per-task", "2"]).await;
    let lease = hand.lease(&network).await;
    assert_eq!((lease.job_id, lease.frames.count()), (job, 2));

    hand.send_frame(&network, lease.id, 1, 1).await.error_for_status().expect("the first frame");
    refused(hand.complete(&network, lease.id).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    hand.send_frame(&network, lease.id, 2, 2).await.error_for_status().expect("the second frame");
    hand.send_frame(&network, lease.id, 2, 2).await.error_for_status().expect("the same bytes again");
    refused(hand.send_frame(&network, lease.id, 2, 3).await, StatusCode::CONFLICT).await;

    let first = accepted(hand.complete(&network, lease.id).await).await;
    let second = accepted(hand.complete(&network, lease.id).await).await;
    assert_eq!(first, second);
    assert_eq!(first["reward_micros"], 2 * FRAME_REWARD_MICROS);
    network.completed(job).await;
    network.paid_frames(2).await;
    assert_eq!(network.ledger().await.transfers("reward"), 1);
}

#[tokio::test]
async fn a_completion_after_another_attempt_has_the_task_is_refused() {
    let network = Network::start(Pace::QUICK).await;
    let (slow, quick) = (Hand::register(&network, "slow").await, Hand::register(&network, "quick").await);
    let job = network.submit(&scenes::quick().await, &["--frames", "1"]).await;
    let lost = slow.lease(&network).await;
    slow.send_frames(&network, &lost).await.error_for_status().expect("a frame in time");

    let taken = quick.lease(&network).await;
    assert_eq!((taken.task_id, taken.id == lost.id), (lost.task_id, false));
    let answer = slow.heartbeat(&network, &[lost.id]).await;
    assert_eq!(answer.leases.first().map(|lease| lease.state), Some(LeaseState::Lost));
    assert_eq!(refused(slow.send_frames(&network, &lost).await, StatusCode::CONFLICT).await, "lease_lost");
    assert_eq!(refused(slow.complete(&network, lost.id).await, StatusCode::CONFLICT).await, "lease_lost");
    assert_eq!(network.ledger().await.transfers("reward"), 0);
    assert_eq!(network.earnings().await.balance_micros.0, 0);

    refused(quick.complete(&network, taken.id).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    quick.send_frames(&network, &taken).await.error_for_status().expect("a frame");
    accepted(quick.complete(&network, taken.id).await).await;
    assert_eq!(refused(slow.complete(&network, lost.id).await, StatusCode::CONFLICT).await, "lease_lost");
    network.completed(job).await;
    network.paid_frames(1).await;
    let attempts = network.attempts().await;
    let of =
        |hand: &Hand| attempts.iter().filter(|row| row.worker_id == hand.id).map(|row| row.status).collect();
    let (slows, quicks): (Vec<_>, Vec<_>) = (of(&slow), of(&quick));
    assert_eq!((slows, quicks), (vec![AttemptStatus::Expired], vec![AttemptStatus::Completed]));
}

#[tokio::test]
async fn a_lapsed_lease_that_nobody_took_is_completed_and_paid_once() {
    let network = Network::start(Pace::QUICK).await;
    let hand = Hand::register(&network, "silent").await;
    let job = network.submit(&scenes::quick().await, &["--frames", "1"]).await;
    let lease = hand.lease(&network).await;
    assert_eq!(hand.heartbeat(&network, &[lease.id]).await.leases[0].state, LeaseState::Held);
    assert_eq!(network.job(job).await.tasks_running, 1);

    task_is_pending_again(&network, job).await;
    hand.send_frames(&network, &lease).await.error_for_status().expect("the frame takes the task back");
    let first = accepted(hand.complete(&network, lease.id).await).await;
    assert_eq!(first["status"], "completed");
    network.completed(job).await;
    network.paid_frames(1).await;
    let attempts = network.attempts().await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(attempts[0].status, AttemptStatus::Completed);
}

#[tokio::test]
async fn a_lapsed_lease_is_taken_back_by_a_heartbeat_or_by_the_completion_alone() {
    let network = Network::start(Pace::QUICK).await;
    let hand = Hand::register(&network, "silent").await;
    let job = network.submit(&scenes::quick().await, &["--frames", "1"]).await;
    let lease = hand.lease(&network).await;
    hand.send_frames(&network, &lease).await.error_for_status().expect("a frame in time");

    task_is_pending_again(&network, job).await;
    assert_eq!(hand.heartbeat(&network, &[lease.id]).await.leases[0].state, LeaseState::Held);
    assert_eq!(network.job(job).await.tasks_running, 1);
    task_is_pending_again(&network, job).await;
    accepted(hand.complete(&network, lease.id).await).await;
    network.completed(job).await;
    network.paid_frames(1).await;
}

async fn task_is_pending_again(network: &Network, job: JobId) {
    until_true("the lease has lapsed", async || network.job(job).await.tasks_running == 0).await;
}
