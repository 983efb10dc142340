//! The tenants' way to Prometheus, in front of a real one that holds the series of two accounts.

mod prometheus;
mod promql;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::any;
use futures_util::stream;
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpListener;
use url::form_urlencoded::Serializer;

use crate::database::{Place, on_sqlite};
use crate::network::Dice;
use crate::registry::{Account, Answer, Registry, text as text_of};
use prometheus::{END_SECONDS, Prometheus, Series};
use promql::Promql;

/// Each of these tests needs one database, whichever it is.
macro_rules! on_sqlite_alone {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::on_sqlite(super::$name).await;
            })+
        }
    };
}

on_sqlite_alone!(
    an_account_sees_its_own_series_alone,
    what_cannot_be_narrowed_or_is_too_much_is_refused,
    random_queries_see_what_a_prometheus_of_ones_own_would_show,
    the_caller_s_token_stays_here_and_redirects_lead_nowhere,
    without_a_prometheus_it_says_so,
);

const API: &str = "/v1/prometheus/api/v1";

fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// What `owner` has: two GPUs, counts of tasks, a histogram; no two accounts have a number in common.
fn series_of(owner: &str, account: &str, first: i64) -> Vec<Series> {
    let worker = |number: i64| format!("account=\"{account}\",worker_id=\"{owner}-{number}\"");
    let mut all = Vec::new();
    let mut add = |name, labels, first, step| all.push(Series { name, labels, first, step });
    for number in 1..=2 {
        for gpu in 0..=1 {
            let labels = format!("{},gpu=\"{gpu}\"", worker(number));
            add("pictor_gpu_power_watts", labels, first + 10 * number + gpu, gpu);
        }
        for (index, result) in (0..).zip(["completed", "failed"]) {
            let labels = format!("{},result=\"{result}\"", worker(number));
            add("pictor_tasks_total", labels, first + number, 2 + index);
        }
        for (index, le) in (0..).zip(["1", "10", "+Inf"]) {
            let labels = format!("{},le=\"{le}\"", worker(number));
            add("pictor_task_phase_seconds_bucket", labels, first + 5 * index, 1 + index);
        }
        add("up", worker(number), 1, 0);
    }
    all
}

fn theirs_only(account: &str) -> Vec<Series> {
    let labels = format!("account=\"{account}\",worker_id=\"theirs-1\",their_label=\"their_value\"");
    vec![
        Series { name: "pictor_theirs_only", labels, first: 77_777, step: 1 },
        Series {
            name: "pictor_registry_tasks",
            labels: "status=\"pending\"".to_owned(),
            first: 88_888,
            step: 1,
        },
    ]
}

struct Network {
    registry: Registry,
    ours: Account,
    theirs: Account,
    operator: Account,
    /// Of a provider's account, with the scope that its Grafana has.
    read_token: String,
    both: Prometheus,
}

impl Network {
    /// Accounts first, because the series carry their ids: so the registry is started twice.
    async fn start(place: &Place) -> Network {
        let registry = Registry::start(place).await;
        let ours = registry.account("ada", &["provider"]).await;
        let theirs = registry.account("eve", &["provider"]).await;
        let operator = registry.account("root", &["operator"]).await;
        let made = registry.command(["account", "token", "ada", "--scope", "read", "--json"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        registry.stop().await;
        let mut series = series_of("ours", &ours.id, 1_000);
        series.extend(series_of("theirs", &theirs.id, 500_000));
        series.extend(theirs_only(&theirs.id));
        series.sort_by_key(|series| series.name);
        let both = Prometheus::start(&series).await;
        let registry = Registry::start_with(place, &["--prometheus-url", &both.url]).await;
        let read_token = made["token"].as_str().unwrap().to_owned();
        Network { registry, ours, theirs, operator, read_token, both }
    }

    async fn ask(&self, method: &Method, token: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
        ask(&self.registry, method, token, path, pairs).await
    }

    async fn ours(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let got = self.ask(&Method::GET, &self.read_token, path, pairs).await;
        let posted = self.ask(&Method::POST, &self.read_token, path, pairs).await;
        assert_eq!((got.status, &got.text), (posted.status, &posted.text), "{path} {pairs:?}");
        assert_eq!(got.content_type, "application/json");
        assert!(!got.text.contains("theirs-"), "{path} {pairs:?}: {got:?}");
        got
    }

    /// The result of an instant query, at the end of the samples.
    async fn result(&self, query: &str) -> Value {
        let answer = self.ours("/query", &[("query", query), ("time", &END_SECONDS.to_string())]).await;
        answer.ok()["data"]["result"].clone()
    }

    /// The one value of a query that has one.
    async fn value(&self, query: &str) -> String {
        let result = self.result(query).await;
        assert_eq!(result.as_array().map(Vec::len), Some(1), "{query}: {result}");
        result[0]["value"][1].as_str().unwrap().to_owned()
    }
}

async fn ask(
    registry: &Registry,
    method: &Method,
    token: &str,
    path: &str,
    pairs: &[(&str, &str)],
) -> Answer {
    let pairs = encoded(pairs);
    if *method == Method::POST {
        return registry.post_form(token, &format!("{API}{path}"), pairs).await;
    }
    registry.get(token, &format!("{API}{path}?{pairs}")).await
}

/// The error's text, after checking that Grafana can read it.
#[track_caller]
fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let error = answer.json();
    assert_eq!(error["status"], "error", "{answer:?}");
    assert!(error["errorType"].is_string(), "{answer:?}");
    error["error"].as_str().unwrap().to_owned()
}

async fn an_account_sees_its_own_series_alone(place: Place) {
    let network = Network::start(&place).await;
    assert_eq!(network.value("count({__name__=~\".+\"})").await, "16");
    assert_eq!(network.value("count({account=~\".+\"})").await, "16");
    assert_eq!(network.value("count(up or up{account=~\".+\"})").await, "2");
    assert_eq!(network.value("count(count by (account) (up))").await, "1");
    assert_eq!(network.value("max(max_over_time((up)[5m:1m]))").await, "1");
    assert_eq!(network.value("sum(topk(scalar(count(up)), up))").await, "2");
    assert_eq!(network.value("count(label_replace(up, \"account\", \"x\", \"\", \"\"))").await, "2");
    let theirs = &network.theirs.id;
    for query in [
        format!("up{{account=\"{theirs}\"}}"),
        format!("sum(rate(pictor_tasks_total{{account=\"{theirs}\"}}[5m]))"),
        format!("quantile(scalar(pictor_theirs_only), up{{account=\"{theirs}\"}})"),
        "pictor_theirs_only".to_owned(),
        "pictor_registry_tasks".to_owned(),
        "{their_label=\"their_value\"}".to_owned(),
        "up{account=\"\"}".to_owned(),
    ] {
        assert_eq!(network.result(&query).await, Value::Array(Vec::new()), "{query}");
    }
    assert_eq!(network.value("vector(1) * scalar(pictor_theirs_only)").await, "NaN");
    assert_eq!(network.result("1+1").await[1], "2");
    assert_eq!(network.result("\"up\"").await[1], "up");

    let range = [("query", "sum(up)"), ("start", "1794999900"), ("end", "1795000000"), ("step", "50")];
    let answer = network.ours("/query_range", &range).await.ok();
    assert_eq!(answer["data"]["result"][0]["values"].as_array().unwrap().len(), 3, "{answer}");

    let within = [("start", "1794990000"), ("end", "1795000000")];
    let strings = |answer: Value| -> BTreeSet<String> {
        serde_json::from_value(answer["data"].clone()).unwrap_or_else(|_| panic!("{answer}"))
    };
    let labels = strings(network.ours("/labels", &within).await.ok());
    assert!(labels.contains("gpu") && !labels.contains("their_label"), "{labels:?}");
    let values = network.ours_by_get("/label/worker_id/values", &within).await;
    assert_eq!(strings(values), ["ours-1", "ours-2"].map(str::to_owned).into());
    let names = strings(network.ours_by_get("/label/__name__/values", &within).await);
    assert!(names.contains("up") && !names.contains("pictor_theirs_only"), "{names:?}");
    for path in ["/label/their_label/values", "/labels"] {
        let theirs = format!("{{account=\"{theirs}\"}}");
        let matches = [within[0], within[1], ("match[]", &theirs), ("match[]", "pictor_theirs_only")];
        assert!(strings(network.ours_by_get(path, &matches).await).is_empty(), "{path}");
    }
    let matches = [within[0], within[1], ("match[]", "{__name__=~\".+\"}"), ("match[]", "up")];
    for pairs in [&within[..], &matches] {
        let series = network.ours("/series", pairs).await.ok();
        let series = series["data"].as_array().unwrap();
        assert_eq!(series.len(), 16);
        assert!(series.iter().all(|labels| labels["account"] == network.ours.id.as_str()), "{series:?}");
    }
    let exemplars = [("query", "up"), within[0], within[1]];
    assert_eq!(network.ours("/query_exemplars", &exemplars).await.ok()["status"], "success");
    assert_eq!(network.ours("/rules", &[]).await.ok()["data"]["groups"], Value::Array(Vec::new()));
    assert_eq!(network.ours("/metadata", &[]).await.ok()["data"], serde_json::json!({}));
    let version = network.ours("/status/buildinfo", &[]).await.ok();
    assert!(version["data"]["version"].is_string(), "{version}");

    let operator = &network.operator.token;
    let time = END_SECONDS.to_string();
    let all = [("query", "count({__name__=~\".+\"})"), ("time", &time)];
    let all = network.ask(&Method::POST, operator, "/query", &all).await.ok();
    assert_eq!(all["data"]["result"][0]["value"][1], "34");
    let all = network.ask(&Method::GET, operator, "/label/their_label/values", &within).await.ok();
    assert_eq!(all["data"][0], "their_value");
    network.ask(&Method::GET, operator, "/rules", &[]).await.ok();
    network.registry.stop().await;
}

impl Network {
    async fn ours_by_get(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let answer = self.ours(path, pairs).await;
        assert!(!answer.text.contains("their_value"), "{answer:?}");
        answer.ok()
    }
}

async fn what_cannot_be_narrowed_or_is_too_much_is_refused(place: Place) {
    let network = Network::start(&place).await;
    for (query, part) in [
        ("up{a=\"1\" or b=\"2\"}", "or"),
        ("info(up)", "info"),
        ("up{", "read"),
        ("", "query"),
        ("max_over_time(up[300d:1s])", "points"),
    ] {
        let text = refused(&network.ours("/query", &[("query", query)]).await, 400);
        assert!(text.contains(part), "{query}: {text}");
    }
    let long = format!("up{{a=\"{}\"}}", "x".repeat(16 << 10));
    refused(&network.ours("/query", &[("query", &long)]).await, 413);
    let huge = "x".repeat(1 << 20);
    let posted = network.ask(&Method::POST, &network.read_token, "/query", &[("query", &huge)]).await;
    refused(&posted, 413);
    refused(&network.ours("/query", &[("query", "up"), ("query", "1")]).await, 400);
    refused(&network.ours("/query", &[("query", "up"), ("time", "now")]).await, 400);
    let range = |start, end, step| [("query", "up"), ("start", start), ("end", end), ("step", step)];
    for range in
        [range("0", "11000", "1"), range("5", "1", "1"), range("0", "1", "0"), range("0", "4e7", "1d")]
    {
        refused(&network.ours("/query_range", &range).await, 400);
    }
    for selector in ["sum(up)", "up[5m]", "up offset 5m", "{", ""] {
        refused(&network.ours("/series", &[("match[]", selector)]).await, 400);
    }
    for path in ["/label/a%2Fb/values", "/label/../values", "/label/%2E%2E/values"] {
        let answer = network.registry.get(&network.read_token, &format!("{API}{path}")).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
    }
    // Prometheus' own refusals come through.
    let time = END_SECONDS.to_string();
    let text = refused(&network.ours("/query", &[("query", "up + on () up"), ("time", &time)]).await, 422);
    assert!(text.contains("many-to-many"), "{text}");
    network.registry.anonymous(&format!("{API}/query?query=up")).await.problem(401);
    network.registry.stop().await;
}

/// What a query gave, but for what rightly differs: the labels of `absent()`, which tell what was asked for, and
/// the last digits of sums, whose order is nobody's promise.
fn comparable(query: &str, answer: &Answer) -> (u16, Vec<String>) {
    let json = answer.json();
    let rows = json["data"]["result"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows: Vec<String> = match json["data"]["resultType"].as_str() {
        Some("vector" | "matrix") => rows.iter().map(|row| comparable_row(query, row)).collect(),
        _ => rows.iter().map(Value::to_string).collect(),
    };
    rows.sort();
    (answer.status.as_u16(), rows)
}

fn comparable_row(query: &str, row: &Value) -> String {
    let mut labels = row["metric"].as_object().unwrap().clone();
    labels.remove("account");
    if query.starts_with("absent") {
        labels.clear();
    }
    let samples = row["values"].as_array().cloned().unwrap_or_else(|| vec![row["value"].clone()]);
    let mut text = Value::from(labels).to_string();
    for sample in samples {
        let value: f64 = text_of(&sample[1]).parse().unwrap();
        write!(text, " {}:{value:.9e}", sample[0]).unwrap();
    }
    text
}

/// The oracle is a second Prometheus that has never seen another account: whatever is asked there as it stands,
/// and here through the registry, gives the same.
async fn random_queries_see_what_a_prometheus_of_ones_own_would_show(place: Place) {
    let network = Network::start(&place).await;
    let mut series = series_of("ours", &network.ours.id, 1_000);
    series.sort_by_key(|series| series.name);
    let own = Prometheus::start(&series).await;
    let (ours, theirs) = (network.ours.id.as_str(), network.theirs.id.as_str());
    let mut promql = Promql { dice: Dice(20_261_125), ours, theirs };
    let (time, start) = (END_SECONDS.to_string(), (END_SECONDS - 300).to_string());
    let (mut told, mut failed) = (0, 0);
    for number in 0..600 {
        let query = promql.query();
        let (path, pairs) = if number % 4 == 0 {
            let pairs = vec![("query", query.as_str()), ("start", &start), ("end", &time), ("step", "60")];
            ("query_range", pairs)
        } else {
            ("query", vec![("query", query.as_str()), ("time", &time)])
        };
        let method = if number % 2 == 0 { Method::POST } else { Method::GET };
        let narrowed = network.ask(&method, &network.read_token, &format!("/{path}"), &pairs).await;
        let expected = own.get(&format!("{path}?{}", encoded(&pairs))).await;
        let (narrowed, expected) = (comparable(&query, &narrowed), comparable(&query, &expected));
        assert_eq!(narrowed, expected, "query {number}: {query}");
        told += usize::from(!expected.1.is_empty());
        failed += usize::from(expected.0 != 200);
    }
    assert!(told > 200, "only {told} of 600 queries found anything, so the test says little");
    assert!(failed < 200, "{failed} of 600 queries were no proper ones, so the test says little");
    drop(network.both);
    network.registry.stop().await;
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

/// Something that is no Prometheus: it redirects, or never stops talking.
async fn impostor(State(heard): State<Heard>, request: Request) -> Response {
    heard.0.lock().unwrap().push(format!("{} {:?}", request.uri().path(), request.headers()));
    if request.uri().path().ends_with("/labels") {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        let endless = Body::from_stream(chunks);
        return ([(header::CONTENT_TYPE, "application/json")], endless).into_response();
    }
    if request.uri().path().ends_with("/series") {
        return (StatusCode::OK, "<html>a login page</html>").into_response();
    }
    Redirect::temporary("/elsewhere").into_response()
}

async fn the_caller_s_token_stays_here_and_redirects_lead_nowhere(place: Place) {
    let heard = Heard::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}/prefix/", listener.local_addr().unwrap());
    let service = Router::new().fallback(any(impostor)).with_state(heard.clone());
    let served = tokio::spawn(async move { axum::serve(listener, service).await });
    let registry = Registry::start_with(&place, &["--prometheus-url", &url]).await;
    let ours = registry.account("ada", &["provider"]).await;
    for (method, path) in [(Method::GET, "/query"), (Method::POST, "/query"), (Method::GET, "/series")] {
        let answer = ask(&registry, &method, &ours.token, path, &[("query", "up")]).await;
        assert!(!refused(&answer, 503).contains("secret"), "{answer:?}");
    }
    registry.broken_off(&ours.token, &format!("{API}/labels")).await;
    let heard = heard.0.lock().unwrap().join("\n");
    assert_eq!(heard.lines().count(), 4, "{heard}");
    assert!(heard.lines().all(|line| line.starts_with("/prefix/api/v1/")), "{heard}");
    assert!(!heard.contains(&ours.token), "{heard}");
    assert!(heard.contains("Basic "), "the upstream's own credentials are sent: {heard}");
    served.abort();
    registry.stop().await;
}

async fn without_a_prometheus_it_says_so(place: Place) {
    let registry = Registry::start(&place).await;
    let ours = registry.account("ada", &["provider"]).await;
    for path in ["/query", "/labels", "/rules", "/status/buildinfo"] {
        let answer = ask(&registry, &Method::GET, &ours.token, path, &[("query", "1+1")]).await;
        assert!(refused(&answer, 503).contains("--prometheus-url"), "{answer:?}");
    }
    registry.stop().await;
}
