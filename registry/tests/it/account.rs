//! The account: what its owner changes by the API and on its page, and that it is written down.

use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::database::Place;
use crate::registry::{Registry, text};

on_both_databases!(
    an_account_says_where_payouts_go,
    a_read_token_changes_nothing,
    sessions_are_listed_and_ended,
    tokens_are_made_and_revoked_on_the_page,
    the_wallet_asks_who_it_is,
    what_was_done_is_written_down,
);

const WALLET: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
/// Longer than a sign-in counts as lately done.
const NO_LONGER_FRESH_SECONDS: i64 = 301;

async fn an_account_says_where_payouts_go(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let patch = async |body: Value| registry.call(Method::PATCH, &ada.token, "/v1/me", Some(body)).await;
    let me = patch(json!({"wallet_address": format!(" {WALLET} "), "time_zone": "Europe/Berlin"})).await.ok();
    assert_eq!((text(&me["wallet_address"]), text(&me["time_zone"])), (WALLET, "Europe/Berlin"));

    let mistyped = WALLET.replace("BeAed", "Beaed");
    assert_eq!(patch(json!({"wallet_address": mistyped})).await.problem_code(422), "wallet_address");
    assert_eq!(patch(json!({"time_zone": "Mars/Base"})).await.problem_code(422), "time_zone");
    patch(json!({"name": "eve"})).await.problem(400);
    let me = registry.get(&ada.token, "/v1/me").await.ok();
    assert_eq!(text(&me["wallet_address"]), WALLET, "what was refused changed nothing");

    let me = patch(json!({"wallet_address": "", "time_zone": ""})).await.ok();
    assert_eq!((&me["wallet_address"], &me["time_zone"]), (&Value::Null, &Value::Null));
    registry.stop().await;
}

async fn a_read_token_changes_nothing(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let made = registry.post(&ada.token, "/v1/tokens", json!({"name": "r", "scope": "read"})).await.ok();
    let read = text(&made["token"]);
    let body = Some(json!({"time_zone": "UTC"}));
    registry.call(Method::PATCH, read, "/v1/me", body).await.problem(403);
    registry.call(Method::DELETE, read, "/v1/sessions", None).await.problem(403);
    registry.call(Method::DELETE, read, "/v1/identities?issuer=i&subject=s", None).await.problem(403);
    let none = json!({"items": [], "next_cursor": null});
    assert_eq!(registry.get(read, "/v1/sessions").await.ok(), none);
    assert_eq!(registry.get(read, "/v1/identities").await.ok(), none);
    registry.stop().await;
}

async fn sessions_are_listed_and_ended(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let eve = registry.account("eve", &["provider"]).await;
    let (one, two) = (Browser::signed_in(&registry, &ada).await, Browser::signed_in(&registry, &ada).await);
    let three = Browser::signed_in(&registry, &ada).await;

    let listed = registry.get(&ada.token, "/v1/sessions").await.ok();
    let sessions = listed["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 3, "{listed}");
    assert_eq!(text(&sessions[0]["token_name"]), "made with the account");
    assert!(text(&sessions[0]["browser"]).contains("Chromium"), "{listed}");
    let path = format!("/v1/sessions/{}", text(&sessions[0]["id"]));
    registry.call(Method::DELETE, &eve.token, &path, None).await.problem(404);
    registry.call(Method::DELETE, &ada.token, &path, None).await.ok();
    registry.call(Method::DELETE, &ada.token, &path, None).await.problem(404);

    let mut still = Vec::new();
    for browser in [&one, &two, &three] {
        if browser.get("/account").await.status == 200 {
            still.push(browser);
        }
    }
    assert_eq!(still.len(), 2);
    still[0].get("/account").await.is(200).says("Chromium on Linux").says("Sign out everywhere else");
    assert_eq!(still[0].send("/account/sessions/end", &[]).await.leads_to(), "/account");
    still[0].get("/account").await.is(200).says("Signed out everywhere else: 1 session.");
    assert_eq!(still[1].get("/account").await.leads_to(), "/login?next=%2Faccount");

    registry.call(Method::DELETE, &ada.token, "/v1/sessions", None).await.ok();
    assert_eq!(still[0].get("/account").await.leads_to(), "/login?next=%2Faccount");
    registry.stop().await;
}

async fn tokens_are_made_and_revoked_on_the_page(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider", "creator"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;
    let made = browser.send("/account/tokens", &[("name", "a <b> token"), ("scope", "read")]).await;
    made.is(200).says("shown this once");
    assert_eq!(made.header("cache-control"), "private, no-store");
    let (_, rest) = made.text.split_once("<code class=\"wrap\">").unwrap();
    let secret = rest.split_once('<').unwrap().0;
    assert_eq!(registry.get(secret, "/v1/me").await.ok()["scope"], "read");

    let page = browser.get("/account").await;
    page.says("a &#60;b&#62; token");
    assert!(!page.text.contains(secret), "a secret is shown once");
    let empty = browser.send("/account/tokens", &[("name", " "), ("scope", "read")]).await;
    empty.is(200).says("id=\"token_name-error\"");

    let tokens = registry.get(&ada.token, "/v1/tokens").await.ok();
    let made = tokens["items"].as_array().unwrap().iter().find(|token| token["scope"] == "read").unwrap();
    let id = text(&made["id"]);
    browser.send(&format!("/account/tokens/{id}/revoke"), &[]).await.is(303);
    registry.get(secret, "/v1/me").await.problem(401);

    registry.clock.advance(NO_LONGER_FRESH_SECONDS);
    let full = [("name", "more"), ("scope", "full")];
    browser.send("/account/tokens", &full).await.is(200).says("id=\"token_token-error\"");
    browser.send("/account/tokens", &[("name", "less"), ("scope", "read")]).await.says("shown this once");
    let confirmed = [full[0], full[1], ("token", ada.token.as_str())];
    browser.send("/account/tokens", &confirmed).await.says("shown this once");
    registry.stop().await;
}

async fn the_wallet_asks_who_it_is(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let eve = registry.account("eve", &["provider"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;
    browser.send("/account/wallet", &[("wallet_address", WALLET)]).await.is(303);
    browser.get("/account").await.says(WALLET).says("The wallet address was saved.");
    browser.send("/account/wallet", &[("wallet_address", "0x12")]).await.is(200).says("id=\"wallet-error\"");

    registry.clock.advance(NO_LONGER_FRESH_SECONDS);
    let made = registry.post(&ada.token, "/v1/tokens", json!({"name": "r", "scope": "read"})).await.ok();
    for token in ["", "pictor_nonsense", &eve.token, text(&made["token"])] {
        let answer = browser.send("/account/wallet", &[("wallet_address", "theirs"), ("token", token)]).await;
        answer.is(200).says("id=\"wallet_token-error\"").says("value=\"theirs\"");
    }
    assert_eq!(text(&registry.get(&ada.token, "/v1/me").await.ok()["wallet_address"]), WALLET);

    let confirmed = [("wallet_address", "mine"), ("token", ada.token.as_str())];
    browser.send("/account/wallet", &confirmed).await.is(303);
    browser.send("/account/wallet", &[("wallet_address", "mine again")]).await.is(303);
    assert_eq!(text(&registry.get(&ada.token, "/v1/me").await.ok()["wallet_address"]), "mine again");
    registry.stop().await;
}

async fn what_was_done_is_written_down(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let eve = registry.account("eve", &["provider"]).await;
    // The command line has a clock of its own.
    registry.clock.advance(60);
    let browser = Browser::signed_in(&registry, &ada).await;
    registry.clock.advance(1);
    browser.send("/account/wallet", &[("wallet_address", WALLET)]).await.is(303);
    registry.clock.advance(1);
    let patch = json!({"wallet_address": "elsewhere"});
    registry.call(Method::PATCH, &ada.token, "/v1/me", Some(patch)).await.ok();
    registry.clock.advance(1);
    registry.post(&ada.token, "/v1/tokens", json!({"name": "x", "scope": "full"})).await.ok();

    let log = async |token: &str, query: &str| {
        let list = registry.get(token, &format!("/v1/audit?{query}")).await.ok();
        list["items"].as_array().unwrap().clone()
    };
    let events = log(&ada.token, "").await;
    let said: Vec<_> = events
        .iter()
        .map(|event| (text(&event["action"]), text(&event["actor"]), &event["detail"]))
        .collect();
    assert_eq!(
        said[..3],
        [
            ("token_created", "token", &json!({"name": "x", "scope": "full"})),
            ("wallet_address_changed", "token", &json!({"from": WALLET, "to": "elsewhere"})),
            ("wallet_address_changed", "session", &json!({"from": null, "to": WALLET})),
        ]
    );
    let is_made = |event: &Value| event["action"] == "account_created" && event["actor_account_id"].is_null();
    assert!(events.iter().any(is_made));
    assert_eq!(events[0]["actor_account_id"], *ada.id);
    let signed_in = events.iter().find(|event| event["action"] == "signed_in").unwrap();
    assert!(text(&signed_in["detail"]["token"]).starts_with("tok_"), "{signed_in:?}");
    let older = log(&ada.token, &format!("limit=1&cursor={}", text(&events[0]["id"]))).await;
    assert_eq!(older[0]["id"], events[1]["id"]);
    let theirs = log(&eve.token, "").await;
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    let root = registry.account("root", &["operator"]).await;
    let everybodys = log(&root.token, "").await;
    let others = everybodys.iter().filter(|event| event["account_id"] != *root.id).count();
    assert_eq!(others, events.len() + theirs.len());
    registry.stop().await;
}
