//! Everything that dashboards, rules and alerts ask, asked of a real Prometheus and a real registry that watch real
//! workers: one with eight GPUs of a fake driver that renders on its processor, one that is paused and loses its GPU,
//! one that never came.

use std::collections::HashSet;
use std::fs;
use std::time::Instant;

use fake_nvml::install::Fake;
use pictor_processes::{PATIENCE, Process, repository, until_true};
use pictor_protocol::{AttemptStatus, Earnings, JobStatus, WorkerId, WorkerStatus};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::dashboards::{self, Chosen, Kind, Question, series_named};
use crate::network::{FRAME_REWARD_MICROS, Machine, Network, Pace};
use crate::prometheus::Prometheus;
use crate::rightly_empty::RightlyEmpty;
use crate::scenes;

const ECONOMICS: &str = "
[economics]
price_per_kwh = 0.32
currency = \"EUR\"
amortisation_per_hour = 0.05
host_idle_watts = 50.0
host_busy_watts = 150.0
";

#[tokio::test]
async fn every_query_has_an_answer() {
    let network = Network::start(Pace::QUICK).await;
    network.account("operator", &["--role", "operator"]).await;
    let backup = network.folder().join("backup.db");
    network.on_database(&["backup", backup.to_str().expect("a path in UTF-8")]).await.succeeded();
    let read_token = network.read_token("operator").await;
    let prometheus = Prometheus::start(&network, &read_token).await;
    let mut fleet = Fleet::start(&network).await;
    prometheus.answers("sum(up{job=\"pictor-agent\"})", 2.0).await;
    fleet.suffer(&network, &prometheus).await;
    work(&network, fleet.server.machine.id).await;

    let chosen = Chosen {
        account: &network.provider.account_id,
        worker: fleet.server.machine.id.to_string(),
        gpus: fleet.gpus(),
        read_token: &read_token,
    };
    totals_agree(&network, &prometheus, &chosen).await;
    let mut questions = dashboards::of_dashboards().await;
    questions.extend(dashboards::of_rules(&prometheus).await);
    let (rest, promql): (Vec<_>, Vec<_>) = questions.into_iter().partition(Question::is_rest);
    let listed = RightlyEmpty::read();
    registry_answers(&network, &chosen, &rest, &listed).await;
    prometheus_answers(&prometheus, &chosen, &promql, &listed).await;
    rules_are_sound(&prometheus).await;
}

struct Fleet {
    server: Station,
    desktop: Station,
}

/// A machine with GPUs of a fake driver. Its agent ends before its GPUs go.
struct Station {
    agent: Process,
    fake: Fake,
    machine: Machine,
}

impl Fleet {
    async fn start(network: &Network) -> Fleet {
        network.machine("never-connected").await;
        let server = Station::start(network, "server", "server-8", "cpu").await;
        let desktop = Station::start(network, "desktop", "old-driver", "gpu").await;
        network.worker_is(server.machine.id, WorkerStatus::Idle).await;
        network.worker_is(desktop.machine.id, WorkerStatus::Paused).await;
        for station in [&server, &desktop] {
            station.agent.says("ready to render").await;
        }
        Fleet { server, desktop }
    }

    fn gpus(&self) -> Vec<String> {
        let script =
            fs::read_to_string(self.server.fake.library.with_extension("1.toml")).expect("the script");
        let script: toml::Table = script.parse().expect("TOML");
        let gpus = script["gpu"].as_array().expect("GPUs").iter();
        gpus.map(|gpu| gpu["uuid"].as_str().expect("a UUID").to_owned()).collect()
    }

    /// What only machines in trouble have: Xid errors, memory that wears out, a GPU that is gone.
    async fn suffer(&mut self, network: &Network, prometheus: &Prometheus) {
        prometheus.knows("pictor_gpu_retired_pages_pending").await;
        prometheus.knows("gpu:busy:ratio5m").await;
        self.server.fake.set(0, "xids", vec![79]);
        self.server.fake.set(3, "ecc_errors.aggregate_uncorrected", rising(2, 0.2));
        self.desktop.fake.set(0, "state", "lost");
        let refused = network.call(&network.provider.token, Method::GET, "/v1/workers/nobody", None).await;
        assert!(refused.status().is_client_error(), "{}", refused.status());
    }
}

impl Station {
    async fn start(network: &Network, name: &str, profile: &str, device: &str) -> Station {
        let machine = network.machine(name).await;
        let path = repository().join(format!("agent/tests/data/nvml/{profile}.toml"));
        let script = fs::read_to_string(path).expect("a profile");
        let folder = network.folder().join(format!("{name}-nvml"));
        fs::create_dir(&folder).expect("a folder");
        let mut fake = Fake::install(&folder, &script);
        let text = fs::read_to_string(&machine.config).expect("the imported file");
        let text = text.replace("device = \"cpu\"", &format!("device = \"{device}\""));
        let metrics = format!("\n[metrics]\nnvml_library = \"{}\"\n", fake.library.display());
        fs::write(&machine.config, text + &metrics + ECONOMICS).expect("the imported file");
        if device == "cpu" {
            // Cards of servers have none of their own.
            fake.set(0, "fans_percent", vec![40]);
            // It is held back by heat; so fast that rates of five minutes see it within one.
            fake.set(2, "fields.253", rising(0, 5e9));
            fake.set(2, "clocks_megahertz.graphics", 990);
            change(network, machine.id, json!({ "tags": ["rack-1"] })).await;
        } else {
            // It takes no task: its GPUs would not render any.
            change(network, machine.id, json!({ "desired": "paused" })).await;
        }
        let agent = network.agent(&machine, &[]);
        agent.answers(&format!("http://{}/metrics", machine.listen)).await;
        Station { agent, fake, machine }
    }
}

/// A reading of the fake driver that counts up.
fn rising(from: i64, per_second: f64) -> toml::Value {
    let keys = [("from".to_owned(), from.into()), ("per_second".to_owned(), per_second.into())];
    toml::Value::Table(keys.into_iter().collect())
}

async fn change(network: &Network, worker: WorkerId, change: Value) {
    let path = format!("/v1/workers/{worker}");
    let answer = network.call(&network.provider.token, Method::PATCH, &path, Some(change)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

/// A task long enough to be watched, some that wait for it, some that fail.
async fn work(network: &Network, worker: WorkerId) {
    let (slow, quick) = (scenes::slow().await, scenes::quick().await);
    let slow = network.submit(&slow, &["--frames", "1-3", "--frames-per-task", "3"]).await;
    network.worker_is(worker, WorkerStatus::Busy).await;
    let quick = network.submit(&quick, &["--frames", "1-4", "--frames-per-task", "2"]).await;
    let broken = network.submit(&scenes::without_camera().await, &["--frames", "1-3"]).await;
    network.completed(slow).await;
    network.completed(quick).await;
    until_true("three attempts have failed", async || network.earnings().await.tasks.failed >= 3).await;
    let cancel = format!("/v1/jobs/{broken}/cancel");
    let answer = network.call(&network.creator.token, Method::POST, &cancel, None).await;
    assert!(answer.status().is_success() || answer.status() == StatusCode::CONFLICT, "{}", answer.status());
    until_true("the broken job has ended", async || {
        matches!(network.job(broken).await.status, JobStatus::Cancelled | JobStatus::Failed)
    })
    .await;
}

/// What Prometheus has as the last values of cumulative series is what the registry's API says, to the digit.
async fn totals_agree(network: &Network, prometheus: &Prometheus, chosen: &Chosen<'_>) {
    let mut earnings = network.earnings().await;
    assert_eq!(earnings.earnings_micros.0, 7 * FRAME_REWARD_MICROS);
    let worker = &chosen.worker;
    let ledger = network.ledger().await;
    let (rewards, fees) = (ledger.moved("reward"), ledger.moved("fee"));
    let of_worker: Earnings = statistics(network, worker).await;
    let mut expected = vec![
        ("account:earnings:sum".to_owned(), units(earnings.earnings_micros.0)),
        ("account:points:sum".to_owned(), earnings.points.to_string()),
        ("network:paid:sum{kind=\"reward\"}".to_owned(), units(rewards)),
        ("network:paid:sum{kind=\"fee\"}".to_owned(), units(fees)),
        (
            format!("pictor_registry_worker_earnings_total{{worker_id=\"{worker}\"}}"),
            units(of_worker.earnings_micros.0),
        ),
        (format!("pictor_earnings_total{{worker_id=\"{worker}\"}}"), units(of_worker.earnings_micros.0)),
        (format!("pictor_points_total{{worker_id=\"{worker}\"}}"), of_worker.points.to_string()),
    ];
    for status in [AttemptStatus::Completed, AttemptStatus::Failed, AttemptStatus::Running] {
        let query = format!("account:attempts:sum{{status=\"{status}\"}} or vector(0)");
        expected.push((format!("max({query})"), earnings.tasks.of(status).to_string()));
    }
    for (query, expected) in expected {
        until_true(&format!("{query} is {expected}"), async || {
            prometheus.value(&query).await.as_deref() == Some(&expected)
        })
        .await;
    }
    let questions = dashboards::of_dashboards().await;
    for (uid, panel, total) in [
        ("pictor-summary", "Earnings", earnings.earnings_micros.0),
        ("pictor-worker-statistics", "Earnings", of_worker.earnings_micros.0),
        ("pictor-worker-tasks", "Earnings", of_worker.earnings_micros.0),
    ] {
        let question = questions.iter().find(|question| question.dashboard == uid && question.name == panel);
        let rows = question.expect("the panel").rows(network, chosen).await;
        assert_eq!(rows[0]["Earned"].to_string(), units(total), "{uid}");
    }
}

async fn statistics(network: &Network, worker: &str) -> Earnings {
    let path = format!("/v1/workers/{worker}/statistics");
    let answer = network.call(&network.provider.token, Method::GET, &path, None).await;
    answer.json().await.expect("statistics")
}

/// Micros as a number of whole units, with no digit too many.
fn units(micros: i64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Each query of the registry's API makes rows, with a value in every column of some row. Asked while a task renders and others wait.
async fn registry_answers(
    network: &Network,
    chosen: &Chosen<'_>,
    questions: &[Question],
    listed: &RightlyEmpty,
) {
    network.submit(&scenes::slow().await, &["--frames", "1-10", "--frames-per-task", "5"]).await;
    let deadline = Instant::now() + PATIENCE / 2;
    // What one round has answered stays answered: a short task need not be seen whole in any of them.
    let mut unanswered: Option<HashSet<String>> = None;
    until_true("the registry answers", async || {
        let mut now = HashSet::new();
        for question in questions {
            let rows = question.rows(network, chosen).await;
            if rows.is_empty() && !listed.allows(question) {
                now.insert(question.to_string());
            }
            let columns = question.columns_without_value(&rows).into_iter();
            let columns = columns.filter(|column| !listed.allows_column(question, column));
            now.extend(columns.map(|column| format!("{question}, column {column}")));
        }
        let still = unanswered.take().map_or_else(|| now.clone(), |before| &before & &now);
        let is_answered = still.is_empty();
        unanswered = Some(still);
        is_answered || Instant::now() > deadline
    })
    .await;
    let unanswered = unanswered.unwrap_or_default();
    assert!(unanswered.is_empty(), "these return nothing: {unanswered:#?}");
}

async fn prometheus_answers(
    prometheus: &Prometheus,
    chosen: &Chosen<'_>,
    questions: &[Question],
    listed: &RightlyEmpty,
) {
    let deadline = Instant::now() + PATIENCE / 2;
    let mut waiting: Vec<_> = questions.iter().filter(|question| !listed.allows(question)).collect();
    until_true("queries are answered", async || {
        let mut still = Vec::new();
        for question in &waiting {
            if !question.has_data(prometheus, chosen).await {
                still.push(*question);
            }
        }
        waiting = still;
        waiting.is_empty() || Instant::now() > deadline
    })
    .await;
    let unanswered: Vec<_> = waiting.iter().map(ToString::to_string).collect();
    assert!(unanswered.is_empty(), "these return nothing: {unanswered:#?}");

    let mut with_data = HashSet::new();
    for question in questions.iter().filter(|question| listed.allows(question)) {
        if question.has_data(prometheus, chosen).await {
            with_data.insert(question.to_string());
        }
        if question.kind == Kind::Alert {
            alert_has_series(prometheus, question).await;
        }
    }
    let needless = listed.needless(questions, |question| with_data.contains(&question.to_string()));
    assert!(needless.is_empty(), "these need not stand on the list of empty queries: {needless:#?}");
}

/// A quiet alert still looks at something: every series that it names has been there.
async fn alert_has_series(prometheus: &Prometheus, alert: &Question) {
    for name in series_named(&alert.query) {
        let seen = prometheus.now(&format!("present_over_time({name}[1h])")).await;
        assert!(!seen.is_empty(), "{alert}: there is no {name}");
    }
}

async fn rules_are_sound(prometheus: &Prometheus) {
    for rule in prometheus.rules().await {
        assert_eq!((rule["health"].as_str(), &rule["lastError"]), (Some("ok"), &Value::Null), "{rule}");
    }
}
