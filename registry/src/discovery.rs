//! Prometheus HTTP service discovery: where agents can be scraped.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::extract::State;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Caller;
use crate::error::{Error, Json, Query, Result};
use crate::workers::{self, Standing};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(prometheus))
}

/// How Prometheus reaches the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Via {
    /// At their own addresses, where those lie in the registry's `--scrape-networks`.
    #[default]
    Direct,
    /// Through the registry, which will keep what workers behind NAT send it: refused until then, so that a scrape
    /// configuration that asks for it fails loudly and finds no empty list.
    Relay,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiscoveryQuery {
    #[serde(default)]
    #[param(inline)]
    via: Via,
}

/// One target in the form of Prometheus' `http_sd_configs`.
#[derive(Debug, Serialize, ToSchema)]
struct TargetGroup {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// The agents that have been heard from: an operator's are the whole network's.
#[utoipa::path(
    get,
    path = "/v1/discovery/prometheus",
    params(DiscoveryQuery),
    responses((status = 200, body = Vec<TargetGroup>))
)]
async fn prometheus(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DiscoveryQuery>,
) -> Result<Json<Vec<TargetGroup>>> {
    if query.via == Via::Relay {
        return Err(Error::Invalid(
            "via=relay is not served by this version of the registry: ask via=direct".to_owned(),
        ));
    }
    let standings = workers::standings(&app, caller.account_filter()).await?;
    let mut groups: Vec<TargetGroup> =
        standings.iter().filter_map(|standing| group(standing, &app.settings.scrape_networks)).collect();
    groups.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(Json(groups))
}

fn group(standing: &Standing, networks: &[IpNet]) -> Option<TargetGroup> {
    let seen = standing.seen.as_ref()?;
    let target = target(&seen.report.metrics_listen, seen.ip?, networks)?;
    let labels = BTreeMap::from([
        ("account", standing.row.account_id.to_string()),
        ("instance", standing.row.id.to_string()),
        ("worker_id", standing.row.id.to_string()),
        ("worker_name", standing.row.name.to_string()),
    ]);
    Some(TargetGroup { targets: vec![target.to_string()], labels })
}

/// The address comes from where heartbeats come from, never from what an agent says: a provider must not
/// point Prometheus at somebody else. What it says is the port, and that only this machine reaches it.
fn target(metrics_listen: &str, seen: IpAddr, networks: &[IpNet]) -> Option<SocketAddr> {
    let listen: SocketAddr = metrics_listen.parse().ok()?;
    let ip = match listen.ip() {
        loopback if loopback.is_loopback() => seen.is_loopback().then_some(loopback)?,
        _ => seen,
    };
    let reachable = listen.port() != 0 && networks.iter().any(|network| network.contains(&ip));
    reachable.then(|| SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn targets_lie_where_heartbeats_come_from_and_inside_the_networks() {
        let networks =
            ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let told = |listen: &str, seen: &str| {
            target(listen, seen.parse().unwrap(), &networks).map(|address| address.to_string())
        };
        assert_eq!(told("127.0.0.1:9850", "127.0.0.1").as_deref(), Some("127.0.0.1:9850"));
        assert_eq!(told("[::1]:9850", "127.0.0.1").as_deref(), Some("[::1]:9850"));
        assert_eq!(told("0.0.0.0:9850", "10.1.2.3").as_deref(), Some("10.1.2.3:9850"));
        assert_eq!(
            told("10.9.9.9:9850", "10.1.2.3").as_deref(),
            Some("10.1.2.3:9850"),
            "the seen address wins"
        );
        assert_eq!(told("127.0.0.1:9850", "10.1.2.3"), None, "only that machine reaches its loopback");
        assert_eq!(told("0.0.0.0:9850", "198.51.100.7"), None, "outside the networks");
        assert_eq!(told("not an address", "127.0.0.1"), None);
        assert_eq!(told("127.0.0.1:0", "127.0.0.1"), None);
    }
}
