//! The pages of earnings, asked for as a browser does that has signed in.

use reqwest::header;
use serde_json::json;

use crate::database::Place;
use crate::registry::{Account, Answer, Registry, answer};

on_both_databases!(figures_stand_on_their_pages, pages_are_their_accounts_alone,);

/// The cookie of a session of this account's.
async fn signed_in(registry: &Registry, account: &Account) -> String {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let form = client.build().unwrap().post(registry.url("/login")).body(format!("token={}", account.token));
    let answer = form.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn page(registry: &Registry, cookie: &str, path: &str) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(registry.url(path)).header(header::ACCEPT, "text/html");
    answer(request.header(header::COOKIE, cookie)).await
}

async fn figures_stand_on_their_pages(place: Place) {
    let flags = ["--grafana-url", "http://grafana.example/base"];
    let registry = Registry::start_with(&place, &flags).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    let cookie = signed_in(&registry, &provider).await;
    let empty = page(&registry, &cookie, "/summary").await;
    assert!(empty.text.contains("href=\"/workers/new\""), "an empty page says what to do next: {empty:?}");

    registry.job(&creator, "1-3").await;
    let worker = registry.worker(&provider, "<b>desk").await;
    for _ in 0..2 {
        let lease = worker.lease().await;
        worker.render(&lease).await;
    }
    let operator = registry.account("root", &["operator"]).await;
    let body = json!({"account_id": provider.id, "amount_micros": 10_000, "reference": "<i>bank</i>"});
    registry.post(&operator.token, "/v1/payouts", body).await.ok();

    let summary = page(&registry, &cookie, "/summary?range=24h").await.text;
    for text in [
        "0.08 EUR",
        "0.07 EUR",
        "1 point for each completed frame",
        "2 completed, 0 failed</title>",
        "pending",
    ] {
        assert!(summary.contains(text), "{text}: {summary}");
    }
    let statistics = format!("/workers/{}/statistics", worker.id);
    let (grafana, of_day) = ("http://grafana.example/base/d/pictor-summary", "from=now-24h");
    for text in [statistics.as_str(), grafana, of_day, "&#60;b&#62;desk", "&#60;i&#62;bank&#60;/i&#62;"] {
        assert!(summary.contains(text), "{text}: {summary}");
    }
    let csv = page(&registry, &cookie, "/summary/payouts.csv").await;
    assert!(csv.content_type.starts_with("text/csv") && csv.text.contains(",10000,pending,"), "{csv:?}");

    let shown = page(&registry, &cookie, &statistics).await.text;
    for text in
        ["0.08 EUR", "aria-current=\"page\">Statistics", "var-worker=wrk_", "2 completed, 0 failed</title>"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let wrong = page(&registry, &cookie, &format!("{statistics}?from=2026-03-02&to=2026-03-01")).await;
    assert!(wrong.text.contains("The last day lies before the first."), "{wrong:?}");
    assert!(wrong.text.contains("value=\"2026-03-02\""), "what was typed stays");
    let long = page(&registry, &cookie, &format!("{statistics}?from=1000-01-01&to=1000-01-31")).await;
    assert_eq!(long.status, 200, "{long:?}");
    registry.stop().await;
}

async fn pages_are_their_accounts_alone(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    let statistics = format!("/workers/{}/statistics", worker.id);
    let other = registry.account("eve", &["provider"]).await;
    let cookie = signed_in(&registry, &other).await;
    assert_eq!(page(&registry, &cookie, &statistics).await.status, 404);
    assert!(!page(&registry, &cookie, "/summary").await.text.contains("desk"));
    let creator = registry.creator("bob", "1").await;
    let cookie = signed_in(&registry, &creator).await;
    for path in ["/summary", "/summary/payouts.csv", statistics.as_str()] {
        assert_eq!(page(&registry, &cookie, path).await.status, 403, "{path}");
    }
    registry.stop().await;
}
