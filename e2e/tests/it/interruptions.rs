//! Either side dies or stops in the middle of a job, and the job is rendered and paid all the same, once.

use pictor_processes::{Process, Seen, all_gone, until, until_true};
use pictor_protocol::{AttemptStatus, OfflineReason, WorkerStatus};

use crate::network::{Network, Pace};
use crate::scenes;

#[tokio::test]
async fn an_agent_killed_in_mid_render_renders_again_after_its_restart() {
    let scene = scenes::slow().await;
    let network = Network::start(Pace::QUICK).await;
    let machine = network.machine("killed").await;
    let agent = network.idle_agent(&machine).await;
    let job = network.submit(&scene, &["--frames", "1-2"]).await;
    let below = renders(&agent).await;
    agent.kill().await;
    all_gone(&below).await;

    let agent = network.agent(&machine, &[]);
    network.completed(job).await;
    network.paid_frames(2).await;
    let ended: Vec<_> = network.attempts().await.into_iter().map(|row| row.status).collect();
    let completed = ended.iter().filter(|status| **status == AttemptStatus::Completed).count();
    assert_eq!((completed, ended.len()), (2, 3), "{ended:?}");
    let after = agent.descendants();
    assert_eq!(agent.terminate().await, Some(0));
    all_gone(&after).await;
}

#[tokio::test]
async fn a_registry_killed_in_mid_job_finishes_it_after_its_restart() {
    let scene = scenes::quick().await;
    let mut network = Network::start(Pace::QUICK).await;
    let machine = network.machine("orphan").await;
    let agent = network.idle_agent(&machine).await;
    let job = network.submit(&scene, &["--frames", "1-6"]).await;
    until_true("a task is completed", async || network.job(job).await.tasks_completed > 0).await;
    network.registry().kill().await;
    // It goes on rendering what it has, and keeps the result.
    agent.says("registry").await;
    network.start_registry().await;

    network.completed(job).await;
    network.paid_frames(6).await;
    assert_eq!(network.ledger().await.transfers("reward"), 6);
    assert!(agent.exit_status().is_none());
}

#[tokio::test]
async fn an_agent_started_before_its_registry_connects_by_itself() {
    let scene = scenes::quick().await;
    let mut network = Network::start(Pace::QUICK).await;
    let machine = network.machine("early").await;
    assert_eq!(network.registry().terminate().await, Some(0));
    let agent = network.agent(&machine, &[]);
    agent.answers(&format!("http://{}/metrics", machine.listen)).await;
    agent.says("registry").await;
    assert!(agent.exit_status().is_none());

    network.start_registry().await;
    network.worker_is(machine.id, WorkerStatus::Idle).await;
    let job = network.submit(&scene, &["--frames", "1"]).await;
    network.completed(job).await;
    network.paid_frames(1).await;
}

#[tokio::test]
async fn an_agent_told_to_stop_gives_its_lease_back_at_once() {
    let scene = scenes::slow().await;
    // With a lease of a minute, only giving it back makes the task free within the test.
    let network = Network::start(Pace::USUAL).await;
    let machine = network.machine("stopped").await;
    let agent = network.idle_agent(&machine).await;
    let job = network.submit(&scene, &["--frames", "1-4", "--frames-per-task", "4"]).await;
    let below = renders(&agent).await;
    assert_eq!(network.job(job).await.tasks_running, 1);

    assert_eq!(agent.terminate().await, Some(0));
    all_gone(&below).await;
    let attempts = network.attempts().await;
    assert_eq!(attempts.iter().map(|row| row.status).collect::<Vec<_>>(), [AttemptStatus::Released]);
    let job = network.job(job).await;
    assert_eq!((job.tasks_running, job.tasks_failed, job.tasks_completed), (0, 0, 0));
    let worker = network.worker(machine.id).await;
    assert_eq!((worker.status, worker.offline_reason), (WorkerStatus::Offline, Some(OfflineReason::Stopped)));
    assert_eq!(network.ledger().await.transfers("reward"), 0);
}

/// Waits until a Blender of this agent is at work, and names all that runs below the agent.
async fn renders(agent: &Process) -> Vec<Seen> {
    until("Blender renders", async || {
        let below = agent.descendants();
        below.iter().any(Seen::is_blender).then_some(below)
    })
    .await
}
