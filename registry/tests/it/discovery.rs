//! What Prometheus is told to scrape.

use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Registry, Worker};

on_both_databases!(
    a_worker_is_listed_with_its_labels,
    an_address_outside_the_scrape_networks_is_never_listed,
);

async fn targets(registry: &Registry, token: &str) -> Vec<Value> {
    let answer = registry.get(token, "/v1/discovery/prometheus?via=direct").await;
    assert!(answer.content_type.starts_with("application/json"), "{answer:?}");
    answer.ok().as_array().unwrap().clone()
}

async fn listen(worker: &Worker<'_>, address: &str) {
    worker.heartbeat_with(&[], json!({"metrics_listen": address})).await.ok();
}

async fn a_worker_is_listed_with_its_labels(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    let listed = targets(&registry, &provider.token).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["targets"], json!(["127.0.0.1:9850"]));
    let labels = &listed[0]["labels"];
    assert_eq!(
        (&labels["worker_id"], &labels["worker_name"], &labels["instance"]),
        (&json!(worker.id), &json!("desk"), &json!(worker.id))
    );
    assert_eq!(labels["account"], provider.id.as_str());
    let other = registry.account("eve", &["provider"]).await;
    assert!(targets(&registry, &other.token).await.is_empty());
    let operator = registry.account("root", &["operator"]).await;
    assert_eq!(targets(&registry, &operator.token).await.len(), 1);
    registry.stop().await;
}

async fn an_address_outside_the_scrape_networks_is_never_listed(place: Place) {
    let registry = Registry::start(&place).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    for address in ["10.0.0.1:9850", "169.254.169.254:80", "8.8.8.8:9850", "example.org:9850", "nonsense", ""]
    {
        listen(&worker, address).await;
        let listed = targets(&registry, &provider.token).await;
        assert!(
            !listed.iter().any(|group| group.to_string().contains(address) && !address.is_empty()),
            "{address}"
        );
    }
    registry.stop().await;

    let registry = Registry::start_with(&place, &["--scrape-networks", "10.0.0.0/8"]).await;
    let provider = registry.account("grace", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    assert!(targets(&registry, &provider.token).await.is_empty(), "loopback is outside now");
    listen(&worker, "127.0.0.1:9850").await;
    assert!(targets(&registry, &provider.token).await.is_empty());
    registry.stop().await;
}
