//! A Prometheus with the repository's own configuration, at other addresses and in more of a hurry.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pictor_processes::{Process, command, free_port, installed, repository, until_true};
use serde_json::Value;

use crate::network::Network;

/// How often everything is scraped and evaluated.
pub(crate) const INTERVAL_SECONDS: u64 = 2;
/// How far back its graphs look.
pub(crate) const RANGE_SECONDS: u64 = 300;

pub(crate) struct Prometheus {
    url: String,
    client: reqwest::Client,
    _process: Process,
}

impl Prometheus {
    pub(crate) async fn start(network: &Network, read_token: &str) -> Prometheus {
        let folder = network.folder().join("prometheus");
        copy_hurried(&repository().join("prometheus"), &folder);
        let file = folder.join("prometheus.yml");
        let registry = network.url.trim_start_matches("http://");
        let text = fs::read_to_string(&file).expect("prometheus.yml").replace("127.0.0.1:8080", registry);
        fs::write(&file, text.replace("127.0.0.1:9093", "127.0.0.1:9")).expect("prometheus.yml");
        fs::write(folder.join("registry.token"), read_token).expect("registry.token");

        let listen = format!("127.0.0.1:{}", free_port());
        let mut prometheus =
            command(&installed("prometheus"), ["--web.listen-address", &listen, "--config.file"]);
        prometheus.arg(&file).arg("--storage.tsdb.path").arg(network.folder().join("prometheus-data"));
        let process = Process::start("prometheus", network.folder(), prometheus);
        let url = format!("http://{listen}");
        process.answers(&format!("{url}/-/ready")).await;
        Prometheus { url, client: network.client().clone(), _process: process }
    }

    /// Its API's answer, and the query's fault where there is one.
    async fn get(&self, path: &str, params: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), params);
        let answer = self.client.get(url.expect("a URL")).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{path} {params:?}: {answer}");
        answer["data"].clone()
    }

    /// The series of an instant query, each with its labels in `metric` and its `value`.
    pub(crate) async fn now(&self, query: &str) -> Vec<Value> {
        series(self.get("query", &[("query", query)]).await)
    }

    /// The series of a graph over the range until now, each with its `values`.
    pub(crate) async fn over_time(&self, query: &str) -> Vec<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let (start, end) = (now - Duration::from_secs(RANGE_SECONDS), now);
        let [start, end] = [start, end].map(|at| at.as_secs_f64().to_string());
        let step = INTERVAL_SECONDS.to_string();
        series(
            self.get("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", &step)])
                .await,
        )
    }

    /// All rules and alerts, as they were loaded.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let mut groups = self.get("rules", &[]).await;
        let groups = groups["groups"].as_array_mut().expect("groups");
        groups.iter_mut().flat_map(|group| group["rules"].as_array().cloned().expect("rules")).collect()
    }

    /// The only value of a query, as it was written.
    pub(crate) async fn value(&self, query: &str) -> Option<String> {
        match &self.now(query).await[..] {
            [one] => one["value"][1].as_str().map(str::to_owned),
            _ => None,
        }
    }

    pub(crate) async fn answers(&self, query: &str, expected: f64) {
        until_true(&format!("Prometheus answers {query} = {expected}"), async || {
            let value = self.value(query).await.and_then(|text| text.parse::<f64>().ok());
            value.is_some_and(|value| (value - expected).abs() < 1e-9)
        })
        .await;
    }

    /// Waits until the query has an answer.
    pub(crate) async fn knows(&self, query: &str) {
        until_true(&format!("Prometheus knows {query}"), async || !self.now(query).await.is_empty()).await;
    }
}

/// A scalar counts as one series without labels.
fn series(mut data: Value) -> Vec<Value> {
    match data["result"].take() {
        Value::Array(series) if data["resultType"] != "scalar" => series,
        scalar => vec![serde_json::json!({ "metric": {}, "value": scalar })],
    }
}

fn copy_hurried(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_hurried(&entry.path(), &target);
        } else if target.extension().is_some_and(|extension| extension == "yml") {
            let text = fs::read_to_string(entry.path()).expect("a configuration");
            fs::write(target, text.lines().map(hurried).collect::<String>()).expect("a copied file");
        }
    }
}

/// Scrapes and evaluations come every moment, and alerts do not wait before they fire.
fn hurried(line: &str) -> String {
    let key = line.trim_start().split(':').next().unwrap_or_default();
    match key {
        "interval"
        | "scrape_interval"
        | "scrape_timeout"
        | "evaluation_interval"
        | "refresh_interval"
        | "for" => {
            let indent = line.len() - line.trim_start().len();
            format!("{:indent$}{key}: {INTERVAL_SECONDS}s\n", "")
        }
        _ => format!("{line}\n"),
    }
}
