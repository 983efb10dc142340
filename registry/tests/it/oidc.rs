//! Signing in through OpenID Connect, at a provider of the test's own: it speaks HTTP, hands out codes that
//! are good once, and signs what it says.

mod provider;

use serde_json::json;

use crate::browser::{Browser, Shown};
use crate::database::Place;
use crate::registry::{Account, Registry, text};
use provider::{CLIENT_ID, Provider, SECRET};

on_both_databases!(
    who_is_known_is_signed_in,
    who_is_unknown_is_told_what_to_do,
    an_answer_to_another_question_is_refused,
    an_answer_that_does_not_fit_is_refused,
    a_code_is_good_once,
    an_account_is_connected_by_its_owner,
    signing_in_again_confirms_who_it_is,
    a_provider_may_be_away_and_may_change_its_keys,
);

const NO_LONGER_FRESH_SECONDS: i64 = 301;

async fn start(place: &Place, provider: &Provider) -> Registry {
    start_for(place, &provider.issuer).await
}

async fn start_for(place: &Place, issuer: &str) -> Registry {
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let secret = secret.display().to_string();
    let flags =
        ["--oidc-issuer", issuer, "--oidc-client-id", CLIENT_ID, "--oidc-client-secret-file", &secret];
    Registry::start_with(place, &flags).await
}

/// An account that the provider's person signs in to.
async fn linked(registry: &Registry, provider: &Provider, name: &str) -> Account {
    let account = registry.account(name, &["provider"]).await;
    let said =
        registry.command(["account", "link", name, "--issuer", &provider.issuer, "--subject", "person-1"]);
    assert_eq!(said.trim(), format!("person-1 at {} signs in to {name}", provider.issuer));
    account
}

/// Goes to the provider; the address to which it sends the browser back.
async fn away(browser: &Browser, path: &str) -> String {
    let leaving = browser.get(path).await;
    let cookie = leaving.cookie("pictor_oidc").unwrap();
    for wanted in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/login/oidc", "Max-Age=600"] {
        assert!(cookie.contains(wanted), "{wanted}: {cookie}");
    }
    browser.get(leaving.leads_to()).await.leads_to().to_owned()
}

async fn sign_in(browser: &Browser, path: &str) -> Shown {
    let back = away(browser, path).await;
    browser.get(&back).await
}

#[track_caller]
fn is_refused(browser: &Browser, shown: &Shown) {
    shown.is(403).says("Start again");
    assert_eq!(browser.cookie("pictor_session"), None);
    assert_eq!(browser.cookie("pictor_oidc"), None, "nothing is left of it");
}

async fn who_is_known_is_signed_in(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    linked(&registry, &provider, "ada").await;
    let browser = Browser::of(&registry);
    browser.get("/login?next=/account").await.says("href=\"/login/oidc?next=%2Faccount\"");
    let shown = sign_in(&browser, "/login/oidc?next=/account").await;
    assert_eq!(shown.leads_to(), "/account");
    let cookie = shown.cookie("pictor_session").unwrap();
    for wanted in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(wanted), "{wanted}: {cookie}");
    }
    browser.get("/account").await.is(200).says("OpenID Connect").says("person-1");
    let elsewhere = Browser::of(&registry);
    assert_eq!(sign_in(&elsewhere, "/login/oidc?next=//evil.example").await.leads_to(), "/");
    registry.stop().await;
}

async fn who_is_unknown_is_told_what_to_do(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    let browser = Browser::of(&registry);
    let shown = sign_in(&browser, "/login/oidc").await;
    let line = format!("pictor-registry account link NAME --issuer {} --subject person-1", provider.issuer);
    shown.is(403).says(&line);
    assert_eq!(browser.cookie("pictor_session"), None);
    registry.stop().await;

    let registry = Registry::start(&place).await;
    Browser::of(&registry).get("/login/oidc").await.is(404);
    registry.stop().await;
}

async fn an_answer_to_another_question_is_refused(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    linked(&registry, &provider, "ada").await;

    let browser = Browser::of(&registry);
    let back = away(&browser, "/login/oidc").await;
    let stranger = Browser::of(&registry);
    is_refused(&stranger, &stranger.get(&back).await);
    let other_state = format!("{}{}", back.split_once("state=").unwrap().0, "state=0");
    is_refused(&browser, &browser.get(&other_state).await);

    // The answer that another browser's journey got: the state is not this one's.
    let (mine, theirs) = (Browser::of(&registry), Browser::of(&registry));
    away(&mine, "/login/oidc").await;
    let back = away(&theirs, "/login/oidc").await;
    is_refused(&mine, &mine.get(&back).await);

    let slow = Browser::of(&registry);
    let back = away(&slow, "/login/oidc").await;
    registry.clock.advance(601);
    is_refused(&slow, &slow.get(&back).await);

    let denied = Browser::of(&registry);
    let leaving = denied.get("/login/oidc").await;
    let url = url::Url::parse(leaving.leads_to()).unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let shown = denied.get(&format!("/login/oidc/callback?error=access_denied&state={state}")).await;
    shown.is(403).says("access_denied");
    assert_eq!(denied.cookie("pictor_session"), None);
    registry.stop().await;
}

async fn an_answer_that_does_not_fit_is_refused(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    linked(&registry, &provider, "ada").await;
    let now = registry.clock.now().0 / 1_000;
    for (wrong, why) in [
        (json!({"nonce": "another"}), "Invalid nonce: nonce mismatch"),
        (json!({"nonce": null}), "Invalid nonce: missing nonce claim"),
        (json!({"aud": "another"}), "Invalid audiences"),
        (json!({"aud": [CLIENT_ID, "another"]}), "Invalid audiences"),
        (json!({"iss": "https://another.example"}), "Invalid issuer"),
        (json!({"exp": now - 1}), "Expired"),
    ] {
        provider.say(wrong);
        let browser = Browser::of(&registry);
        let shown = sign_in(&browser, "/login/oidc").await;
        shown.says(why);
        is_refused(&browser, &shown);
    }
    provider.say(json!({}));
    for forged in ["none", "HS256", "RS256"] {
        provider.forge(Some(forged));
        let browser = Browser::of(&registry);
        is_refused(&browser, &sign_in(&browser, "/login/oidc").await);
    }
    provider.forge(None);
    sign_in(&Browser::of(&registry), "/login/oidc").await.is(303);
    registry.stop().await;
}

async fn a_code_is_good_once(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    linked(&registry, &provider, "ada").await;
    let browser = Browser::of(&registry);
    let back = away(&browser, "/login/oidc").await;
    let journey = browser.cookie("pictor_oidc").unwrap();
    browser.get(&back).await.is(303);
    assert_eq!(browser.cookie("pictor_oidc"), None);

    let thief = Browser::of(&registry);
    is_refused(&thief, &thief.get(&back).await);
    thief.set_cookie("pictor_oidc", &journey);
    is_refused(&thief, &thief.get(&back).await);
    registry.stop().await;
}

async fn an_account_is_connected_by_its_owner(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    let ada = registry.account("ada", &["provider"]).await;
    let eve = registry.account("eve", &["provider"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;

    registry.clock.advance(NO_LONGER_FRESH_SECONDS);
    browser.send("/account/identities/connect", &[]).await.is(200).says("id=\"connect_token-error\"");
    let leave = browser.send("/account/identities/connect", &[("token", &ada.token)]).await;
    let (_, rest) = leave.text.split_once("class=\"button primary\" href=\"").unwrap();
    let url = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    let back = browser.get(&url).await.leads_to().to_owned();
    // Only the session that began it is connected.
    let stolen = Browser::signed_in(&registry, &eve).await;
    stolen.set_cookie("pictor_oidc", &browser.cookie("pictor_oidc").unwrap());
    stolen.get(&back).await.is(403);
    let none = registry.get(&eve.token, "/v1/identities").await.ok();
    assert_eq!(none["items"], json!([]));

    let leave = browser.send("/account/identities/connect", &[]).await;
    let (_, rest) = leave.text.split_once("class=\"button primary\" href=\"").unwrap();
    let url = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    let back = browser.get(&url).await.leads_to().to_owned();
    assert_eq!(browser.get(&back).await.leads_to(), "/account");
    browser.get("/account").await.says("Connected: person-1 signs in to this account");
    let listed = registry.get(&ada.token, "/v1/identities").await.ok();
    assert_eq!(
        (text(&listed["items"][0]["issuer"]), text(&listed["items"][0]["subject"])),
        (provider.issuer.as_str(), "person-1")
    );

    let signed_in = Browser::of(&registry);
    sign_in(&signed_in, "/login/oidc").await.is(303);
    let path = format!("/v1/identities?issuer={}&subject=person-1", provider.issuer);
    registry.call(reqwest::Method::DELETE, &eve.token, &path, None).await.problem(404);
    let fields = [("issuer", provider.issuer.as_str()), ("subject", "person-1")];
    browser.send("/account/identities/remove", &fields).await.is(303);
    signed_in.get("/account").await.is(303);
    browser.get("/account").await.is(200);
    sign_in(&signed_in, "/login/oidc").await.is(403).says("No account here yet");
    registry.stop().await;
}

async fn signing_in_again_confirms_who_it_is(place: Place) {
    let provider = Provider::start().await;
    let registry = start(&place, &provider).await;
    let ada = linked(&registry, &provider, "ada").await;
    let browser = Browser::of(&registry);
    sign_in(&browser, "/login/oidc").await.is(303);
    registry.clock.advance(NO_LONGER_FRESH_SECONDS);
    let wallet = [("wallet_address", "mine")];
    let refused = browser.send("/account/wallet", &wallet).await;
    refused.is(200).says("href=\"/login/oidc?again=true&amp;next=/account\"");

    let now = registry.clock.now().0 / 1_000;
    let again = "/login/oidc?again=true&next=/account";
    for stale in [json!({}), json!({"auth_time": now - 600})] {
        provider.say(stale);
        sign_in(&browser, again).await.is(403);
    }
    browser.send("/account/wallet", &wallet).await.is(200);
    provider.say(json!({"auth_time": now}));
    let old = browser.cookie("pictor_session").unwrap();
    assert_eq!(sign_in(&browser, again).await.leads_to(), "/account");
    assert_ne!(browser.cookie("pictor_session").unwrap(), old);
    browser.send("/account/wallet", &wallet).await.is(303);
    assert_eq!(text(&registry.get(&ada.token, "/v1/me").await.ok()["wallet_address"]), "mine");
    let sessions = registry.get(&ada.token, "/v1/sessions").await.ok();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "one took the other's place: {sessions}");
    registry.stop().await;
}

async fn a_provider_may_be_away_and_may_change_its_keys(place: Place) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let registry = start_for(&place, &format!("http://{address}")).await;
    Browser::of(&registry).get("/login/oidc").await.is(503).says("sign in with an access token");
    let ada = registry.account("bob", &["provider"]).await;
    Browser::signed_in(&registry, &ada).await.get("/account").await.is(200);

    let provider = Provider::start_at(&address.to_string()).await;
    linked(&registry, &provider, "ada").await;
    sign_in(&Browser::of(&registry), "/login/oidc").await.is(303);
    provider.change_key();
    sign_in(&Browser::of(&registry), "/login/oidc").await.is(303);
    registry.stop().await;
}
