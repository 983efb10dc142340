//! Who may use the app: who holds the key of the running agent, and no other site's pages in that person's browser.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use url::{Host, Url, form_urlencoded};

use super::page::Page;
use crate::secret;

/// Nothing from elsewhere, and no script or style but ours.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The guard before every page.
#[derive(Debug, Clone)]
pub(super) struct Access {
    key: Arc<str>,
    /// Browsers keep cookies by host, whatever the port: two agents of one machine have one each.
    cookie: Arc<str>,
    /// Then it is met by whatever name the machine has.
    is_loopback: bool,
}

#[derive(Template)]
#[template(path = "app/refused.html")]
struct Refused {
    explanation: &'static str,
    /// Whether a new link would help.
    wants_key: bool,
}

impl Access {
    pub(super) fn new(key: &str, listen: std::net::SocketAddr) -> Access {
        Access {
            key: key.into(),
            cookie: format!("pictor_app_{}", listen.port()).into(),
            is_loopback: listen.ip().is_loopback(),
        }
    }

    fn is_key(&self, shown: &str) -> bool {
        secret::is(shown, &self.key)
    }

    fn holds_key(&self, headers: &HeaderMap) -> bool {
        if let Some(shown) = secret::bearer(headers) {
            return self.is_key(shown);
        }
        CookieJar::from_headers(headers).get(&self.cookie).is_some_and(|cookie| self.is_key(cookie.value()))
    }

    /// The name by which the app was called. A name of somebody else's that leads here is how a foreign site would get
    /// past the browser's own checks.
    fn is_our_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = text(headers, &header::HOST) else { return false };
        match Url::parse(&format!("http://{host}/")).ok().as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost" || !self.is_loopback && is_this_machine(name),
            Some(Host::Ipv4(ip)) => !self.is_loopback || ip.is_loopback(),
            Some(Host::Ipv6(ip)) => !self.is_loopback || IpAddr::from(ip).is_loopback(),
            None => false,
        }
    }
}

fn is_this_machine(name: &str) -> bool {
    hostname::get().is_ok_and(|own| own.to_string_lossy().eq_ignore_ascii_case(name))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether another site's page sent this request. Browsers say so of every request; programs say nothing.
fn is_foreign(headers: &HeaderMap) -> bool {
    if text(headers, &HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !matches!(site, "same-origin" | "none"))
    {
        return true;
    }
    match (headers.get(header::ORIGIN), text(headers, &header::HOST)) {
        (None, _) => false,
        (Some(origin), Some(host)) => origin.to_str().ok() != Some(&format!("http://{host}")),
        (Some(_), None) => true,
    }
}

/// Lets in who may come in.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let response = if !access.is_our_host(headers) {
        refuse(StatusCode::MISDIRECTED_REQUEST, "It was called by a name that is not this machine's.", false)
    } else if is_foreign(headers) {
        refuse(StatusCode::FORBIDDEN, "Another site asked for it.", true)
    } else if let Some(key) = key_of_link(&request).filter(|key| access.is_key(key)) {
        enter(&access, &key, request.uri().path())
    } else if access.holds_key(headers) {
        next.run(request).await
    } else {
        refuse(
            StatusCode::UNAUTHORIZED,
            "It opens with the key of the running agent, which is another one when the agent was started anew.",
            true,
        )
    };
    secure(response)
}

fn key_of_link(request: &Request) -> Option<String> {
    if request.method() != Method::GET {
        return None;
    }
    let query = request.uri().query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key").map(|(_, key)| key.into_owned())
}

/// The key goes from the address bar into a cookie.
fn enter(access: &Access, key: &str, path: &str) -> Response {
    let cookie = Cookie::build((access.cookie.to_string(), key.to_owned()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .build();
    (CookieJar::new().add(cookie), Redirect::to(path)).into_response()
}

fn refuse(status: StatusCode, explanation: &'static str, wants_key: bool) -> Response {
    (status, Page::bare("Not opened").show(&Refused { explanation, wants_key })).into_response()
}

fn secure(mut response: Response) -> Response {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With no referrer at all, browsers do not say whose form it is.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_this_machines_own_names_are_answered() {
        let access = Access::new("key", ([127, 0, 0, 1], 9850).into());
        for host in ["127.0.0.1:9850", "localhost:9850", "[::1]:9850", "127.0.0.1:8000"] {
            assert!(access.is_our_host(&headers(&[("host", host)])), "{host}");
        }
        for host in
            ["evil.example:9850", "localhost.evil.example", "192.168.0.9:9850", "", "127.0.0.1.nip.io"]
        {
            assert!(!access.is_our_host(&headers(&[("host", host)])), "{host}");
        }
        assert!(!access.is_our_host(&headers(&[])));
        let open = Access::new("key", ([0, 0, 0, 0], 9850).into());
        assert!(open.is_our_host(&headers(&[("host", "192.168.0.9:9850")])));
        assert!(!open.is_our_host(&headers(&[("host", "evil.example:9850")])));
    }

    #[test]
    fn what_another_site_sends_is_foreign() {
        let host = ("host", "127.0.0.1:9850");
        assert!(!is_foreign(&headers(&[host])));
        assert!(!is_foreign(&headers(&[
            host,
            ("origin", "http://127.0.0.1:9850"),
            ("sec-fetch-site", "same-origin")
        ])));
        for origin in ["http://evil.example", "http://127.0.0.1:9851", "https://127.0.0.1:9850", "null"] {
            assert!(is_foreign(&headers(&[host, ("origin", origin)])), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(is_foreign(&headers(&[host, ("sec-fetch-site", site)])), "{site}");
        }
    }
}
