//! Notifications: what goes wrong is told once, through real servers, and again when it is over.

mod smtp;
mod web;

use hmac::{Hmac, KeyInit, Mac};
use pictor_processes::until;
use pictor_protocol::{Micros, QuietHours, UnixMillis};
use pictor_registry::notifications::{self, Announcement};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::database::Place;
use crate::registry::{Account, Registry, all, text};
use smtp::Smtp;
use web::{Call, Web};

on_both_databases!(
    channels_are_shown_without_what_opens_them,
    nobody_touches_the_channels_of_others,
    a_registry_beyond_its_machine_calls_the_public_internet_only,
    an_incident_is_told_when_it_begins_and_when_it_ends,
    health_and_failures_are_incidents,
    quiet_hours_hold_messages_back_and_merge_them,
    what_is_not_taken_is_tried_again,
    mail_goes_through_the_operators_server,
    telegram_is_called_as_a_bot,
    money_is_announced,
);

const CHANNELS: &str = "/v1/notifications/channels";
/// A worker is lost after 30 s.
const LOST_SECONDS: i64 = 31;

async fn webhook(registry: &Registry, account: &Account, web: &Web) -> Value {
    let new = json!({"kind": "webhook", "url": web.url("/hook")});
    registry.post(&account.token, CHANNELS, new).await.ok()
}

async fn deliveries(registry: &Registry, account: &Account) -> Vec<Value> {
    let list = registry.get(&account.token, "/v1/notifications/deliveries").await.ok();
    list["items"].as_array().unwrap().clone()
}

fn titles(call: &Call) -> Vec<&str> {
    call.body["messages"].as_array().unwrap().iter().map(|message| text(&message["title"])).collect()
}

async fn channels_are_shown_without_what_opens_them(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let url = "https://hooks.example.org/services/T000/secret-part";
    let made = registry.post(&ada.token, CHANNELS, json!({"kind": "webhook", "url": url})).await.ok();
    let secret = text(&made["signing_secret"]).to_owned();
    assert_eq!((secret.len(), &made["target"]), (64, &json!("hooks.example.org")));
    let bot = json!({"kind": "telegram", "bot_token": "123456:AAH-abcdefghijklmnopqrstuv", "chat_id": "-42"});
    let telegram = registry.post(&ada.token, CHANNELS, bot).await.ok();
    assert_eq!(telegram["signing_secret"], Value::Null);
    let listed = registry.get(&ada.token, CHANNELS).await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    for hidden in ["secret-part", &secret, "abcdefghijkl"] {
        assert!(!listed.to_string().contains(hidden), "{listed}");
    }
    assert!(all(&listed, "secret_end") == [&secret[60..], "stuv"].into(), "{listed}");

    for (refused, status) in [
        (json!({"kind": "webhook", "url": "http://example.org/"}), 400),
        (json!({"kind": "webhook", "url": "ftp://example.org/"}), 400),
        (json!({"kind": "telegram", "bot_token": "x", "chat_id": "1"}), 400),
        (json!({"kind": "telegram", "bot_token": "123456:AAH-abcdefghijklmnopqrstuv", "chat_id": "me"}), 400),
        (json!({"kind": "pigeon"}), 400),
        (json!({"kind": "email", "address": "ada@example.org"}), 422),
    ] {
        let answer = registry.post(&ada.token, CHANNELS, refused.clone()).await;
        let is_refused = answer.status.as_u16() == status || (status == 400 && answer.status.as_u16() == 422);
        assert!(is_refused, "{refused}: {answer:?}");
    }
    let one = format!("{CHANNELS}/{}", text(&made["id"]));
    registry.call(Method::DELETE, &ada.token, &one, None).await.ok();
    registry.call(Method::DELETE, &ada.token, &one, None).await.problem(404);
    for _ in 1..10 {
        registry.post(&ada.token, CHANNELS, json!({"kind": "webhook", "url": url})).await.ok();
    }
    let eleventh = registry.post(&ada.token, CHANNELS, json!({"kind": "webhook", "url": url})).await;
    assert_eq!(eleventh.problem_code(422), "too_many_channels");
    registry.stop().await;
}

async fn nobody_touches_the_channels_of_others(place: Place) {
    let registry = Registry::start(&place).await;
    let (ada, eve) =
        (registry.account("ada", &["provider"]).await, registry.account("eve", &["provider"]).await);
    let web = Web::start().await;
    let made = webhook(&registry, &ada, &web).await;
    let one = format!("{CHANNELS}/{}", text(&made["id"]));
    assert_eq!(registry.get(&eve.token, CHANNELS).await.ok()["items"], json!([]));
    registry.call(Method::DELETE, &eve.token, &one, None).await.problem(404);
    registry.post(&eve.token, &format!("{one}/test"), json!({})).await.problem(404);

    let read = registry.post(&ada.token, "/v1/tokens", json!({"name": "r", "scope": "read"})).await.ok();
    let read = text(&read["token"]);
    for path in [CHANNELS, "/v1/notifications", "/v1/notifications/deliveries"] {
        registry.get(read, path).await.problem(403);
        registry.anonymous(path).await.problem(401);
    }
    registry.post(read, &format!("{one}/test"), json!({})).await.problem(403);
    registry.call(Method::PATCH, read, "/v1/notifications", Some(json!({}))).await.problem(403);
    registry.call(Method::DELETE, read, &one, None).await.problem(403);
    assert!(web.calls().is_empty(), "{:?}", web.calls());

    registry.post(&ada.token, &format!("{one}/test"), json!({})).await.ok();
    assert_eq!(web.calls().len(), 1);
    let again = registry.post(&ada.token, &format!("{one}/test"), json!({})).await;
    assert_eq!(again.problem_code(409), "tested_just_now");
    registry.clock.advance(11);
    web.answers(302);
    let redirected = registry.post(&ada.token, &format!("{one}/test"), json!({})).await;
    assert!(redirected.problem(422).contains("redirects are not followed"));
    assert!(web.calls().iter().all(|call| call.path == "/hook"), "{:?}", web.calls());
    registry.stop().await;
}

async fn a_registry_beyond_its_machine_calls_the_public_internet_only(place: Place) {
    let registry = Registry::start_with(&place, &["--trusted-proxy", "10.0.0.0/8"]).await;
    let ada = registry.account("ada", &["provider"]).await;
    let web = Web::start().await;
    for url in [
        web.url("/hook"),
        web.url("/hook").replace("http:", "https:"),
        "https://localhost/".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[::ffff:10.0.0.1]/".to_owned(),
    ] {
        registry.post(&ada.token, CHANNELS, json!({"kind": "webhook", "url": url})).await.problem(400);
    }
    // A name that stands for this machine is found out when it is called.
    let named = json!({"kind": "webhook", "url": web.url("/hook").replace("http://127.0.0.1", "https://me.localhost")});
    let made = registry.post(&ada.token, CHANNELS, named).await.ok();
    let test = format!("{CHANNELS}/{}/test", text(&made["id"]));
    let why = registry.post(&ada.token, &test, json!({})).await.problem(422);
    assert!(why.contains("cannot be reached"), "{why}");
    registry.stop().await;
}

#[track_caller]
fn check_signature(call: &Call, secret: &str) {
    let (seconds, hex) = call.signature.strip_prefix("t=").unwrap().split_once(",sha256=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{}", call.text).as_bytes());
    mac.verify_slice(&hex::decode(hex).unwrap()).expect("a signature of the secret shown");
}

async fn an_incident_is_told_when_it_begins_and_when_it_ends(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let web = Web::start().await;
    let made = webhook(&registry, &ada, &web).await;
    let worker = registry.worker(&ada, "one").await;

    registry.clock.advance(LOST_SECONDS);
    let lost = web.call(1).await;
    check_signature(&lost, text(&made["signing_secret"]));
    let message = &lost.body["messages"][0];
    assert_eq!(
        (&message["event"], &message["phase"], text(&message["worker_id"])),
        (&json!("worker_lost"), &json!("began"), worker.id.as_str())
    );
    assert_eq!(titles(&lost), ["Worker one is lost"]);
    assert!(text(&message["text"]).contains(&format!("/workers/{}", worker.id)), "{message}");

    // It comes back, goes and comes back within the minute: that is still the same incident.
    worker.heartbeat(&[]).await.ok();
    registry.clock.advance(LOST_SECONDS);
    worker.heartbeat(&[]).await.ok();
    let settled = async || {
        registry.clock.advance(5);
        worker.heartbeat(&[]).await.ok();
        (web.calls().len() > 1).then_some(())
    };
    until("the end", settled).await;
    let calls = web.calls();
    assert_eq!(titles(&calls[1]), ["Worker one is back"]);
    assert_eq!(calls[1].body["messages"][0]["phase"], "ended");
    assert_eq!(calls.len(), 2, "{calls:?}");
    let sent = deliveries(&registry, &ada).await;
    assert!(sent.len() == 2 && sent.iter().all(|delivery| delivery["status"] == "sent"), "{sent:?}");

    // A worker that says goodbye is nobody's trouble.
    worker.heartbeat_with(&[], json!({"stopping": true})).await.ok();
    registry.worker(&ada, "two").await;
    registry.clock.advance(LOST_SECONDS);
    assert_eq!(titles(&web.call(3).await), ["Worker two is lost"]);
    registry.stop().await;
}

async fn health_and_failures_are_incidents(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let creator = registry.creator("bob", "10").await;
    let web = Web::start().await;
    webhook(&registry, &ada, &web).await;
    let worker = registry.worker(&ada, "one").await;
    registry.job(&creator, "1-4").await;
    registry.clock.advance(LOST_SECONDS);

    let ill = json!({
        "health": [
            {"check": "gpus", "found": "1 of 2 GPUs is there", "advice": "reseat the other"},
            {"check": "gpu_xid", "found": "Xid 79", "advice": "reboot"},
            {"check": "clock", "found": "2 s off", "advice": "set it"},
        ],
        "slots": [{"slot": 0, "gpu_uuid": null, "status": "draining", "attempt_id": null,
                   "reasons": [{"code": "health", "check": "gpu_xid", "detail": "Xid 79"}]}],
    });
    worker.heartbeat_with(&[], ill).await.ok();
    let told = async || {
        let all: Vec<String> = web
            .calls()
            .iter()
            .flat_map(|call| titles(call).into_iter().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let ill = ["Worker one has lost a GPU", "Worker one cannot work: gpu xid"];
        ill.iter().all(|title| all.iter().any(|told| told == title)).then_some(all)
    };
    let told = until("both findings", told).await;
    assert!(!told.iter().any(|title| title.contains("clock")), "{told:?}");
    let messages = deliveries(&registry, &ada).await;
    assert!(messages.iter().any(|message| text(&message["text"]).contains("Xid 79: reboot")), "{messages:?}");

    for _ in 0..3 {
        registry.clock.advance(1);
        let lease = worker.lease().await;
        worker.end(&lease, "fail", json!({"error": "broken", "render_seconds": null})).await.ok();
    }
    let failures = async |phase: &str| {
        let found = |message: &Value| message["event"] == "repeated_failures" && message["phase"] == phase;
        deliveries(&registry, &ada).await.into_iter().find(found)
    };
    until("failures are told", async || failures("began").await).await;
    registry.clock.advance(1);
    let lease = worker.lease().await;
    worker.render(&lease).await;
    let over = async || {
        registry.clock.advance(5);
        worker.heartbeat(&[]).await.ok();
        failures("ended").await
    };
    let over = until("failures are over", over).await;
    assert_eq!(over["title"], "Worker one completes tasks again");
    registry.stop().await;
}

/// Quiet hours that began an hour ago and end in two, at the start of a minute.
fn around(now: UnixMillis) -> (QuietHours, UnixMillis) {
    let time = |seconds: i64| now.plus_seconds(seconds).to_string()[11..16].parse().unwrap();
    let hours = QuietHours { from: time(-3_600), to: time(7_200) };
    (hours, UnixMillis((now.0 + 7_200_000) / 60_000 * 60_000))
}

async fn quiet_hours_hold_messages_back_and_merge_them(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let web = Web::start().await;
    webhook(&registry, &ada, &web).await;
    let same = json!({"quiet_hours": {"from": "07:00", "to": "07:00"}});
    registry.call(Method::PATCH, &ada.token, "/v1/notifications", Some(same)).await.problem(400);
    let (hours, end) = around(registry.clock.now());
    let quiet = Some(json!({"quiet_hours": hours}));
    let kept = registry.call(Method::PATCH, &ada.token, "/v1/notifications", quiet).await.ok();
    assert_eq!(kept["quiet_hours"], json!(hours));
    assert_eq!(kept["events"].as_array().unwrap().len(), 7, "{kept}");

    for name in ["one", "two"] {
        registry.worker(&ada, name).await;
    }
    registry.clock.advance(LOST_SECONDS);
    let held = async || {
        let held = deliveries(&registry, &ada).await;
        let is_held = |delivery: &Value| delivery["due_at"] == json!(end) && delivery["status"] == "pending";
        (held.len() == 2 && held.iter().all(is_held)).then_some(())
    };
    until("both are held", held).await;
    assert!(web.calls().is_empty(), "{:?}", web.calls());

    registry.clock.advance((end.0 - registry.clock.now().0) / 1_000 + 1);
    let merged = web.call(1).await;
    let mut told = titles(&merged);
    told.sort_unstable();
    assert_eq!(told, ["Worker one is lost", "Worker two is lost"]);
    assert!(text(&merged.body["title"]).ends_with(", and 1 more"), "{merged:?}");

    // Without quiet hours what they held goes at once.
    let (hours, _) = around(registry.clock.now());
    for quiet in [json!(hours), Value::Null] {
        registry.worker(&ada, if quiet.is_null() { "four" } else { "three" }).await;
        let change = Some(json!({"quiet_hours": quiet}));
        registry.call(Method::PATCH, &ada.token, "/v1/notifications", change).await.ok();
        registry.clock.advance(LOST_SECONDS);
    }
    let third = async || {
        let told: Vec<Call> = web.calls();
        told.iter().any(|call| titles(call).contains(&"Worker three is lost")).then_some(())
    };
    until("the third is told", third).await;
    registry.stop().await;
}

async fn what_is_not_taken_is_tried_again(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let web = Web::start().await;
    web.answers(503);
    webhook(&registry, &ada, &web).await;
    registry.worker(&ada, "one").await;
    registry.clock.advance(LOST_SECONDS);
    web.call(1).await;
    let tried = async |tries: u32, status: &str| {
        until(&format!("try {tries} is noted"), async || {
            let one = deliveries(&registry, &ada).await.into_iter().next()?;
            (one["tries"] == tries && one["status"] == status && !one["error"].is_null()).then_some(one)
        })
        .await
    };
    let first = tried(1, "pending").await;
    assert!(text(&first["error"]).contains("503"), "{first}");
    assert_eq!(first["due_at"], json!(registry.clock.now().plus_seconds(30)));
    registry.clock.advance(31);
    let second = tried(2, "pending").await;
    assert_eq!(second["due_at"], json!(registry.clock.now().plus_seconds(60)));
    for tries in 3..=9 {
        registry.clock.advance(3_601);
        tried(tries, "pending").await;
    }
    registry.clock.advance(3_601);
    tried(10, "failed").await;
    assert_eq!(web.calls().len(), 10);

    web.answers(204);
    registry.worker(&ada, "two").await;
    registry.clock.advance(LOST_SECONDS);
    assert_eq!(titles(&web.call(11).await), ["Worker two is lost"]);
    registry.stop().await;
}

async fn mail_goes_through_the_operators_server(place: Place) {
    let smtp = Smtp::start().await;
    let url = format!("smtp://post%40example.org:s3cret@{}", smtp.address);
    let flags = ["--smtp-url", &url, "--mail-from", "My Workers <workers@example.org>"];
    let registry = Registry::start_with(&place, &flags).await;
    let ada = registry.account("ada", &["provider"]).await;
    let settings = registry.get(&ada.token, "/v1/notifications").await.ok();
    assert_eq!((&settings["sends_email"], &settings["time_zone"]), (&json!(true), &json!("UTC")));
    let bad = json!({"kind": "email", "address": "ada@\r\nBcc: eve@example.org"});
    registry.post(&ada.token, CHANNELS, bad).await.problem(400);
    let mail = json!({"kind": "email", "address": "ada@example.net"});
    let made = registry.post(&ada.token, CHANNELS, mail).await.ok();
    let test = format!("{CHANNELS}/{}/test", text(&made["id"]));
    registry.post(&ada.token, &test, json!({})).await.ok();
    let letters = smtp.letters();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.login, "post@example.org s3cret");
    assert_eq!((letter.from.as_str(), letter.to.as_str()), ("workers@example.org", "ada@example.net"));
    assert!(letter.text.contains("Subject: Test from My Workers"), "{}", letter.text);

    let made = registry
        .post(&ada.token, CHANNELS, json!({"kind": "email", "address": "nobody@example.net"}))
        .await
        .ok();
    let test = format!("{CHANNELS}/{}/test", text(&made["id"]));
    let why = registry.post(&ada.token, &test, json!({})).await.problem(422);
    assert!(why.contains("refused") && !why.contains("10.0.0.9"), "{why}");

    registry.worker(&ada, "Bcc: eve@example.org").await;
    registry.clock.advance(LOST_SECONDS);
    let told = until("the letter", async || smtp.letters().get(1).cloned()).await;
    assert!(!told.text.lines().any(|line| line.starts_with("Bcc:")), "{}", told.text);
    registry.stop().await;
}

async fn telegram_is_called_as_a_bot(place: Place) {
    let web = Web::start().await;
    let url = web.url("");
    let registry = Registry::start_with(&place, &["--telegram-url", &url]).await;
    let ada = registry.account("ada", &["provider"]).await;
    let token = "123456:AAH-abcdefghijklmnopqrstuv";
    let bot = json!({"kind": "telegram", "bot_token": token, "chat_id": "-42"});
    let made = registry.post(&ada.token, CHANNELS, bot).await.ok();
    let test = format!("{CHANNELS}/{}/test", text(&made["id"]));
    registry.post(&ada.token, &test, json!({})).await.ok();
    let call = web.call(1).await;
    assert_eq!(call.path, format!("/bot{token}/sendMessage"));
    assert_eq!(call.body["chat_id"], "-42");
    assert!(text(&call.body["text"]).starts_with("Test from My Workers"));
    web.answers(400);
    registry.clock.advance(11);
    let why = registry.post(&ada.token, &test, json!({})).await.problem(422);
    assert!(why.contains("chat not found") && !why.contains(token), "{why}");
    registry.stop().await;
}

async fn money_is_announced(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let web = Web::start().await;
    webhook(&registry, &ada, &web).await;
    let (hours, end) = around(registry.clock.now());
    let quiet = Some(json!({"quiet_hours": hours, "events": ["payout_failed"]}));
    registry.call(Method::PATCH, &ada.token, "/v1/notifications", quiet).await.ok();

    let db = place.open().await;
    let (account, clock) = (ada.id.parse().unwrap(), registry.clock.clone());
    let said = [
        Announcement::PayoutSent { amount: Micros(12_500_000), currency: "EUR".to_owned(), reference: None },
        Announcement::PayoutFailed {
            amount: Micros(3_000_000),
            currency: "EUR".to_owned(),
            reference: Some("the bank said no".to_owned()),
        },
        Announcement::WalletChanged { to: Some("DE00 1234".to_owned()) },
    ];
    db.write(move |conn| {
        let (said, clock) = (said.clone(), clock.clone());
        Box::pin(async move {
            for one in &said {
                notifications::announce(conn, &clock, account, one).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    // A new wallet is told at any hour and to everybody; the rest is wanted or not, and waits.
    assert_eq!(titles(&web.call(1).await), ["Wallet address changed"]);
    registry.clock.advance((end.0 - registry.clock.now().0) / 1_000 + 1);
    let late = web.call(2).await;
    assert_eq!(titles(&late), [format!("Payout of {} EUR failed", Micros(3_000_000))]);
    assert!(text(&late.body["text"]).contains("Reference: the bank said no"), "{late:?}");

    // As the calls that move it do.
    let wallet = Some(json!({"wallet_address": "somewhere-else"}));
    registry.call(Method::PATCH, &ada.token, "/v1/me", wallet).await.ok();
    assert!(text(&web.call(3).await.body["text"]).contains("somewhere-else"));
    registry.stop().await;
}
