//! What providers see of their work: figures that sum up, charts in their own days, pages of history.

use std::collections::HashSet;

use pictor_processes::until;
use pictor_protocol::UnixMillis;
use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Account, Registry, text};

on_both_databases!(
    figures_and_their_series_agree,
    what_cannot_be_answered_is_refused,
    history_is_paged_filtered_and_exported,
    an_operator_sees_the_whole_network,
    folded_figures_are_the_same_figures,
    figures_are_grouped,
);

/// One provider whose worker has completed three tasks, failed one, and holds one; each ended an hour
/// after the one before.
async fn worked(place: &Place) -> (Registry, Account, String) {
    let registry = Registry::start(place).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    registry.job(&creator, "1-6").await;
    let worker = registry.worker(&provider, "desk").await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        worker.render(&lease).await;
        registry.clock.advance(3_600);
    }
    let failed = worker.lease().await;
    let error = json!({"error": "=no \"light\",\nno heat", "render_seconds": 0.5});
    worker.end(&failed, "fail", error).await.ok();
    registry.clock.advance(3_600);
    worker.lease().await;
    let id = worker.id.clone();
    (registry, provider, id)
}

fn sums(figures: &Value) -> (i64, i64, i64) {
    let of = |key: &str| {
        figures["series"].as_array().unwrap().iter().map(|point| point[key].as_i64().unwrap()).sum()
    };
    (of("earnings_micros"), of("completed"), of("failed"))
}

async fn figures_and_their_series_agree(place: Place) {
    let (registry, provider, worker) = worked(&place).await;
    for path in
        ["/v1/summary".to_owned(), "/v1/earnings".to_owned(), format!("/v1/workers/{worker}/statistics")]
    {
        let all = registry.get(&provider.token, &path).await.ok();
        assert_eq!(
            (&all["currency"], &all["earnings_micros"], &all["points"]),
            (&json!("EUR"), &json!(120_000), &json!(3))
        );
        assert_eq!(
            (&all["balance_micros"], &all["paid_out_micros"], &all["pending_micros"]),
            (&json!(120_000), &json!(0), &json!(0))
        );
        assert_eq!(
            (&all["tasks"]["completed"], &all["tasks"]["failed"], &all["tasks"]["running"]),
            (&json!(3), &json!(1), &json!(1))
        );
        let counted: i64 =
            all["tasks"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
        assert_eq!(counted, 5);
        assert_eq!(sums(&all), (120_000, 3, 1));

        let day = registry
            .get(&provider.token, &format!("{path}?range=24h&interval=hour&tz=Asia/Kolkata"))
            .await
            .ok();
        assert_eq!(sums(&day), (120_000, 3, 1));
        let hours = day["series"].as_array().unwrap();
        assert_eq!(
            hours.iter().filter(|hour| hour["earnings_micros"] == 40_000).count(),
            3,
            "an hour apart each"
        );
        assert!(
            hours.iter().all(|hour| text(&hour["at"]).ends_with(":30:00.000Z")),
            "India's hours begin at half past"
        );

        let later = registry.clock.now().plus_seconds(-2 * 3_600 - 60);
        let late = registry.get(&provider.token, &format!("{path}?from={later}")).await.ok();
        assert_eq!((&late["earnings_micros"], &late["tasks"]["completed"]), (&json!(40_000), &json!(1)));
        assert_eq!(sums(&late), (40_000, 1, 1));
    }
    registry.stop().await;
}

async fn what_cannot_be_answered_is_refused(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    for query in [
        "range=2d",
        "tz=Mars/Base",
        "by=colour",
        "from=yesterday",
        "interval=week",
        "range=24h&to=2026-01-01T00:00:00Z",
    ] {
        registry.get(&provider.token, &format!("/v1/summary?{query}")).await.problem(400);
    }
    for query in
        ["status=done", "limit=0", "limit=1001", "cursor=x", "worker=job_1", "format=xml", "colour=red"]
    {
        registry.get(&provider.token, &format!("/v1/attempts?{query}")).await.problem(400);
    }
    registry.stop().await;
}

async fn history_is_paged_filtered_and_exported(place: Place) {
    let (registry, provider, worker) = worked(&place).await;
    let mut pages = Vec::new();
    let mut path = "/v1/attempts?limit=2".to_owned();
    loop {
        let page = registry.get(&provider.token, &path).await.ok();
        pages.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/attempts?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    let ids: HashSet<&str> = pages.iter().map(|row| text(&row["id"])).collect();
    assert_eq!((pages.len(), ids.len()), (5, 5));
    let statuses: Vec<&str> = pages.iter().map(|row| text(&row["status"])).collect();
    assert_eq!(statuses, ["running", "failed", "completed", "completed", "completed"], "newest first");
    let done = &pages[4];
    assert_eq!(
        (&done["cost_micros"], &done["reward_micros"], &done["reward_status"]),
        (&json!(50_000), &json!(40_000), &json!("posted"))
    );
    assert_eq!(
        (&done["render_seconds"], &done["worker_id"], &done["slot"]),
        (&json!(1.5), &json!(worker), &json!(0))
    );
    assert!(done["started_at"].is_string() && done["completed_at"].is_string(), "{done}");

    let count = async |query: &str| {
        let page = registry.get(&provider.token, &format!("/v1/attempts?{query}")).await.ok();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("status=completed,failed").await, 4);
    assert_eq!(count(&format!("worker={worker}&status=running")).await, 1);
    assert_eq!(count("worker=wrk_00000000000070008000000000000000").await, 0);
    assert_eq!(count(&format!("search={}", text(&done["task_id"]))).await, 1);
    assert_eq!(count(&format!("search={}", text(&done["job_id"]))).await, 5);
    assert_eq!(count("search=%25").await, 0);
    assert_eq!(count("gpu=GPU-1").await, 0);
    assert_eq!(count("tag=attic").await, 0);
    let tags = Some(json!({"tags": ["attic", "50% off"]}));
    registry.call(Method::PATCH, &provider.token, &format!("/v1/workers/{worker}"), tags).await.ok();
    assert_eq!((count("tag=attic").await, count("tag=att").await, count("tag=50%25+off").await), (5, 0, 5));
    let later = registry.clock.now().plus_seconds(-3_660);
    assert_eq!((count(&format!("from={later}")).await, count(&format!("to={later}")).await), (2, 3));

    let csv = registry.get(&provider.token, "/v1/attempts?format=csv").await;
    assert!(csv.content_type.starts_with("text/csv"), "{csv:?}");
    assert!(csv.text.starts_with("id,task_id,job_id,worker_id,slot,"), "{csv:?}");
    assert!(csv.text.contains("\"'=no \"\"light\"\",\nno heat\""), "{}", csv.text);
    assert_eq!(csv.text.matches("\r\n").count(), 6);
    registry.stop().await;
}

async fn an_operator_sees_the_whole_network(place: Place) {
    let (registry, _, _) = worked(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let all = registry.get(&operator.token, "/v1/summary").await.ok();
    assert_eq!((&all["earnings_micros"], &all["tasks"]["completed"]), (&json!(120_000), &json!(3)));
    // 10.00 given; 0.30 set aside, of which 0.12 went to the provider.
    assert_eq!(all["balance_micros"], 9_820_000);
    let other = registry.account("eve", &["provider"]).await;
    let none = registry.get(&other.token, "/v1/summary").await.ok();
    assert_eq!((&none["earnings_micros"], &none["tasks"]["completed"]), (&json!(0), &json!(0)));
    registry.stop().await;
}

/// The moment before which a loop has folded, by the width of its rows.
async fn folded_until(place: &Place, fold: &str) -> UnixMillis {
    let db = place.open().await;
    let until: i64 = sqlx::query_scalar("SELECT until FROM folds WHERE name = $1")
        .bind(fold.to_owned())
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    UnixMillis(until)
}

async fn folded_figures_are_the_same_figures(place: Place) {
    let (registry, provider, worker) = worked(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let ended = registry.clock.now();
    // Neither begins nor ends with a quarter of an hour.
    let (from, to) = (ended.plus_seconds(-3 * 3_600 - 61), ended.plus_seconds(-59));
    let mut paths = Vec::new();
    for path in ["/v1/summary", &format!("/v1/workers/{worker}/statistics")] {
        for by in ["worker", "gpu", "gpu_name", "tag"] {
            paths.push(format!("{path}?by={by}"));
            paths.push(format!("{path}?by={by}&from={from}&to={to}&interval=hour&tz=Asia/Kathmandu"));
        }
    }
    let ask = async |registry: &Registry| {
        let mut answers = Vec::new();
        for path in &paths {
            for token in [&provider.token, &operator.token] {
                let mut figures = registry.get(token, path).await.ok();
                // The series of all time moves on with the clock.
                if !path.contains("from=") {
                    figures["series"] = json!(sums(&figures));
                }
                answers.push(figures);
            }
        }
        answers
    };
    let before = ask(&registry).await;
    assert_eq!(
        (&before[0]["tasks"]["completed"], &before[0]["groups"][0]["completed"]),
        (&json!(3), &json!(3))
    );
    assert!(
        folded_until(&place, "quarter").await < to.plus_seconds(-3 * 3_600),
        "nothing of it is folded yet"
    );

    registry.clock.advance(3 * 86_400);
    let registry = registry.restart().await;
    for fold in ["quarter", "day"] {
        until(&format!("the {fold} is folded"), async || {
            (folded_until(&place, fold).await > ended).then_some(())
        })
        .await;
    }
    // What was still leased may have run out of time since.
    for (mut before, mut after) in before.into_iter().zip(ask(&registry).await) {
        for figures in [&mut before, &mut after] {
            figures["tasks"]["running"] = Value::Null;
            figures["tasks"]["expired"] = Value::Null;
        }
        assert_eq!(before, after);
    }
    let me = registry.get(&provider.token, "/v1/me").await.ok();
    let all = registry.get(&provider.token, "/v1/summary").await.ok();
    assert_eq!(me["balance_micros"], all["balance_micros"], "the ledger and the folded figures agree");
    let db = place.open().await;
    assert_eq!(crate::network::findings(&db).await, []);
    registry.stop().await;
}

async fn figures_are_grouped(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    registry.job(&creator, "1-6").await;
    let (desk, attic) = (registry.worker(&provider, "desk").await, registry.worker(&provider, "attic").await);
    for (worker, tags) in [(&desk, json!(["home", "fast"])), (&attic, json!(["home"]))] {
        let path = format!("/v1/workers/{}", worker.id);
        registry.call(Method::PATCH, &provider.token, &path, Some(json!({"tags": tags}))).await.ok();
    }
    for worker in [&desk, &desk, &attic] {
        let lease = worker.lease().await;
        worker.render(&lease).await;
    }
    let failed = attic.lease().await;
    attic.end(&failed, "fail", json!({"error": "out of memory"})).await.ok();

    let by = async |by: &str| {
        let figures = registry.get(&provider.token, &format!("/v1/summary?by={by}")).await.ok();
        let groups = figures["groups"].as_array().unwrap().clone();
        groups
            .iter()
            .map(|group| {
                let micros = group["earnings_micros"].as_i64().unwrap();
                (text(&group["name"]).to_owned(), micros, group["success_ratio"].as_f64().unwrap())
            })
            .collect::<Vec<_>>()
    };
    let named = |name: &str, micros, ratio| (name.to_owned(), micros, ratio);
    assert_eq!(by("worker").await, [named("desk", 80_000, 1.0), named("attic", 40_000, 0.5)]);
    assert_eq!(by("tag").await, [named("home", 120_000, 0.75), named("fast", 80_000, 1.0)]);
    assert_eq!(by("gpu").await, [named("CPU", 120_000, 0.75)]);
    assert_eq!(by("gpu_name").await, [named("CPU", 120_000, 0.75)]);

    let all = registry.get(&provider.token, "/v1/summary?by=worker").await.ok();
    assert!(all["groups"][0]["online_seconds"].is_number(), "{all}");
    assert_eq!(all["groups"][0]["key"], json!(desk.id));
    let day = registry.get(&provider.token, "/v1/summary?by=worker&range=24h").await.ok();
    assert_eq!(day["groups"][0]["online_seconds"], Value::Null, "time online is known all time alone");
    let plain = registry.get(&provider.token, "/v1/summary").await.ok();
    assert!(plain.get("groups").is_none(), "{plain}");
    let other = registry.account("eve", &["provider"]).await;
    assert_eq!(registry.get(&other.token, "/v1/summary?by=worker").await.ok()["groups"], json!([]));
    let path = format!("/v1/workers/{}/statistics?by=gpu", desk.id);
    registry.get(&other.token, &path).await.problem(404);
    assert_eq!(registry.get(&provider.token, &path).await.ok()["groups"][0]["completed"], 2);
    registry.stop().await;
}
