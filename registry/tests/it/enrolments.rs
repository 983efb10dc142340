//! Workers by the hundred: a zip of config files, or a key that each machine trades for a worker of its own.

use std::io::{Cursor, Read as _};

use pictor_protocol::UnixMillis;
use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Account, Answer, Registry, all, text};

on_both_databases!(
    a_range_of_names_makes_its_workers,
    a_taken_name_refuses_the_whole_range,
    a_key_makes_workers_until_it_is_used_up,
    a_key_goes_past_names_that_are_taken,
    a_key_ends_when_it_expires_or_is_revoked,
    keys_are_their_owners,
    machines_that_come_at_once_share_nothing,
);

async fn key(registry: &Registry, provider: &Account, body: Value) -> (String, String) {
    let made = registry.post(&provider.token, "/v1/enrolments", body).await.ok();
    (text(&made["id"]).to_owned(), text(&made["key"]).to_owned())
}

/// Agents have no token yet; what is sent as one is not looked at.
async fn enrol(registry: &Registry, key: &str, hostname: Option<&str>) -> Answer {
    registry.post("", "/v1/agent/enrol", json!({"key": key, "hostname": hostname})).await
}

async fn a_range_of_names_makes_its_workers(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let names = json!({"names": "rack-{08..10}", "tags": ["hall 2"]});
    let (status, bytes) = registry.post_for_bytes(&provider.token, "/v1/workers/batch", names).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&bytes));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    assert_eq!(archive.len(), 3);
    let mut config = String::new();
    archive.by_name("pictor-worker-rack-09.toml").unwrap().read_to_string(&mut config).unwrap();
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(config["worker_name"].as_str(), Some("rack-09"));

    let list = registry.get(&provider.token, "/v1/workers?tag=hall%202").await.ok();
    assert_eq!(all(&list, "name"), ["rack-08", "rack-09", "rack-10"].into());
    let worker = registry.again(
        config["worker_id"].as_str().unwrap().to_owned(),
        config["token"].as_str().unwrap().to_owned(),
        "machine".to_owned(),
    );
    assert_eq!(worker.heartbeat(&[]).await.ok()["worker_name"], "rack-09");
    registry.stop().await;
}

async fn a_taken_name_refuses_the_whole_range(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    registry.worker(&provider, "RACK-3").await;
    let post = async |names: &str, token: &str| {
        registry.post(token, "/v1/workers/batch", json!({"names": names})).await
    };
    let taken = post("rack-{1..4}", &provider.token).await.problem(409);
    assert!(taken.contains("'rack-3'"), "{taken}");
    let list = registry.get(&provider.token, "/v1/workers").await.ok();
    assert_eq!(all(&list, "name"), ["RACK-3"].into());
    post("rack-{1..1001}", &provider.token).await.problem(400);
    post("rack", &provider.token).await.problem(400);

    let creator = registry.account("carl", &["creator"]).await;
    post("rack-{1..4}", &creator.token).await.problem(403);
    let read = registry.read_token(&provider).await;
    post("rack-{5..6}", &read).await.problem(403);
    registry.stop().await;
}

async fn a_key_makes_workers_until_it_is_used_up(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let asked = json!({"name_pattern": "{hostname}", "count": 2, "tags": ["farm"]});
    let (_, key) = key(&registry, &provider, asked).await;
    let config = enrol(&registry, &key, Some("node7")).await.ok();
    assert_eq!((&config["worker_name"], config["wallet_address"].is_null()), (&json!("node7"), true));
    let (id, token) = (text(&config["worker_id"]).to_owned(), text(&config["token"]).to_owned());
    registry.again(id.clone(), token, "machine".to_owned()).heartbeat(&[]).await.ok();
    let worker = registry.get(&provider.token, &format!("/v1/workers/{id}")).await.ok();
    assert_eq!((&worker["status"], &worker["tags"]), (&json!("idle"), &json!(["farm"])));

    // One that cannot be named costs no use.
    enrol(&registry, &key, None).await.problem(400);
    assert_eq!(enrol(&registry, &key, Some("node7")).await.ok()["worker_name"], "node7-2");
    assert_eq!(enrol(&registry, &key, Some("node8")).await.problem_code(409), "enrolment_used_up");
    let keys = registry.get(&provider.token, "/v1/enrolments").await.ok();
    assert_eq!((&keys["items"][0]["used"], &keys["items"][0]["count"]), (&json!(2), &json!(2)));
    assert!(!keys.to_string().contains(&key), "{keys}");
    registry.stop().await;
}

async fn a_key_goes_past_names_that_are_taken(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    for taken in ["rack-1", "rack-2", "rack-4"] {
        registry.worker(&provider, taken).await;
    }
    let (_, key) = key(&registry, &provider, json!({"name_pattern": "rack-{n}", "count": 9})).await;
    for name in ["rack-3", "rack-5", "rack-6"] {
        assert_eq!(enrol(&registry, &key, None).await.ok()["worker_name"], name);
    }
    registry.stop().await;
}

async fn a_key_ends_when_it_expires_or_is_revoked(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let now = registry.clock.now();
    let until =
        |seconds| json!({"name_pattern": "rack-{n}", "count": 9, "expires_at": now.plus_seconds(seconds)});
    registry.post(&provider.token, "/v1/enrolments", until(0)).await.problem(400);
    let (_, short) = key(&registry, &provider, until(60)).await;
    enrol(&registry, &short, None).await.ok();
    registry.clock.advance(60);
    assert_eq!(enrol(&registry, &short, None).await.problem_code(409), "enrolment_expired");

    let (id, revoked) = key(&registry, &provider, json!({"name_pattern": "rack-{n}", "count": 9})).await;
    enrol(&registry, &revoked, None).await.ok();
    let path = format!("/v1/enrolments/{id}");
    registry.call(Method::DELETE, &provider.token, &path, None).await.ok();
    enrol(&registry, &revoked, None).await.problem(403);
    enrol(&registry, "pictor_enrol_nothing", None).await.problem(403);
    registry.call(Method::DELETE, &provider.token, &path, None).await.problem(404);
    let keys = registry.get(&provider.token, "/v1/enrolments").await.ok();
    assert_eq!(keys["items"].as_array().unwrap().len(), 1);
    let expires_at: UnixMillis = serde_json::from_value(keys["items"][0]["expires_at"].clone()).unwrap();
    assert_eq!(expires_at, now.plus_seconds(60));
    let workers = registry.get(&provider.token, "/v1/workers").await.ok();
    assert_eq!(all(&workers, "name"), ["rack-1", "rack-2"].into());
    registry.stop().await;
}

async fn keys_are_their_owners(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let body = json!({"name_pattern": "rack-{n}", "count": 1});
    let (id, _) = key(&registry, &provider, body.clone()).await;
    let path = format!("/v1/enrolments/{id}");
    let other = registry.account("eve", &["provider"]).await;
    registry.call(Method::DELETE, &other.token, &path, None).await.problem(404);
    assert_eq!(registry.get(&other.token, "/v1/enrolments").await.ok()["items"], json!([]));
    let creator = registry.account("carl", &["creator"]).await;
    registry.post(&creator.token, "/v1/enrolments", body.clone()).await.problem(403);
    let read = registry.read_token(&provider).await;
    registry.post(&read, "/v1/enrolments", body).await.problem(403);
    registry.call(Method::DELETE, &read, &path, None).await.problem(403);
    assert_eq!(registry.get(&read, "/v1/enrolments").await.ok()["items"][0]["id"], id);
    for refused in [
        json!({"name_pattern": "rack-{n}", "count": 0}),
        json!({"name_pattern": "rack-{m}", "count": 1}),
        json!({"name_pattern": "a/b", "count": 1}),
        json!({"name_pattern": "a", "count": 1, "tags": [","]}),
    ] {
        registry.post(&provider.token, "/v1/enrolments", refused).await.problem(400);
    }
    registry.stop().await;
}

async fn machines_that_come_at_once_share_nothing(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let (_, key) = key(&registry, &provider, json!({"name_pattern": "rack-{n}", "count": 5})).await;
    let asked = futures_util::future::join_all((0..8).map(|_| enrol(&registry, &key, None))).await;
    let (made, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(|answer| answer.status.is_success());
    assert_eq!((made.len(), refused.len()), (5, 3));
    for answer in refused {
        assert_eq!(answer.problem_code(409), "enrolment_used_up");
    }
    let workers = registry.get(&provider.token, "/v1/workers").await.ok();
    assert_eq!(all(&workers, "name"), ["rack-1", "rack-2", "rack-3", "rack-4", "rack-5"].into());
    registry.stop().await;
}
