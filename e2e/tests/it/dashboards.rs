//! What dashboards, rules and alerts ask, asked as Grafana and Prometheus do.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use pictor_processes::{command, installed, repository, run};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::network::Network;
use crate::prometheus::{INTERVAL_SECONDS, Prometheus, RANGE_SECONDS};

/// One query, as `grafana/src/listing.py` prints it; a rule's or an alert's too.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Question {
    #[serde(default)]
    pub(crate) dashboard: String,
    pub(crate) kind: Kind,
    /// Of the panel, the variable, the annotation, the rule or the alert.
    #[serde(alias = "panel")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) ref_id: String,
    /// PromQL, or what a variable makes of it.
    #[serde(default)]
    pub(crate) query: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    regex: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    parser: String,
    #[serde(default)]
    root_selector: String,
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Prometheus,
    Infinity,
    Variable,
    Annotation,
    #[serde(skip)]
    Rule,
    #[serde(skip)]
    Alert,
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Question { dashboard, kind, name, ref_id, query, url, .. } = self;
        write!(f, "{dashboard} {kind:?} '{name}' {ref_id}: {query}{url}")
    }
}

/// Of every panel, variable and annotation.
pub(crate) async fn of_dashboards() -> Vec<Question> {
    let listing = command(&installed("python3"), [repository().join("grafana/src/listing.py")]);
    let printed = run(listing).await.succeeded();
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    printed.lines().map(read).collect()
}

/// Of every rule and alert that Prometheus has loaded.
pub(crate) async fn of_rules(prometheus: &Prometheus) -> Vec<Question> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let question = |rule: &Value| Question {
        kind: if rule["type"] == "alerting" { Kind::Alert } else { Kind::Rule },
        name: text(&rule["name"]),
        query: text(&rule["query"]),
        ..Question::default()
    };
    prometheus.rules().await.iter().map(question).collect()
}

/// What the dashboards' variables stand for.
pub(crate) struct Chosen<'a> {
    /// One, where Grafana's "All" would also find series that have no account.
    pub(crate) account: &'a str,
    pub(crate) worker: String,
    pub(crate) gpus: Vec<String>,
    pub(crate) read_token: &'a str,
}

impl Chosen<'_> {
    fn promql(&self, query: &str) -> String {
        let seconds = |seconds: u64| format!("{seconds}s");
        // As Grafana does: four scrapes, or one more than the step.
        let rate_interval = seconds(4 * INTERVAL_SECONDS);
        let (interval, range) = (seconds(INTERVAL_SECONDS), seconds(RANGE_SECONDS));
        let gpus = format!("({})", self.gpus.join("|"));
        let values = [
            ("$__rate_interval", &*rate_interval),
            ("$__interval", &interval),
            ("$__range", &range),
            ("$worker", &self.worker),
            ("$gpu", &gpus),
            ("$account", self.account),
            ("$route", ".*"),
            ("$slot", "0"),
            ("$midnight", "0"),
        ];
        let query = values.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
        assert!(!query.contains('$'), "a variable is not known: {query}");
        query
    }

    /// A parameter or a path of the registry's API. A blank is Grafana's "All".
    fn rest(&self, text: &str) -> String {
        let values = [
            ("${worker}", &*self.worker),
            ("${gpu}", " "),
            ("${status:csv}", " "),
            ("${search}", ""),
            ("${tag}", ""),
            ("${page}", ""),
            ("${limit}", "100"),
            ("${__from:date:iso}", "2026-01-01T00:00:00.000Z"),
            ("${__to:date:iso}", "2100-01-01T00:00:00.000Z"),
            ("${__timezone}", "Europe/Berlin"),
        ];
        let text = values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        assert!(!text.contains('$'), "a variable is not known: {text}");
        text
    }
}

impl Question {
    pub(crate) fn is_rest(&self) -> bool {
        !self.url.is_empty()
    }

    /// Whether Prometheus has an answer. Panics when it does not understand the question.
    pub(crate) async fn has_data(&self, prometheus: &Prometheus, chosen: &Chosen<'_>) -> bool {
        let (query, label) = match self.kind {
            Kind::Rule | Kind::Alert => (self.query.clone(), None),
            Kind::Variable => {
                let (query, label) = of_variable(&self.query);
                (chosen.promql(query), label)
            }
            _ => (chosen.promql(&self.query), None),
        };
        let is_graph = self.mode == "range" || self.kind == Kind::Annotation;
        let series = if is_graph { prometheus.over_time(&query).await } else { prometheus.now(&query).await };
        let labels = label.into_iter().chain(self.labels_of_regex());
        for label in labels {
            let has_label = |one: &Value| one["metric"][label].as_str().is_some_and(|text| !text.is_empty());
            assert!(series.iter().all(has_label), "{self}: not every series has {label}");
        }
        series.iter().any(has_number)
    }

    /// What `NAME="(?<…` in a variable's regex reads from each series.
    fn labels_of_regex(&self) -> impl Iterator<Item = &str> {
        self.regex.match_indices("=\"(?<").map(|(at, _)| {
            let before = &self.regex[..at];
            before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
        })
    }

    /// The rows that Infinity makes of the registry's answer, each with a value of its type, or null, in every column.
    pub(crate) async fn rows(&self, network: &Network, chosen: &Chosen<'_>) -> Vec<Map<String, Value>> {
        let params = self.params.iter().map(|(key, value)| (key, chosen.rest(value)));
        let url = reqwest::Url::parse_with_params(
            &format!("{}{}", network.url, chosen.rest(&self.url)),
            params.collect::<Vec<_>>(),
        );
        let call = network.client().get(url.expect("a URL")).bearer_auth(chosen.read_token);
        let response = call.send().await.expect("an answer");
        let (status, text) = (response.status(), response.text().await.expect("a body"));
        assert!(status.is_success(), "{self}: {status} {text}");
        if self.parser == "backend" {
            return self.rows_of_list(&text);
        }
        let body = network.folder().join("answer.json");
        fs::write(&body, text).expect("a file");
        let jq = command(&installed("jq"), [&*self.root_selector, body.to_str().expect("a path in UTF-8")]);
        let made = run(jq).await.succeeded();
        let rows: Vec<Map<String, Value>> =
            serde_json::from_str(&made).unwrap_or_else(|error| panic!("{self}: {error}: {made}"));
        for row in &rows {
            for (column, kind) in &self.columns {
                let value = row.get(column).unwrap_or_else(|| panic!("{self}: no {column} in {row:?}"));
                assert!(fits(value, kind), "{self}: {column} is no {kind}: {value}");
            }
        }
        rows
    }

    /// Infinity's own selector language, which only the variable `page` uses: its two fields are there.
    fn rows_of_list(&self, text: &str) -> Vec<Map<String, Value>> {
        let list: Map<String, Value> = serde_json::from_str(text).expect("a list");
        assert!(
            list["items"].as_array().is_some_and(|items| items.iter().all(|item| item["name"].is_string()))
        );
        assert!(list.contains_key("next_cursor") && self.root_selector.contains("cursor"), "{self}");
        vec![list]
    }

    /// Columns that have no value in any row.
    pub(crate) fn columns_without_value(&self, rows: &[Map<String, Value>]) -> Vec<String> {
        let is_empty =
            |column: &&String| rows.iter().all(|row| row.get(*column).is_none_or(|v| v.is_null() || v == ""));
        if self.parser == "backend" {
            return Vec::new();
        }
        self.columns.keys().filter(is_empty).cloned().collect()
    }
}

/// `label_values(SERIES, LABEL)` or `query_result(EXPRESSION)`.
fn of_variable(query: &str) -> (&str, Option<&str>) {
    let inner = |name: &str| query.strip_prefix(name).and_then(|rest| rest.strip_suffix(')'));
    if let Some(expression) = inner("query_result(") {
        return (expression, None);
    }
    let inner = inner("label_values(").unwrap_or_else(|| panic!("an unknown kind of variable: {query}"));
    let (series, label) = inner.rsplit_once(", ").expect("a series and a label");
    (series, Some(label))
}

fn has_number(series: &Value) -> bool {
    let is_number = |sample: &Value| sample[1].as_str().is_some_and(|text| text != "NaN");
    match &series["values"] {
        Value::Array(values) => values.iter().any(is_number),
        _ => is_number(&series["value"]),
    }
}

fn fits(value: &Value, kind: &str) -> bool {
    match kind {
        _ if value.is_null() => true,
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "timestamp" => value.as_str().is_some_and(|text| text.contains('T') && text.ends_with('Z')),
        _ => panic!("an unknown type of column: {kind}"),
    }
}

/// The series that an expression names: ours begin with `pictor_`, recorded ones have colons.
pub(crate) fn series_named(expression: &str) -> HashSet<&str> {
    // Every second part stands between quotes.
    let outside = expression.split('"').step_by(2);
    let words = outside.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':'));
    let is_series = |word: &&str| {
        let begins = word.starts_with(|c: char| c.is_ascii_alphabetic());
        begins && (word.starts_with("pictor_") || word.contains(':'))
    };
    words.filter(is_series).collect()
}
