//! The exposition of a real agent without a registry.

use pictor_processes::until;
use std::{collections::BTreeSet, io::Read};

use super::{
    agent::{Agent, client, config_text, nobody, run_to_end},
    exposition,
};

/// Families an agent without a GPU, a registry or a task shows. Those that this machine may lack are not listed.
const GOLDEN: &str = include_str!("../data/families.txt");
const NOT_EVERYWHERE: [&str; 1] = ["pictor_cpu_temperature_celsius"];

/// With a library that is none, so that a machine with a GPU tests the same.
fn without_gpu() -> String {
    format!(
        "{}[metrics]\nnvml_library = \"/nowhere/libnvidia-ml.so\"\nhost_interval_seconds = 0.2\n",
        config_text(&nobody())
    )
}

fn families(text: &str) -> BTreeSet<&str> {
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    named.filter(|family| !NOT_EVERYWHERE.contains(family)).collect()
}

#[tokio::test]
async fn shows_what_it_measures_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &without_gpu()).await;
    until("a second measurement", async || agent.metric("pictor_cpu_utilization_ratio").await).await;
    until("a look at the disk", async || agent.metric("pictor_health{check=\"disk\"}").await).await;
    let golden: BTreeSet<&str> = GOLDEN.lines().collect();
    // Each collector has its own time.
    let text = until("every family of families.txt", async || {
        let text = agent.get("/metrics").await;
        golden.is_subset(&families(&text)).then_some(text)
    })
    .await;
    assert_eq!(families(&text), golden);
    assert!(!text.contains("pictor_gpu") && !text.contains("worker_id") && !text.contains("worker_name"));
    for series in [
        r#"pictor_collector_success{collector="nvml"} 0"#,
        r#"pictor_collector_success{collector="host"} 1"#,
        r#"pictor_tasks_total{result="completed"} 0"#,
        r#"pictor_tasks_total{result="expired"} 0"#,
        r#"pictor_slots{status="idle"} 1"#,
        r#"pictor_worker_status{status="offline"} 1"#,
        r#"pictor_task_running{slot="0"} 0"#,
        "pictor_outbox_entries 0",
    ] {
        let (series, value) = series.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let is_shown = async || agent.metric(series).await.filter(|shown| *shown == value);
        until(&format!("{series} {value}"), is_shown).await;
    }

    exposition::check(&text);
}

#[tokio::test]
async fn a_collector_that_is_switched_off_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{}disabled_collectors = [\"host\"]\n", without_gpu());
    let agent = Agent::start(folder.path(), &config).await;
    until("other measurements", async || agent.metric("pictor_outbox_entries").await).await;
    until("earnings", async || agent.metric("pictor_collector_success{collector=\"earnings\"}").await).await;
    let text = agent.get("/metrics").await;
    assert!(!text.contains("pictor_memory_total_bytes") && !text.contains("collector=\"host\""), "{text}");
    assert_eq!(client().get(agent.url("/metrics/host")).send().await.unwrap().status(), 404);
    exposition::check(&text);
}

#[tokio::test]
async fn parts_gzip_and_health() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &without_gpu()).await;
    assert_eq!(agent.get("/healthz").await, "ok\n");
    until("measurements", async || agent.metric("pictor_memory_total_bytes").await).await;
    for (part, has, has_not) in [
        ("host", "pictor_memory_total_bytes", "pictor_tasks_total"),
        ("render", "pictor_tasks_total", "pictor_memory_total_bytes"),
        ("nvml", "pictor_collector_success{collector=\"nvml\"} 0", "pictor_tasks_total"),
        ("earnings", "pictor_collector_success{collector=\"earnings\"} 1", "pictor_memory_total_bytes"),
    ] {
        let text = until(&format!("{has} in {part}"), async || {
            let text = agent.get(&format!("/metrics/{part}")).await;
            text.contains(has).then_some(text)
        })
        .await;
        assert!(!text.contains(has_not), "{part}:\n{text}");
    }
    let response = client().get(agent.url("/metrics/nothing")).send().await.unwrap();
    assert_eq!(response.status(), 404);

    let ask = client().get(agent.url("/metrics")).header("accept-encoding", "gzip");
    let response = ask.send().await.unwrap();
    assert_eq!(response.headers().get("content-encoding").unwrap(), "gzip");
    assert!(response.headers().get("content-type").unwrap().to_str().unwrap().contains("version=0.0.4"));
    let body = response.bytes().await.unwrap();
    let mut text = String::new();
    // Of several gzip files in a row, this reads the first alone, as curl does.
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    assert!(
        text.contains("pictor_memory_total_bytes") && text.contains("pictor_collector_success"),
        "{text}"
    );
}

#[tokio::test]
async fn a_taken_port_and_taken_data_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &without_gpu()).await;
    let config = folder.path().join("worker.toml").display().to_string();
    let run = |listen: &str, data: &str| {
        let data = folder.path().join(data).display().to_string();
        run_to_end(folder.path(), &["run", "--config", &config, "--listen", listen, "--data", &data])
    };
    let (code, _, stderr) = run(&agent.address.to_string(), "other");
    assert!(code == 1 && stderr.contains("is taken") && stderr.contains("--listen"), "{stderr}");
    let (code, _, stderr) = run("127.0.0.1:0", "data");
    assert!(code == 1 && stderr.contains("another agent uses") && stderr.contains("--data"), "{stderr}");
    let (code, _, stderr) = run("127.0.0.1:0", "worker.toml/data");
    assert!(code == 1 && stderr.contains("cannot write to") && stderr.contains("--data"), "{stderr}");
}

#[tokio::test]
async fn metrics_ask_for_their_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let config = format!("{}token_file = \"{}\"\n", without_gpu(), token.display());
    let agent = Agent::start(folder.path(), &config).await;
    let ask = |path: &str, token: Option<&str>| {
        let request = client().get(agent.url(path));
        match token {
            Some(token) => request.bearer_auth(token).send(),
            None => request.send(),
        }
    };
    assert_eq!(ask("/metrics", None).await.unwrap().status(), 401);
    assert_eq!(ask("/metrics/host", Some("other")).await.unwrap().status(), 401);
    assert_eq!(ask("/metrics", Some("secret")).await.unwrap().status(), 200);
    assert_eq!(ask("/healthz", None).await.unwrap().status(), 200);
}
