//! The API's own description, and what is open to anyone.

use crate::database::Place;
use crate::registry::Registry;

on_both_databases!(every_route_is_described, health_is_open_to_anyone,);

const ROUTES: &[(&str, &str)] = &[
    ("post", "/v1/workers/bulk"),
    ("get", "/v1/me"),
    ("patch", "/v1/me"),
    ("get", "/v1/sessions"),
    ("delete", "/v1/sessions"),
    ("delete", "/v1/sessions/{id}"),
    ("get", "/v1/identities"),
    ("delete", "/v1/identities"),
    ("post", "/v1/tokens"),
    ("get", "/v1/tokens"),
    ("delete", "/v1/tokens/{id}"),
    ("get", "/v1/accounts"),
    ("post", "/v1/workers"),
    ("post", "/v1/workers/batch"),
    ("post", "/v1/enrolments"),
    ("get", "/v1/enrolments"),
    ("delete", "/v1/enrolments/{id}"),
    ("post", "/v1/agent/enrol"),
    ("get", "/v1/workers"),
    ("get", "/v1/workers/{id}"),
    ("patch", "/v1/workers/{id}"),
    ("delete", "/v1/workers/{id}"),
    ("get", "/v1/workers/{id}/config"),
    ("get", "/v1/workers/{id}/statistics"),
    ("get", "/v1/attempts"),
    ("get", "/v1/summary"),
    ("get", "/v1/earnings"),
    ("get", "/v1/payouts"),
    ("post", "/v1/payouts"),
    ("patch", "/v1/payouts/{id}"),
    ("post", "/v1/jobs"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{id}"),
    ("post", "/v1/jobs/{id}/pause"),
    ("post", "/v1/jobs/{id}/resume"),
    ("post", "/v1/jobs/{id}/cancel"),
    ("get", "/v1/jobs/{id}/frames/{frame}"),
    ("post", "/v1/agent/heartbeat"),
    ("post", "/v1/agent/leases"),
    ("get", "/v1/agent/leases/{id}/scene"),
    ("put", "/v1/agent/leases/{id}/frames/{frame}"),
    ("post", "/v1/agent/leases/{id}/log"),
    ("post", "/v1/agent/leases/{id}/complete"),
    ("post", "/v1/agent/leases/{id}/fail"),
    ("post", "/v1/agent/leases/{id}/release"),
    ("patch", "/v1/agent/worker"),
    ("get", "/v1/network"),
    ("get", "/v1/ledger"),
    ("get", "/v1/ledger/transfers"),
    ("get", "/v1/audit"),
    ("get", "/v1/notifications"),
    ("patch", "/v1/notifications"),
    ("get", "/v1/notifications/channels"),
    ("post", "/v1/notifications/channels"),
    ("delete", "/v1/notifications/channels/{id}"),
    ("post", "/v1/notifications/channels/{id}/test"),
    ("get", "/v1/notifications/deliveries"),
    ("get", "/v1/releases/agent/manifest.json"),
    ("get", "/v1/releases/agent/manifest.json.minisig"),
    ("get", "/v1/releases/agent/{file}"),
    ("get", "/v1/discovery/prometheus"),
    ("get", "/v1/prometheus/api/v1/query"),
    ("post", "/v1/prometheus/api/v1/query"),
    ("get", "/v1/prometheus/api/v1/query_range"),
    ("post", "/v1/prometheus/api/v1/query_range"),
    ("get", "/v1/prometheus/api/v1/query_exemplars"),
    ("post", "/v1/prometheus/api/v1/query_exemplars"),
    ("get", "/v1/prometheus/api/v1/series"),
    ("post", "/v1/prometheus/api/v1/series"),
    ("get", "/v1/prometheus/api/v1/labels"),
    ("post", "/v1/prometheus/api/v1/labels"),
    ("get", "/v1/prometheus/api/v1/label/{name}/values"),
    ("post", "/v1/prometheus/api/v1/label/{name}/values"),
    ("get", "/v1/prometheus/api/v1/metadata"),
    ("post", "/v1/prometheus/api/v1/metadata"),
    ("get", "/v1/prometheus/api/v1/status/buildinfo"),
    ("post", "/v1/prometheus/api/v1/status/buildinfo"),
    ("get", "/v1/prometheus/api/v1/rules"),
    ("post", "/v1/prometheus/api/v1/rules"),
    ("get", "/metrics"),
    ("get", "/metrics/network"),
];

/// What a path's parameters are called is nobody's contract.
fn anonymous(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

async fn every_route_is_described(place: Place) {
    let registry = Registry::start(&place).await;
    let document = registry.anonymous("/openapi.json").await.ok();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    let paths = document["paths"].as_object().unwrap();
    for (method, path) in ROUTES {
        let described =
            paths.iter().any(|(found, item)| anonymous(found) == anonymous(path) && !item[method].is_null());
        assert!(described, "{method} {path} is not described");
    }
    let printed: serde_json::Value =
        serde_json::from_str(&registry.plain_command(["openapi".to_owned()])).unwrap();
    assert_eq!(printed, document);
    registry.stop().await;
}

async fn health_is_open_to_anyone(place: Place) {
    let registry = Registry::start(&place).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(registry.anonymous(path).await.status.as_u16(), 200);
    }
    registry.stop().await;
}
