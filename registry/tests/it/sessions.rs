//! Sessions in a browser: what their cookie is, when they end, and whose forms they take.

use reqwest::Method;
use serde_json::json;

use crate::browser::Browser;
use crate::database::Place;
use crate::registry::{Registry, text};

on_both_databases!(
    the_cookie_is_for_this_registry_alone,
    signing_out_ends_the_session,
    a_session_ends_with_its_token,
    a_session_ends_by_itself,
    only_forms_of_this_session_are_taken,
    signing_in_leads_nowhere_else,
    pages_load_nothing_from_elsewhere,
    a_read_session_writes_nothing,
    a_workers_token_signs_nobody_in,
);

const HOUR: i64 = 3_600;

async fn the_cookie_is_for_this_registry_alone(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let browser = Browser::of(&registry);
    let shown = browser.sign_in(&ada.token).await;
    let cookie = shown.cookie("pictor_session").unwrap();
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    for wanted in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(attributes.contains(&wanted), "{wanted}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert!(!cookie.contains(&ada.token), "the cookie is not the token");
    registry.stop().await;

    let open = ["--public-url", "http://registry.example"];
    let registry = Registry::start_with(&place, &open).await;
    let cookie = Browser::of(&registry).sign_in(&ada.token).await.cookie("pictor_session").unwrap();
    assert!(!cookie.contains("Secure"), "no browser would keep it: {cookie}");
    registry.stop().await;
}

async fn signing_out_ends_the_session(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;
    let stolen = browser.cookie("pictor_session").unwrap();
    let token = browser.form_token().await;
    assert_eq!(browser.post("/logout", &[("form_token", &token)], &[]).await.leads_to(), "/login");
    assert_eq!(browser.cookie("pictor_session"), None);
    browser.set_cookie("pictor_session", &stolen);
    assert_eq!(browser.get("/account").await.leads_to(), "/login?next=%2Faccount");
    registry.stop().await;
}

async fn a_session_ends_with_its_token(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let made = registry.post(&ada.token, "/v1/tokens", json!({"name": "x", "scope": "full"})).await.ok();
    let browser = Browser::of(&registry);
    browser.sign_in(text(&made["token"])).await.is(303);
    browser.get("/account").await.is(200);
    let path = format!("/v1/tokens/{}", text(&made["id"]));
    registry.call(Method::DELETE, &ada.token, &path, None).await.ok();
    assert_eq!(browser.get("/account").await.leads_to(), "/login?next=%2Faccount");
    browser.sign_in(text(&made["token"])).await.is(200).says("was revoked");
    registry.stop().await;
}

async fn a_session_ends_by_itself(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let (idle, busy) = (Browser::signed_in(&registry, &ada).await, Browser::signed_in(&registry, &ada).await);
    for day in 1..=13 {
        registry.clock.advance(24 * HOUR);
        busy.get("/account").await.is(200);
        if day == 2 {
            idle.get("/account").await.is(200);
        }
    }
    idle.get("/account").await.is(303);
    registry.clock.advance(24 * HOUR);
    busy.get("/account").await.is(303);
    registry.stop().await;
}

async fn only_forms_of_this_session_are_taken(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;
    let other = Browser::signed_in(&registry, &ada).await;
    let (own, others) = (browser.form_token().await, other.form_token().await);
    let zone = ("time_zone", "Europe/Berlin");
    for forged in ["", "00", &others, &own.replace(&own[..2], "zz"), &"00".repeat(64)] {
        let fields = [zone, ("form_token", forged)];
        browser.post("/account/time-zone", &fields, &[]).await.is(403).says("not one of this session");
    }
    browser.post("/account/time-zone", &[zone], &[]).await.is(403);
    let fields = [zone, ("form_token", own.as_str())];
    let here = registry.url("");
    let host = here.strip_prefix("http://").unwrap();
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let answer = browser.post("/account/time-zone", &fields, &[(name, value)]).await;
        answer.is(403).says("another site sent this form");
        let headers = [(name, value)];
        Browser::of(&registry).post("/login", &[("token", &ada.token)], &headers).await.is(403);
    }
    let me = registry.get(&ada.token, "/v1/me").await.ok();
    assert!(me["time_zone"].is_null(), "nothing forged was done: {me}");
    browser.post("/account/time-zone", &fields, &[("origin", &format!("http://{host}"))]).await.is(303);
    browser.post("/account/time-zone", &fields, &[("sec-fetch-site", "same-origin")]).await.is(303);
    assert_eq!(registry.get(&ada.token, "/v1/me").await.ok()["time_zone"], "Europe/Berlin");
    assert_ne!(own, browser.form_token().await, "masked anew for each page");
    registry.stop().await;
}

async fn signing_in_leads_nowhere_else(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    for next in ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"] {
        let browser = Browser::of(&registry);
        let fields = [("token", ada.token.as_str()), ("next", next)];
        assert_eq!(browser.post("/login", &fields, &[]).await.leads_to(), "/", "{next}");
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        assert_eq!(browser.get(&format!("/login?{query}")).await.leads_to(), "/workers", "{next}");
    }
    let fields = [("token", ada.token.as_str()), ("next", "/account?a=b")];
    assert_eq!(Browser::of(&registry).post("/login", &fields, &[]).await.leads_to(), "/account?a=b");
    registry.stop().await;
}

async fn pages_load_nothing_from_elsewhere(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider", "creator", "operator"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;
    let stranger = Browser::of(&registry);
    let pages = [
        stranger.get("/login").await,
        stranger.get("/account").await,
        stranger.sign_in("nonsense").await,
        browser.get("/account").await,
        browser.get("/login/oidc").await,
        browser.post("/account/time-zone", &[], &[]).await,
        browser.send("/account/tokens", &[("name", "x"), ("scope", "full")]).await,
    ];
    let mut pages = Vec::from(pages);
    for path in [
        "/workers",
        "/workers/new",
        "/workers/enrolments",
        "/workers/tags",
        "/summary",
        "/attempts",
        "/jobs",
        "/jobs/new",
        "/account/notifications",
        "/admin",
        "/admin/accounts",
        "/admin/payouts",
        "/admin/ledger",
        "/admin/audit",
    ] {
        let page = browser.get(path).await;
        page.is(200);
        pages.push(page);
    }
    pages.push(browser.get("/nowhere").await);
    for page in pages {
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{page:?}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("cache-control"), "private, no-store");
        for inline in [" style=", "<style", "onclick=", "<script>"] {
            assert!(!page.text.contains(inline), "{inline}: {}", page.text);
        }
    }
    registry.stop().await;
}

async fn a_read_session_writes_nothing(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let made = registry.post(&ada.token, "/v1/tokens", json!({"name": "r", "scope": "read"})).await.ok();
    let reader = Browser::of(&registry);
    reader.sign_in(text(&made["token"])).await.is(303);
    let page = reader.get("/account").await;
    page.is(200).says("scope read, which only shows things");
    let path = format!("/account/tokens/{}/revoke", text(&made["id"]));
    let sessions = registry.get(&ada.token, "/v1/sessions").await.ok();
    let end = format!("/account/sessions/{}/end", text(&sessions["items"][0]["id"]));
    let writes: [(&str, &[(&str, &str)]); 7] = [
        ("/account/wallet", &[("wallet_address", "mine")]),
        ("/account/time-zone", &[("time_zone", "UTC")]),
        ("/account/tokens", &[("name", "x"), ("scope", "read")]),
        ("/account/sessions/end", &[]),
        ("/account/identities/remove", &[("issuer", "i"), ("subject", "s")]),
        (&path, &[]),
        (&end, &[]),
    ];
    for (path, fields) in writes {
        reader.send(path, fields).await.is(403).says("scope full");
    }
    reader.send("/logout", &[]).await.is(303);
    registry.stop().await;
}

async fn a_workers_token_signs_nobody_in(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&ada, "one").await;
    let browser = Browser::of(&registry);
    browser.sign_in(&worker.token).await.is(200).says("the token of a worker&#39;s config file");
    assert_eq!(browser.cookie("pictor_session"), None);
    for nonsense in ["", "pictor_nonsense", &ada.id] {
        browser.sign_in(nonsense).await.is(200).says("No account has this access token");
        assert_eq!(browser.cookie("pictor_session"), None);
    }
    registry.stop().await;
}
