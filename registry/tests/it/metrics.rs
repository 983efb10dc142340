//! What Prometheus reads of the registry itself.

use std::collections::BTreeSet;

use pictor_family::Family;
use pictor_processes::until;
use pictor_protocol::UnixMillis;
use pictor_registry::metrics::catalogue;

use crate::database::Place;
use crate::registry::Registry;

on_both_databases!(the_network_is_counted_where_it_is_recorded, what_is_shown_is_what_the_catalogue_says,);

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

/// The label names of a sample, the bounds of a histogram's buckets left out.
fn labels(sample: &str) -> BTreeSet<&str> {
    let inside = sample.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
    let names = inside.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
    names.filter(|name| *name != "le").collect()
}

#[track_caller]
fn shows(text: &str, families: &[Family]) {
    let mut shown = 0;
    let mut family = None;
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            let found = families.iter().find(|family| family.name == name);
            let found = found.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
            assert_eq!(found.kind.as_str(), kind, "{name}");
            assert!(text.contains(&format!("# HELP {name} {}\n", found.help)), "{name}");
            family = Some(found);
            shown += 1;
        } else if !line.starts_with('#') {
            let family = family.expect("a sample after its type");
            assert!(line.starts_with(family.name), "{line}");
            assert_eq!(labels(line), family.labels.iter().copied().collect(), "{line}");
        }
    }
    assert_eq!(shown, families.len(), "of {families:?}\n{text}");
}

async fn what_is_shown_is_what_the_catalogue_says(place: Place) {
    let registry = Registry::start(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let provider = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&provider, "desk").await;
    let own = until("the ledger was checked", async || {
        let own = registry.get(&operator.token, "/metrics").await;
        own.text.contains("pictor_registry_ledger_check_success").then_some(own.text)
    })
    .await;
    let network = registry.get(&operator.token, "/metrics/network").await.text;
    for (endpoint, families) in catalogue() {
        shows(if endpoint == "/metrics" { &own } else { &network }, &families);
    }

    let now = registry.clock.now().seconds_since(UnixMillis(0));
    has(&own, &format!("pictor_registry_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    has(&own, &format!("pictor_registry_start_timestamp_seconds {now}"));
    has(&own, "pictor_registry_ledger_check_success 1");
    has(&own, &format!("pictor_registry_ledger_check_last_success_timestamp_seconds {now}"));
    has(&own, "pictor_registry_database_connections_max 8");
    let labels = format!("worker_id=\"{}\",worker_name=\"desk\",account=\"{}\"", worker.id, provider.id);
    has(&network, &format!("pictor_registry_worker_agent_info{{{labels},version=\"0.1.0\"}} 1"));
    registry.stop().await;
}
