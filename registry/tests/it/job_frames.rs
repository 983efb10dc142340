//! A job's pictures: listed, fetched in one archive, and its creator's alone; and what jobs have cost.

use std::io::{Cursor, Read};

use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Registry, blend, png, text};

on_both_databases!(
    frames_are_listed_as_they_come,
    finished_frames_come_in_one_archive,
    jobs_are_searched_and_filtered,
    spending_adds_up,
);

async fn frames_are_listed_as_they_come(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let provider = registry.account("ada", &["provider"]).await;
    let settings =
        json!({"name": "film", "frames": "1-5", "frames_per_task": 2, "frame_cost_micros": 50_000});
    let job = registry.submit(&creator.token, settings, blend()).await.ok();
    let path = format!("/v1/jobs/{}/frames", text(&job["id"]));
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;
    worker.render(&lease).await;
    worker.lease().await;
    let mut frames: Vec<Value> = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = registry.get(&creator.token, &format!("{path}{query}")).await.ok();
        frames.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let standing: Vec<_> =
        frames.iter().map(|frame| (frame["frame"].as_i64().unwrap(), text(&frame["status"]))).collect();
    assert_eq!(
        standing,
        [(1, "completed"), (2, "completed"), (3, "running"), (4, "running"), (5, "pending")]
    );
    assert_eq!(frames[0]["size_bytes"], png(8, 8, 1).len());
    assert_eq!((&frames[2]["sha256"], &frames[2]["size_bytes"]), (&Value::Null, &Value::Null));
    registry.get(&creator.token, &format!("{path}?limit=0")).await.problem(400);
    registry.get(&creator.token, &format!("{path}?cursor=x")).await.problem(400);
    let stranger = registry.creator("eve", "1").await;
    registry.get(&stranger.token, &path).await.problem(404);
    registry.get(&provider.token, &path).await.problem(404);
    registry.stop().await;
}

async fn finished_frames_come_in_one_archive(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let provider = registry.account("ada", &["provider"]).await;
    let job = registry.job(&creator, "9-11").await;
    let path = format!("/v1/jobs/{job}/frames.zip");
    registry.get(&creator.token, &path).await.problem(404);
    let worker = registry.worker(&provider, "desk").await;
    for _ in 0..2 {
        let lease = worker.lease().await;
        worker.render(&lease).await;
    }
    let bytes = registry.bytes(&creator.token, &path).await;
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["frame_0009.png", "frame_0010.png"]);
    for frame in [9, 10] {
        let mut picture = Vec::new();
        archive.by_name(&format!("frame_{frame:04}.png")).unwrap().read_to_end(&mut picture).unwrap();
        assert_eq!(picture, png(8, 8, frame));
    }
    let made =
        registry.post(&creator.token, "/v1/tokens", json!({"name": "graphs", "scope": "read"})).await.ok();
    registry.get(text(&made["token"]), &path).await.problem(403);
    registry.get(&provider.token, &path).await.problem(404);
    registry.stop().await;
}

async fn jobs_are_searched_and_filtered(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let mut ids = Vec::new();
    for name in ["Forest 50%", "forest_b", "Ocean"] {
        let settings = json!({"name": name, "frames": "1", "frame_cost_micros": 0});
        ids.push(text(&registry.submit(&creator.token, settings, blend()).await.ok()["id"]).to_owned());
        // Ids of one moment come in no order.
        registry.clock.advance(1);
    }
    registry
        .call(reqwest::Method::POST, &creator.token, &format!("/v1/jobs/{}/cancel", ids[2]), None)
        .await
        .ok();
    let names = async |query: &str| -> Vec<String> {
        let page = registry.get(&creator.token, &format!("/v1/jobs?{query}")).await.ok();
        page["items"].as_array().unwrap().iter().map(|job| text(&job["name"]).to_owned()).collect()
    };
    assert_eq!(names("search=FOREST").await, ["forest_b", "Forest 50%"]);
    assert_eq!(names("search=%25").await, ["Forest 50%"]);
    assert_eq!(names("search=t_b").await, ["forest_b"]);
    assert_eq!(names(&format!("search={}", ids[2])).await, ["Ocean"]);
    assert_eq!(names("status=cancelled").await, ["Ocean"]);
    assert_eq!(names("status=pending,cancelled&search=o").await.len(), 3);
    assert!(names("status=running").await.is_empty());
    registry.get(&creator.token, "/v1/jobs?status=done").await.problem(400);
    registry.stop().await;
}

async fn spending_adds_up(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "1").await;
    let provider = registry.account("ada", &["provider"]).await;
    let job = registry.job(&creator, "1-4").await;
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;
    worker.render(&lease).await;
    let spending = async || {
        let all = registry.get(&creator.token, "/v1/spending").await.ok();
        ["balance_micros", "escrow_micros", "spent_micros"].map(|key| all[key].as_i64().unwrap())
    };
    assert_eq!(spending().await, [800_000, 150_000, 50_000]);
    registry.call(reqwest::Method::POST, &creator.token, &format!("/v1/jobs/{job}/cancel"), None).await.ok();
    assert_eq!(spending().await, [950_000, 0, 50_000]);
    registry.get(&provider.token, "/v1/spending").await.problem(403);
    registry.stop().await;
}
