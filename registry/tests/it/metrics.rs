//! What Prometheus reads of the registry itself.

use crate::database::Place;
use crate::registry::Registry;

on_both_databases!(the_network_is_counted_where_it_is_recorded,);

#[track_caller]
fn has(text: &str, sample: &str) {
    assert!(text.lines().any(|line| line == sample), "{sample} is not in\n{text}");
}

async fn the_network_is_counted_where_it_is_recorded(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    let operator = registry.account("root", &["operator"]).await;
    registry.job(&creator, "1-3").await;
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;
    worker.render(&lease).await;
    worker.lease().await;

    let network = registry.get(&operator.token, "/metrics/network").await;
    assert!(network.content_type.starts_with("text/plain"), "{network:?}");
    has(&network.text, "pictor_registry_tasks{status=\"completed\"} 1");
    has(&network.text, "pictor_registry_tasks{status=\"running\"} 1");
    has(&network.text, "pictor_registry_tasks{status=\"pending\"} 1");
    has(&network.text, "pictor_registry_jobs{status=\"running\"} 1");
    has(&network.text, "pictor_registry_paid_total{currency=\"EUR\",kind=\"reward\"} 0.04");
    has(&network.text, "pictor_registry_paid_total{currency=\"EUR\",kind=\"fee\"} 0.01");
    let (id, account) = (&worker.id, &provider.id);
    let labels = format!("worker_id=\"{id}\",account=\"{account}\"");
    has(&network.text, &format!("pictor_registry_worker_earnings_total{{{labels},currency=\"EUR\"}} 0.04"));
    has(&network.text, &format!("pictor_registry_worker_points_total{{{labels}}} 1"));
    has(&network.text, &format!("pictor_registry_worker_tasks{{{labels},status=\"completed\"}} 1"));

    let own = registry.get(&operator.token, "/metrics").await;
    assert!(own.text.contains("pictor_registry_http_request_seconds_bucket"), "{own:?}");
    assert!(own.text.contains("pictor_registry_leases_total"), "{own:?}");
    let stranger = registry.account("eve", &["provider"]).await;
    let theirs = registry.get(&stranger.token, "/metrics/network").await;
    assert!(!theirs.text.contains(id.as_str()), "{theirs:?}");
    registry.anonymous("/metrics/network").await.problem(401);
    registry.stop().await;
}
