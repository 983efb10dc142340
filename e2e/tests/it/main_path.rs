//! A creator's scene becomes pictures, a provider is paid, and Prometheus shows it.

use std::collections::HashSet;
use std::fs;

use pictor_processes::{Process, Seen, command, installed, run, until_true};
use pictor_protocol::{JobId, JobStatus};
use serde_json::Value;

use crate::network::{FRAME_COST, Machine, Network, Pace};
use crate::prometheus::Prometheus;
use crate::scenes;

const FRAMES: usize = 10;

#[tokio::test]
async fn ten_frames_are_rendered_paid_and_seen() {
    let scene = scenes::sample().await;
    let network = Network::start(Pace::USUAL).await;
    let operator = network.account("operator", &["--role", "operator"]).await;
    let read_token = network.read_token("operator").await;
    let prometheus = Prometheus::start(&network, &read_token).await;
    let machine = network.machine("render-box").await;
    let agent = network.idle_agent(&machine).await;

    let scene = scene.to_str().expect("a path in UTF-8");
    let submit = ["submit", scene, "--frames", "1-10", "--cost", FRAME_COST, "--wait", "--json"];
    let (submitted, ()) = tokio::join!(run(network.job_command(&submit)), is_sandboxed(&agent));
    let job: Value = serde_json::from_str(&submitted.succeeded()).expect("a job as JSON");
    let job: JobId = job["id"].as_str().expect("its id").parse().expect("a job's id");

    let job = network.job(job).await;
    assert_eq!((job.status, job.tasks_completed, job.frames_completed), (JobStatus::Completed, 10, 10));
    check_frames(&network, job.id).await;
    network.paid_frames(10).await;
    let ledger = network.ledger().await;
    assert_eq!((ledger.transfers("reward"), ledger.transfers("fee")), (10, 10), "{ledger:?}");
    assert_eq!(network.earnings().await.tasks.completed, 10);

    for (query, expected) in
        [("sum(pictor_tasks_total{result=\"completed\"})", 10.0), ("sum(pictor_earnings_total)", 0.4)]
    {
        prometheus.answers(query, expected).await;
    }
    let labelled = format!(
        "count(pictor_tasks_total{{job=\"pictor-agent\",instance=\"{0}\",worker_id=\"{0}\"}})",
        machine.id
    );
    prometheus.answers(&labelled, 4.0).await;
    for url in metrics_urls(&network, &machine) {
        promtool_accepts(&network, &url, &operator.token).await;
    }
    assert_eq!(agent.terminate().await, Some(0));
    drop(prometheus);
}

fn metrics_urls(network: &Network, machine: &Machine) -> [String; 3] {
    [
        format!("http://{}/metrics", machine.listen),
        format!("{}/metrics", network.url),
        format!("{}/metrics/network", network.url),
    ]
}

/// Sees a Blender of this agent in namespaces of its own, and never as root.
async fn is_sandboxed(agent: &Process) {
    let namespaces = |pid: &str| {
        ["net", "mnt", "pid", "ipc"].map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
    };
    let ours = namespaces("self");
    until_true("a Blender renders apart", async || {
        agent.descendants().iter().filter(|process| process.is_blender()).any(|Seen { pid, .. }| {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
            let is_root = status.lines().any(|line| line.starts_with("Uid:") && line.contains("\t0"));
            let apart = namespaces(&pid.to_string()).into_iter().zip(&ours);
            !is_root && apart.into_iter().all(|(its, ours)| its.is_some() && its != *ours)
        })
    })
    .await;
}

async fn check_frames(network: &Network, job: JobId) {
    let folder = network.folder().join("frames");
    let output = folder.to_str().expect("a path in UTF-8");
    run(network.job_command(&["fetch", &job.to_string(), "--output", output])).await.succeeded();
    let paths: Vec<_> = fs::read_dir(&folder).expect("a folder of frames").flatten().collect();
    assert_eq!(paths.len(), FRAMES);
    let pictures: HashSet<Vec<u8>> = paths
        .iter()
        .map(|entry| {
            let picture = image::open(entry.path()).expect("a picture").into_rgb8();
            assert_eq!(picture.dimensions(), (320, 180));
            picture.into_raw()
        })
        .collect();
    assert_eq!(pictures.len(), FRAMES, "two frames show the same");
}

async fn promtool_accepts(network: &Network, url: &str, token: &str) {
    let response = network.client().get(url).bearer_auth(token).send().await.expect("an answer");
    assert!(response.status().is_success(), "{url}: {}", response.status());
    let exposition = network.folder().join("exposition.txt");
    fs::write(&exposition, response.text().await.expect("text")).expect("a file");
    let mut check = command(&installed("promtool"), ["check", "metrics"]);
    check.stdin(fs::File::open(&exposition).expect("the file again"));
    run(check).await.succeeded();
}
