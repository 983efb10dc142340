//! A creator's scene becomes pictures, a provider is paid, and Prometheus shows it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use pictor_protocol::{JobId, JobStatus};
use reqwest::Url;
use serde_json::Value;

use crate::network::{FRAME_COST, Machine, Network, Pace};
use crate::process::{Process, command, free_port, installed, repository, run};
use crate::process_tree::Seen;
use crate::{poll, scenes};

const FRAMES: usize = 10;

#[tokio::test]
async fn ten_frames_are_rendered_paid_and_seen() {
    let scene = scenes::sample().await;
    let network = Network::start(Pace::USUAL).await;
    let operator = network.account("operator", &["--role", "operator"]).await;
    let read_token = read_token(&network).await;
    let (prometheus, prometheus_url) = start_prometheus(&network, &read_token).await;
    let machine = network.machine("render-box").await;
    let agent = network.idle_agent(&machine).await;

    let scene = scene.to_str().expect("a path in UTF-8");
    let submit = ["submit", scene, "--frames", "1-10", "--cost", FRAME_COST, "--wait", "--json"];
    let (submitted, ()) = tokio::join!(run(network.job_command(&submit), 240), is_sandboxed(&agent));
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
        is_answered(&network, &prometheus_url, query, expected).await;
    }
    let labelled = format!(
        "count(pictor_tasks_total{{job=\"pictor-agent\",instance=\"{0}\",worker_id=\"{0}\"}})",
        machine.id
    );
    is_answered(&network, &prometheus_url, &labelled, 4.0).await;
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

async fn read_token(network: &Network) -> String {
    let printed = network.on_database(&["account", "token", "operator", "--scope", "read", "--json"]).await;
    let token: Value = serde_json::from_str(&printed.succeeded()).expect("a token as JSON");
    token["token"].as_str().expect("the token").to_owned()
}

/// The repository's own configuration at other addresses, and in more of a hurry.
async fn start_prometheus(network: &Network, read_token: &str) -> (Process, String) {
    let folder = network.folder().join("prometheus");
    copy_folder(&repository().join("prometheus"), &folder);
    let file = folder.join("prometheus.yml");
    let registry = network.url.trim_start_matches("http://");
    let text = fs::read_to_string(&file).expect("prometheus.yml").replace("127.0.0.1:8080", registry);
    let text = text.replace("127.0.0.1:9093", "127.0.0.1:9").replace("interval: 15s", "interval: 2s");
    fs::write(&file, text.replace("scrape_timeout: 10s", "scrape_timeout: 2s")).expect("prometheus.yml");
    fs::write(folder.join("registry.token"), read_token).expect("registry.token");

    let listen = format!("127.0.0.1:{}", free_port());
    let mut prometheus =
        command(&installed("prometheus"), ["--web.listen-address", &listen, "--config.file"]);
    prometheus.arg(&file).arg("--storage.tsdb.path").arg(network.folder().join("prometheus-data"));
    let prometheus = Process::start("prometheus", network.folder(), prometheus);
    let url = format!("http://{listen}");
    prometheus.answers(&format!("{url}/-/ready"), 60).await;
    (prometheus, url)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copied file");
        }
    }
}

/// Sees a Blender of this agent in namespaces of its own, and never as root.
async fn is_sandboxed(agent: &Process) {
    let namespaces = |pid: &str| {
        ["net", "mnt", "pid", "ipc"].map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
    };
    let ours = namespaces("self");
    poll::until_true("a Blender renders apart", 60, async || {
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
    run(network.job_command(&["fetch", &job.to_string(), "--output", output]), 60).await.succeeded();
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

async fn is_answered(network: &Network, prometheus: &str, query: &str, expected: f64) {
    poll::until_true(&format!("Prometheus answers {query} = {expected}"), 60, async || {
        let url = Url::parse_with_params(&format!("{prometheus}/api/v1/query"), [("query", query)]);
        let call = network.client().get(url.expect("a URL"));
        let answer: Value = call.send().await.expect("an answer").json().await.expect("JSON");
        let value =
            answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    })
    .await;
}

async fn promtool_accepts(network: &Network, url: &str, token: &str) {
    let response = network.client().get(url).bearer_auth(token).send().await.expect("an answer");
    assert!(response.status().is_success(), "{url}: {}", response.status());
    let exposition = network.folder().join("exposition.txt");
    fs::write(&exposition, response.text().await.expect("text")).expect("a file");
    let mut check = command(&installed("promtool"), ["check", "metrics"]);
    check.stdin(fs::File::open(&exposition).expect("the file again"));
    run(check, 20).await.succeeded();
}
