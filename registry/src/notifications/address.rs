//! Where the registry may be sent by an account: never to what only its own network can reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use pictor_protocol::is_loopback;
use reqwest::dns::{Name, Resolve, Resolving};
use url::{Host, Url};

use crate::error::{Error, Result};

const URL_CHARS_MAX: usize = 1_000;
const NOT_PUBLIC: &str = "its address is not one of the public internet";

/// (address, length of the prefix)
const RESERVED_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// Within 2000::/3, which alone is routed: tunnels that carry IPv4 addresses, and documentation.
const RESERVED_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !RESERVED_V4
            .iter()
            .any(|(network, length)| Ipv4Net::new(*network, *length).is_ok_and(|net| net.contains(&ip))),
        IpAddr::V6(ip) => {
            ip.segments()[0] & 0xe000 == 0x2000
                && !RESERVED_V6.iter().any(|(network, length)| {
                    Ipv6Net::new(*network, *length).is_ok_and(|net| net.contains(&ip))
                })
        }
    }
}

/// A webhook's URL: HTTPS, or a program on this machine where the registry serves this machine alone.
/// What its name stands for is looked at each time it is called.
pub(super) fn webhook(text: &str, loopback_only: bool) -> Result<Url> {
    let refused = |why: &str| Error::Invalid(format!("url: {why}"));
    let url = Url::parse(text.trim()).map_err(|_| refused("write https://HOST/PATH"))?;
    if text.len() > URL_CHARS_MAX {
        return Err(refused("it is too long"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("leave user and password out: calls are signed instead"));
    }
    let is_local = loopback_only && is_loopback(&url);
    match url.scheme() {
        "https" => {}
        "http" if is_local => {}
        _ => return Err(refused("write https://HOST/PATH: what is sent is nobody else's to read")),
    }
    allowed(&url, loopback_only).map_err(|why| refused(&why))?;
    Ok(url)
}

/// Refuses an address that is written out; names are looked at by [`PublicOnly`].
pub(super) fn allowed(url: &Url, loopback_only: bool) -> std::result::Result<(), String> {
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        Some(Host::Domain(name)) if loopback_only || name != "localhost" => return Ok(()),
        _ => return Err(NOT_PUBLIC.to_owned()),
    };
    if loopback_only || is_public(ip) { Ok(()) } else { Err(NOT_PUBLIC.to_owned()) }
}

/// Resolves names to addresses of the public internet only. The connection goes to an address that was
/// looked at here, so that a name cannot stand for another one a moment later.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() || found.iter().any(|address| !is_public(address.ip())) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NOT_PUBLIC).into());
            }
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{is_public, webhook};

    #[test]
    fn only_the_public_internet_is_public() {
        for ip in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn webhooks_are_https_or_of_a_registry_alone_on_its_machine() {
        for (url, alone, elsewhere) in [
            ("https://example.org/hook", true, true),
            ("http://example.org/hook", false, false),
            ("http://127.0.0.1:9000/", true, false),
            ("http://localhost:9000/", true, false),
            ("https://localhost/", true, false),
            ("https://192.168.1.5/", true, false),
            ("https://[::1]/", true, false),
            ("https://0x7f.1/", true, false),
            ("http://192.168.1.5/", false, false),
            ("https://user:pass@example.org/", false, false),
            ("file:///etc/passwd", false, false),
            ("hook", false, false),
        ] {
            assert_eq!(
                (webhook(url, true).is_ok(), webhook(url, false).is_ok()),
                (alone, elsewhere),
                "{url}"
            );
        }
    }
}
