//! Who may do what: tokens, scopes, roles, and that other accounts' things are not even said to exist.

use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Registry, all, text};

on_both_databases!(
    only_a_token_in_force_opens_the_api,
    a_read_token_gets_numbers_only,
    a_worker_token_opens_the_calls_of_its_worker_only,
    roles_bound_what_an_account_does,
    what_others_own_does_not_exist,
);

async fn only_a_token_in_force_opens_the_api(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    for path in
        ["/v1/me", "/v1/workers", "/v1/attempts", "/v1/summary", "/v1/discovery/prometheus?via=direct"]
    {
        assert_eq!(registry.anonymous(path).await.problem_code(401), "unauthorized", "{path}");
    }
    registry.get("pictor_nonsense", "/v1/me").await.problem(401);
    let me = registry.get(&provider.token, "/v1/me").await.ok();
    assert_eq!((text(&me["id"]), text(&me["name"])), (provider.id.as_str(), "ada"));
    assert_eq!(
        (&me["roles"], &me["scope"], &me["currency"]),
        (&json!(["provider"]), &json!("full"), &json!("EUR"))
    );

    let made = registry.post(&provider.token, "/v1/tokens", json!({"name": "x", "scope": "full"})).await.ok();
    let secret = text(&made["token"]).to_owned();
    registry.get(&secret, "/v1/me").await.ok();
    let path = format!("/v1/tokens/{}", text(&made["id"]));
    registry.call(Method::DELETE, &provider.token, &path, None).await.ok();
    registry.get(&secret, "/v1/me").await.problem(401);
    let listed = registry.get(&provider.token, "/v1/tokens").await.ok();
    assert!(!listed.to_string().contains(&secret), "a secret is shown once");
    registry.stop().await;
}

async fn a_read_token_gets_numbers_only(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider", "creator"]).await;
    let worker = registry.worker(&provider, "one").await;
    let made =
        registry.post(&provider.token, "/v1/tokens", json!({"name": "grafana", "scope": "read"})).await.ok();
    let read = text(&made["token"]);
    for path in ["/v1/me", "/v1/workers", "/v1/attempts", "/v1/summary", "/v1/jobs", "/v1/earnings"] {
        registry.get(read, path).await.ok();
    }
    let one = format!("/v1/workers/{}", worker.id);
    registry.get(read, &format!("{one}/config")).await.problem(403);
    registry.post(read, "/v1/workers", json!({"name": "two"})).await.problem(403);
    registry.call(Method::PATCH, read, &one, Some(json!({"name": "two"}))).await.problem(403);
    registry.call(Method::DELETE, read, &one, None).await.problem(403);
    registry.post(read, "/v1/tokens", json!({"name": "more", "scope": "full"})).await.problem(403);
    let settings = json!({"name": "j", "frames": "1", "frame_cost_micros": 0});
    registry.submit(read, settings, crate::registry::blend()).await.problem(403);
    registry.stop().await;
}

async fn a_worker_token_opens_the_calls_of_its_worker_only(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "one").await;
    for path in ["/v1/me", "/v1/workers", "/v1/tokens", "/v1/summary"] {
        registry.get(&worker.token, path).await.problem(403);
    }
    let body = json!({"ask_id": "a", "slots": [0], "wait_seconds": 0});
    registry.post(&provider.token, "/v1/agent/leases", body).await.problem(403);
    registry.stop().await;
}

async fn roles_bound_what_an_account_does(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let creator = registry.creator("bob", "1").await;
    registry.post(&creator.token, "/v1/workers", json!({"name": "w"})).await.problem(403);
    let settings = json!({"name": "j", "frames": "1", "frame_cost_micros": 0});
    registry.submit(&provider.token, settings, crate::registry::blend()).await.problem(403);
    registry.get(&provider.token, "/v1/accounts").await.problem(403);
    let operator = registry.account("root", &["operator"]).await;
    let accounts = registry.get(&operator.token, "/v1/accounts").await.ok();
    assert!(all(&accounts, "name").is_superset(&["ada", "bob", "root"].into()));
    registry.stop().await;
}

async fn what_others_own_does_not_exist(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider", "creator"]).await;
    let eve = registry.account("eve", &["provider", "creator"]).await;
    registry.command(["account", "credit", "ada", "10"]);
    let worker = registry.worker(&ada, "one").await;
    let job = registry.job(&ada, "1-2").await;
    let lease = worker.lease().await;

    let one = format!("/v1/workers/{}", worker.id);
    for path in [
        one.clone(),
        format!("{one}/config"),
        format!("{one}/statistics"),
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/frames/1"),
    ] {
        registry.get(&eve.token, &path).await.problem(404);
    }
    registry.call(Method::DELETE, &eve.token, &one, None).await.problem(404);
    registry.call(Method::PATCH, &eve.token, &one, Some(json!({"name": "mine"}))).await.problem(404);
    for list in ["/v1/workers", "/v1/attempts", "/v1/jobs"] {
        assert_eq!(registry.get(&eve.token, list).await.ok()["items"], json!([]), "{list}");
    }
    let others = registry.worker(&eve, "other").await;
    others.upload(&lease, 1).await.problem(404);
    others.complete(&lease).await.problem(404);
    others.end(&lease, "fail", json!({"error": "x", "render_seconds": null})).await.problem(404);

    let operator = registry.account("root", &["operator"]).await;
    let attempts: Value = registry.get(&operator.token, "/v1/attempts").await.ok();
    assert_eq!(attempts["items"][0]["id"], lease["id"]);
    registry.get(&operator.token, &one).await.ok();
    registry.get(&ada.token, "/v1/workers/nonsense").await.problem(404);
    registry.stop().await;
}
