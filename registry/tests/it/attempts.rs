//! The history of attempts, sorted, and one of them opened: what its provider may read, and nobody else.

use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Account, Registry, text};

on_both_databases!(
    history_is_sorted_and_paged_in_any_order,
    an_attempt_is_opened_by_its_provider_alone,
    a_log_shows_no_paths,
);

struct Worked {
    registry: Registry,
    provider: Account,
    workers: [String; 2],
}

/// Two workers: one completed a task of two frames and a task of one, the other failed one.
async fn worked(place: &Place) -> Worked {
    let registry = Registry::start(place).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    let settings =
        json!({"name": "secret film", "frames": "1-5", "frames_per_task": 2, "frame_cost_micros": 50_000});
    registry.submit(&creator.token, settings, crate::registry::blend()).await.ok();
    let (first, second) =
        (registry.worker(&provider, "desk").await, registry.worker(&provider, "attic").await);
    let lease = first.lease().await;
    first.render(&lease).await;
    registry.clock.advance(60);
    let failed = second.lease().await;
    second
        .end(&failed, "fail", json!({"error": "cannot read /home/bob/film/a.png", "render_seconds": 0.25}))
        .await
        .ok();
    registry.clock.advance(60);
    let lease = first.lease().await;
    for frame in crate::registry::frames(&lease) {
        first.upload(&lease, frame).await.ok();
    }
    first.end(&lease, "complete", json!({"render_seconds": 7.1})).await.ok();
    let workers = [first.id.clone(), second.id.clone()];
    Worked { registry, provider, workers }
}

async fn sorted(worked: &Worked, query: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/attempts?limit=1&cursor={cursor}&{query}");
        let page = worked.registry.get(&worked.provider.token, &path).await.ok();
        rows.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return rows,
        }
    }
}

async fn history_is_sorted_and_paged_in_any_order(place: Place) {
    let worked = worked(&place).await;
    for (sort, column, descending) in [
        ("started_at", "status", ["completed", "failed", "completed"].map(Value::from)),
        ("status", "status", ["failed", "completed", "completed"].map(Value::from)),
        ("completed_at", "status", ["completed", "failed", "completed"].map(Value::from)),
        ("render_seconds", "render_seconds", [7.1, 1.5, 0.25].map(Value::from)),
        ("cost", "cost_micros", [100_000, 100_000, 100_000].map(Value::from)),
        ("reward", "reward_micros", [json!(80_000), json!(80_000), Value::Null]),
    ] {
        let down = sorted(&worked, &format!("sort={sort}")).await;
        let up = sorted(&worked, &format!("sort={sort}&order=asc")).await;
        let values = |rows: &[Value]| rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
        assert_eq!(values(&down), descending, "{sort}");
        let ids = |rows: &[Value]| rows.iter().map(|row| text(&row["id"]).to_owned()).collect::<Vec<_>>();
        assert_eq!(ids(&down), ids(&up).into_iter().rev().collect::<Vec<_>>(), "{sort}");
        let csv = worked
            .registry
            .get(&worked.provider.token, &format!("/v1/attempts?format=csv&sort={sort}"))
            .await;
        let in_csv: Vec<&str> = csv.text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert_eq!(in_csv, ids(&down), "{sort}");
    }
    let [first, second] = &worked.workers;
    assert_eq!(sorted(&worked, &format!("worker={second}")).await.len(), 1);
    assert_eq!(sorted(&worked, &format!("worker={first},{second}")).await.len(), 3);
    let row = &sorted(&worked, "status=failed").await[0];
    assert_eq!(
        (&row["worker_name"], &row["first_frame"], &row["last_frame"]),
        (&json!("attic"), &json!(3), &json!(4))
    );
    let page = worked.registry.get(&worked.provider.token, "/v1/attempts?limit=1&sort=cost").await.ok();
    let cursor = text(&page["next_cursor"]);
    for refused in
        [format!("sort=status&cursor={cursor}x"), "sort=name".into(), "order=up".into(), "worker=a,b".into()]
    {
        worked.registry.get(&worked.provider.token, &format!("/v1/attempts?{refused}")).await.problem(400);
    }
    worked.registry.stop().await;
}

async fn an_attempt_is_opened_by_its_provider_alone(place: Place) {
    let worked = worked(&place).await;
    let registry = &worked.registry;
    let done = sorted(&worked, "status=completed&order=asc").await[0].clone();
    let path = format!("/v1/attempts/{}", text(&done["id"]));
    let opened = registry.get(&worked.provider.token, &path).await;
    let attempt = opened.ok();
    assert_eq!((&attempt["frames"], &attempt["has_log"]), (&json!([1, 2]), &json!(false)));
    for (key, value) in done.as_object().unwrap() {
        assert_eq!(&attempt[key], value, "{key}");
    }
    assert!(!opened.text.contains("secret film"), "the job's name is its creator's");
    let stranger = registry.account("eve", &["provider"]).await;
    let creator = registry.account("carl", &["creator"]).await;
    let operator = registry.account("root", &["operator"]).await;
    registry.get(&stranger.token, &path).await.problem(404);
    registry.get(&stranger.token, &format!("{path}/log")).await.problem(404);
    registry.get(&creator.token, &path).await.problem(403);
    registry.get(&operator.token, &path).await.ok();
    registry.get(&worked.provider.token, &format!("{path}/log")).await.problem(404);
    registry.get(&worked.provider.token, "/v1/attempts/att_1").await.problem(404);
    worked.registry.stop().await;
}

async fn a_log_shows_no_paths(place: Place) {
    let worked = worked(&place).await;
    let (registry, provider) = (&worked.registry, &worked.provider);
    let failed = sorted(&worked, "status=failed").await[0].clone();
    assert_eq!(failed["error"], "cannot read [path]");
    let id = text(&failed["id"]);
    let token = registry.worker_token(provider, &worked.workers[1]).await;
    let log =
        "Blender 3.4.1\nRead blend: /pictor/scene.blend\nWarning: Path '//my textures/hero.png' not found\n";
    registry.post_text(&token, &format!("/v1/agent/leases/{id}/log"), log).await.ok();
    assert_eq!(registry.get(&provider.token, &format!("/v1/attempts/{id}")).await.ok()["has_log"], true);
    let shown = registry.get(&provider.token, &format!("/v1/attempts/{id}/log")).await;
    assert!(shown.content_type.starts_with("text/plain"), "{shown:?}");
    assert_eq!(shown.text, "Blender 3.4.1\nRead blend: [path]\nWarning: Path '[path]' not found\n");
    let made =
        registry.post(&provider.token, "/v1/tokens", json!({"name": "graphs", "scope": "read"})).await.ok();
    let reads = text(&made["token"]);
    registry.get(reads, &format!("/v1/attempts/{id}")).await.ok();
    registry.get(reads, &format!("/v1/attempts/{id}/log")).await.problem(403);
    worked.registry.stop().await;
}
