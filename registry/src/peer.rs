//! Where a request comes from, as the registry sees it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::App;

/// The caller's address; what a trusted proxy says counts instead of the proxy's own.
#[derive(Debug, Clone, Copy)]
pub struct PeerIp(pub Option<IpAddr>);

impl FromRequestParts<App> for PeerIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<PeerIp, Infallible> {
        let connected =
            parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let forwarded = parts.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
        Ok(PeerIp(connected.map(|ip| behind_proxies(ip, forwarded, &app.settings.trusted_proxies))))
    }
}

/// Walks the chain from its near end and stops at the first address that is no trusted proxy:
/// whatever stands further left was written by somebody we do not trust.
fn behind_proxies(connected: IpAddr, forwarded: Option<&str>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(ip));
    let mut nearest = connected;
    for hop in forwarded.unwrap_or_default().rsplit(',') {
        if !is_trusted(&nearest) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(ip) => nearest = ip.to_canonical(),
            Err(_) => break,
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::behind_proxies;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let ip = |text: &str| text.parse().unwrap();
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(behind_proxies(ip("192.0.2.1"), Some("198.51.100.7"), &trusted), ip("192.0.2.1"));
        assert_eq!(
            behind_proxies(ip("10.0.0.1"), Some("203.0.113.9, 198.51.100.7"), &trusted),
            ip("198.51.100.7")
        );
        assert_eq!(
            behind_proxies(ip("10.0.0.1"), Some("198.51.100.7, 10.0.0.2"), &trusted),
            ip("198.51.100.7")
        );
        assert_eq!(behind_proxies(ip("10.0.0.1"), None, &trusted), ip("10.0.0.1"));
        assert_eq!(behind_proxies(ip("10.0.0.1"), Some("junk"), &trusted), ip("10.0.0.1"));
    }
}
