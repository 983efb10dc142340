//! One task is one trace through both processes, as a collector receives it, and the log names it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pictor_processes::{Process, free_port, until_true};
use pictor_protocol::{TaskId, WorkerStatus};
use serde_json::Value;

use crate::collector::{Collector, Trace};
use crate::network::{Machine, Network, Pace};
use crate::scenes;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[tokio::test]
async fn one_task_is_one_trace() {
    let (scene, collector) = (scenes::quick().await, Collector::start().await);
    let options = ["--otlp-endpoint", &collector.url, "--log-format", "json"];
    let mut network = Network::start_with(Pace::QUICK, &options).await;
    let machine = network.machine("traced").await;
    let agent = traced_agent(&network, &machine, &collector.url).await;
    let job = network.submit(&scene, &["--frames", "1-2", "--frames-per-task", "2"]).await;
    network.completed(job).await;
    let row = network.attempts().await.remove(0);
    let trace_id = trace_of(row.task_id);

    agent.says("task completed").await;
    let agent_log = agent.log();
    assert_eq!(agent.terminate().await, Some(0));
    let registry = network.registry();
    assert_eq!(registry.terminate().await, Some(0));
    // Both have sent what they had: nothing is waited for from here on.
    let trace = collector.trace(&trace_id);
    has_every_phase(&trace);
    trace.is_one_tree();
    trace.requests_are_below_their_calls();
    let paid = trace.one("task paid");
    let reward =
        (paid.attributes["pictor.reward_micros"].as_str(), paid.attributes["pictor.currency"].as_str());
    assert_eq!(reward, ("80000", "EUR"), "{paid:?}");
    let lease = trace.one("task leased");
    assert_eq!(lease.attributes["pictor.worker.id"], machine.id.to_string());
    let spans = collector.spans();
    let asking = spans.iter().find(|span| lease.links.contains(&span.id)).expect("the asking it answers");
    assert_eq!((&*asking.name, asking.trace == trace_id), ("POST /v1/agent/leases", false));

    let beat = spans.iter().find(|span| span.name == "heartbeat").expect("heartbeats");
    let beat = collector.trace(&beat.trace);
    beat.is_one_tree();
    let served =
        beat.all("POST /v1/agent/heartbeat").into_iter().find(|span| span.service == "pictor-registry");
    let path = "agent:heartbeat > agent:POST /v1/agent/heartbeat > registry:POST /v1/agent/heartbeat";
    assert_eq!(beat.path(served.expect("the registry's half")), path);
    for said in ["task taken", "task completed"] {
        assert_eq!(line(&agent_log, said)["trace_id"], trace_id, "{agent_log}");
    }
}

/// What happens to a task, and below what.
#[track_caller]
fn has_every_phase(trace: &Trace) {
    let lease = "registry:task submitted > registry:task leased";
    let task = format!("{lease} > agent:task");
    let call =
        |phase: &str, route: &str| format!("{task} > agent:{phase} > agent:{route} > registry:{route}");
    let fetch = "GET /v1/agent/leases/{id}/scene";
    let put = "PUT /v1/agent/leases/{id}/frames/{n}";
    let complete = "POST /v1/agent/leases/{id}/complete";
    let expected = [
        ("task submitted", vec!["registry:task submitted".to_owned()]),
        ("task leased", vec![lease.to_owned()]),
        ("task", vec![task.clone()]),
        ("scene fetched", vec![format!("{task} > agent:scene fetched")]),
        ("scene loaded", vec![format!("{task} > agent:scene loaded")]),
        ("frame rendered", vec![format!("{task} > agent:frame rendered"); 2]),
        ("frame uploaded", vec![format!("{task} > agent:frame uploaded"); 2]),
        ("result uploaded", vec![format!("{task} > agent:result uploaded")]),
        ("task paid", vec![format!("{} > registry:task paid", call("result uploaded", complete))]),
    ];
    for (name, paths) in expected {
        let found: Vec<_> = trace.all(name).into_iter().map(|span| trace.path(span)).collect();
        assert_eq!(found, paths, "{name}: {trace}");
    }
    for (phase, route, count) in [("scene fetched", fetch, 1), ("frame uploaded", put, 2)] {
        let served = trace.all(route).into_iter().filter(|span| span.service == "pictor-registry");
        let found: Vec<_> = served.map(|span| trace.path(span)).collect();
        assert_eq!(found, vec![call(phase, route); count], "{trace}");
    }
    for name in ["frame rendered", "frame uploaded"] {
        let mut frames: Vec<_> =
            trace.all(name).iter().map(|span| &span.attributes["pictor.frame"]).collect();
        frames.sort();
        assert_eq!(frames, ["1", "2"], "{name}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_after_both_sides_were_killed() {
    let (scene, collector) = (scenes::slow().await, Collector::start().await);
    let mut network = Network::start_with(Pace::QUICK, &["--otlp-endpoint", &collector.url]).await;
    let machine = network.machine("killed").await;
    let agent = traced_agent(&network, &machine, &collector.url).await;
    network.submit(&scene, &["--frames", "1-9", "--frames-per-task", "9"]).await;
    agent.says("task taken").await;
    agent.kill().await;
    let trace_id = trace_of(network.attempts().await.remove(0).task_id);
    until_true("the first lease is told", async || collector.trace(&trace_id).has("task leased", 1)).await;
    network.registry().kill().await;
    network.start_registry().await;
    let agent = traced_agent(&network, &machine, &collector.url).await;
    until_true("the second lease is told", async || {
        collector.trace(&trace_id).has("task released", 1) && collector.trace(&trace_id).has("task leased", 2)
    })
    .await;
    let trace = collector.trace(&trace_id);
    trace.one("task submitted");
    // The new process has read from its disk where the old one stood, whose own span is lost with it.
    assert!(!trace.one("result uploaded").parent.is_empty(), "{trace}");
    let release = "POST /v1/agent/leases/{id}/release";
    let path =
        format!("agent:result uploaded > agent:{release} > registry:{release} > registry:task released");
    assert_eq!(trace.path(trace.one("task released")), path, "{trace}");
    let (first, second) = (trace.all("task leased")[0], trace.all("task leased")[1]);
    assert_eq!(first.parent, second.parent, "{trace}");
    assert_ne!(first.attributes["pictor.attempt.id"], second.attributes["pictor.attempt.id"]);
    drop(agent);
}

#[tokio::test]
async fn collectors_that_are_away_disturb_nothing() {
    let scene = scenes::quick().await;
    // One takes connections and never says a word, the other is not there.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = (format!("http://{}", silent.local_addr().expect("its address")), silent);
    let mut network = Network::start_with(Pace::QUICK, &["--otlp-endpoint", &silent.0]).await;
    let machine = network.machine("untraced").await;
    let agent = traced_agent(&network, &machine, &format!("http://127.0.0.1:{}", free_port())).await;
    agent.says("traces cannot be sent").await;
    let job = network.submit(&scene, &["--frames", "1-2"]).await;
    network.completed(job).await;
    network.paid_frames(2).await;
    let log = agent.log();
    assert_eq!(log.matches("traces cannot be sent").count(), 1, "{log}");
    for process in [agent, network.registry()] {
        let began = Instant::now();
        assert_eq!(process.terminate().await, Some(0));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn without_a_collector_the_log_still_names_the_trace() {
    let scene = scenes::quick().await;
    let network = Network::start(Pace::QUICK).await;
    let machine = network.machine("plain").await;
    let agent = network.agent(&machine, &["--log-format", "json"]);
    agent.says("ready to render").await;
    let job = network.submit(&scene, &["--frames", "1"]).await;
    network.completed(job).await;
    let trace_id = trace_of(network.attempts().await.remove(0).task_id);
    agent.says("task completed").await;
    let log = agent.log();
    for said in ["task taken", "task completed"] {
        assert_eq!(line(&log, said)["trace_id"], trace_id, "{log}");
    }
    assert!(line(&log, "ready to render").get("trace_id").is_none(), "{log}");
}

/// An agent that logs JSON, ready for tasks.
async fn traced_agent(network: &Network, machine: &Machine, collector: &str) -> Process {
    let mut command = machine.command("run", &["--log-format", "json"]);
    command.env(ENDPOINT, collector).env("OTEL_BSP_SCHEDULE_DELAY", "200");
    // A proxy of the environment must not come between programs of one machine.
    command.env_remove("NO_PROXY").env_remove("no_proxy").env("http_proxy", "http://127.0.0.1:9");
    let agent = Process::start("agent", network.folder(), command);
    network.worker_is(machine.id, WorkerStatus::Idle).await;
    agent.says("ready to render").await;
    agent
}

fn trace_of(task: TaskId) -> String {
    task.to_string().trim_start_matches("tsk_").to_owned()
}

/// The first line of a log of JSON that says this.
#[track_caller]
fn line(log: &str, said: &str) -> Value {
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let found = lines.find(|line| line["message"].as_str().is_some_and(|message| message.contains(said)));
    found.unwrap_or_else(|| panic!("'{said}' is not in {log}"))
}
