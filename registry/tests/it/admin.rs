//! What operators see of the whole network, and that nobody else does.

use pictor_protocol::Micros;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::database::Place;
use crate::registry::{Account, Registry, all, text};

on_both_databases!(
    the_network_is_counted,
    the_ledger_is_open_to_operators_only,
    the_audit_log_says_who_did_what,
    the_pages_are_the_operators,
    notifications_are_set_on_their_page,
);

async fn the_network_is_counted(place: Place) {
    let registry = Registry::start(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let empty = registry.get(&operator.token, "/v1/network").await.ok();
    assert_eq!((&empty["oldest_pending_seconds"], &empty["workers"]["lost"]), (&Value::Null, &Value::Null));
    assert_eq!((&empty["workers"]["idle"], &empty["jobs"]["running"]), (&json!(0), &json!(0)));

    let ada = registry.account("ada", &["provider"]).await;
    let bob = registry.creator("bob", "10").await;
    let worker = registry.worker(&ada, "one").await;
    registry.job(&bob, "1-3").await;
    registry.clock.advance(7);
    worker.lease().await;
    let network = registry.get(&operator.token, "/v1/network").await.ok();
    assert_eq!(network["accounts"], 3);
    assert_eq!((&network["workers"]["busy"], &network["workers"]["idle"]), (&json!(1), &json!(0)));
    assert_eq!((&network["tasks"]["running"], &network["tasks"]["pending"]), (&json!(1), &json!(2)));
    assert_eq!(network["jobs"]["running"], 1);
    assert_eq!(network["oldest_pending_seconds"], 7.0);
    for account in [&ada, &bob] {
        registry.get(&account.token, "/v1/network").await.problem(403);
    }
    registry.anonymous("/v1/network").await.problem(401);
    registry.stop().await;
}

fn sum(ledger: &Value, book: &str) -> i64 {
    let books = ledger["books"].as_array().unwrap();
    books.iter().find(|sum| sum["book"] == book).unwrap()["balance_micros"].as_i64().unwrap()
}

async fn the_ledger_is_open_to_operators_only(place: Place) {
    let registry = Registry::start(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let ada = registry.account("ada", &["provider"]).await;
    let bob = registry.creator("bob", "10").await;
    let worker = registry.worker(&ada, "one").await;
    let job = registry.job(&bob, "1-2").await;
    let lease = worker.lease().await;
    worker.render(&lease).await;
    registry
        .post(&operator.token, "/v1/payouts", json!({"account_id": ada.id, "amount_micros": 10_000}))
        .await
        .ok();

    let ledger = registry.get(&operator.token, "/v1/ledger").await.ok();
    assert_eq!(ledger["findings"], json!([]));
    assert_eq!(sum(&ledger, "issued"), -10_000_000);
    assert_eq!((sum(&ledger, "escrow"), sum(&ledger, "fees")), (50_000, 10_000));
    assert_eq!((sum(&ledger, "payouts"), sum(&ledger, "paid_out")), (10_000, 0));
    assert_eq!(sum(&ledger, "accounts"), 10_000_000 - 100_000 + 40_000 - 10_000);
    let total: i64 = ["accounts", "escrow", "payouts", "fees", "issued", "paid_out"]
        .into_iter()
        .map(|book| sum(&ledger, book))
        .sum();
    assert_eq!(total, 0);

    let transfers =
        async |query: &str| registry.get(&operator.token, &format!("/v1/ledger/transfers{query}")).await.ok();
    let newest = transfers("?limit=2").await;
    assert_eq!(newest["items"].as_array().unwrap().len(), 2);
    let mut seen = all(&newest, "key").into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut cursor = newest["next_cursor"].clone();
    while let Value::String(after) = cursor {
        let next = transfers(&format!("?limit=2&cursor={after}")).await;
        seen.extend(all(&next, "key").into_iter().map(str::to_owned));
        cursor = next["next_cursor"].clone();
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let rewards = transfers("?search=reward:").await;
    assert_eq!(rewards["items"].as_array().unwrap().len(), 1);
    let reward = &rewards["items"][0];
    assert_eq!((text(&reward["from_book"]), text(&reward["to_name"])), (job.as_str(), "ada"));
    assert_eq!(reward["amount_micros"], 40_000);
    let of_job = transfers(&format!("?search={job}")).await;
    assert_eq!(of_job["items"].as_array().unwrap().len(), 3, "{of_job}");
    // A wildcard is looked for as it stands.
    assert_eq!(transfers("?search=%25").await["items"], json!([]));
    for account in [&ada, &bob] {
        for path in ["/v1/ledger", "/v1/ledger/transfers"] {
            registry.get(&account.token, path).await.problem(403);
        }
    }
    registry.get(&operator.token, "/v1/ledger/transfers?limit=0").await.problem(400);
    registry.get(&operator.token, "/v1/ledger/transfers?cursor=x").await.problem(400);
    registry.stop().await;
}

async fn audit(registry: &Registry, account: &Account, query: &str) -> Vec<Value> {
    let list = registry.get(&account.token, &format!("/v1/audit{query}")).await.ok();
    list["items"].as_array().unwrap().clone()
}

async fn the_audit_log_says_who_did_what(place: Place) {
    let registry = Registry::start(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let ada = registry.account("ada", &["provider"]).await;
    let eve = registry.account("eve", &["provider"]).await;
    let worker = registry.worker(&ada, "one").await;
    registry.command(["account", "credit", "ada", "10"]);
    let path = format!("/v1/workers/{}", worker.id);
    registry.call(Method::DELETE, &operator.token, &path, None).await.ok();
    let new = json!({"account_id": ada.id, "amount_micros": 2_000_000});
    let payout = registry.post(&operator.token, "/v1/payouts", new).await.ok();
    let path = format!("/v1/payouts/{}", text(&payout["id"]));
    for _ in 0..2 {
        let sent = Some(json!({"status": "sent", "reference": "tx 1"}));
        registry.call(Method::PATCH, &operator.token, &path, sent).await.ok();
    }

    let of_ada = audit(&registry, &operator, "?account=ada").await;
    let actions: Vec<&str> = of_ada.iter().map(|entry| text(&entry["action"])).collect();
    for action in ["worker_config_downloaded", "worker_deleted", "payout_recorded", "payout_sent"] {
        assert_eq!(actions.iter().filter(|one| **one == action).count(), 1, "{action}: {actions:?}");
    }
    assert!(of_ada.iter().all(|entry| entry["account_id"] == ada.id), "{of_ada:?}");
    let deleted = audit(&registry, &operator, "?action=worker_deleted").await;
    assert_eq!(deleted.len(), 1);
    assert_eq!((text(&deleted[0]["subject"]), text(&deleted[0]["actor_name"])), (worker.id.as_str(), "root"));
    assert_eq!((&deleted[0]["actor"], &deleted[0]["detail"]["name"]), (&json!("token"), &json!("one")));
    let payout_recorded = audit(&registry, &operator, "?action=payout_recorded").await;
    assert_eq!(payout_recorded[0]["detail"]["amount_micros"], json!(Micros(2_000_000)));

    // An account reads what concerns it, and nothing else.
    assert_eq!(audit(&registry, &ada, "").await, of_ada);
    assert!(audit(&registry, &eve, "").await.iter().all(|entry| entry["account_id"] == eve.id));
    assert_eq!(audit(&registry, &eve, &format!("?account={}", ada.id)).await, Vec::<Value>::new());
    let read = registry.post(&ada.token, "/v1/tokens", json!({"name": "r", "scope": "read"})).await.ok();
    registry.get(text(&read["token"]), "/v1/audit").await.problem(403);
    registry.anonymous("/v1/audit").await.problem(401);
    registry.stop().await;
}

async fn the_pages_are_the_operators(place: Place) {
    let registry = Registry::start(&place).await;
    let operator = registry.account("root", &["operator"]).await;
    let ada = registry.account("<b>ada</b>", &["provider"]).await;
    registry.command(["account", "credit", "<b>ada</b>", "10"]);
    let visitor = Browser::signed_in(&registry, &operator).await;
    let stranger = Browser::signed_in(&registry, &ada).await;
    for path in ["/admin", "/admin/accounts", "/admin/payouts", "/admin/ledger", "/admin/audit"] {
        assert_eq!(stranger.get(path).await.status.as_u16(), 403, "{path}");
        let page = visitor.get(path).await;
        assert_eq!(page.status.as_u16(), 200, "{path}: {page:?}");
        assert!(!page.text.contains("<b>ada"), "{path}");
    }
    assert!(visitor.get("/admin/accounts").await.text.contains("10.00 EUR"));

    let record = [("account", "<b>ada</b>"), ("amount", "2.50"), ("reference", ""), ("key", "k1")];
    stranger.send("/admin/payouts", &record).await.is(403);
    for _ in 0..2 {
        let sent = visitor.send("/admin/payouts", &record).await;
        assert_eq!(sent.status.as_u16(), 303, "{sent:?}");
    }
    let list = registry.get(&operator.token, "/v1/payouts").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "a form sent twice records one payout");
    assert_eq!(
        (&list["items"][0]["amount_micros"], &list["items"][0]["status"]),
        (&json!(2_500_000), &json!("pending"))
    );
    let too_much = [("account", ada.id.as_str()), ("amount", "100"), ("reference", ""), ("key", "k2")];
    let refused = visitor.send("/admin/payouts", &too_much).await;
    assert!(refused.status.is_success() && refused.text.contains("amount-error"), "{refused:?}");
    let nobody = [("account", "nobody"), ("amount", "1"), ("reference", ""), ("key", "k3")];
    let refused = visitor.send("/admin/payouts", &nobody).await;
    assert!(refused.text.contains("account-error"), "{refused:?}");

    let path = format!("/admin/payouts/{}", text(&list["items"][0]["id"]));
    let failed = [("status", "failed"), ("reference", "no such wallet")];
    assert_eq!(visitor.send(&path, &failed).await.status.as_u16(), 303);
    assert_eq!(registry.balance(&ada).await, 10_000_000);
    let log = visitor.get("/admin/audit?action=payout_failed").await;
    assert!(log.text.contains("no such wallet"), "{}", log.text);
    registry.stop().await;
}

async fn notifications_are_set_on_their_page(place: Place) {
    const PAGE: &str = "/account/notifications";
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let visitor = Browser::signed_in(&registry, &ada).await;
    let add = format!("{PAGE}/channels");
    let refused = [("kind", "webhook"), ("url", "http://example.org/<i>")];
    let refused = visitor.send(&add, &refused).await;
    assert!(refused.text.contains("url-error") && !refused.text.contains("<i>"), "{refused:?}");
    let made = visitor.send(&add, &[("kind", "webhook"), ("url", "https://example.org/x")]).await;
    assert!(made.text.contains("signing-secret"), "{made:?}");
    let channels = registry.get(&ada.token, "/v1/notifications/channels").await.ok();
    let id = text(&channels["items"][0]["id"]);
    assert!(!visitor.get(PAGE).await.text.contains("signing-secret"), "a secret is shown once");

    let form =
        [("event", "worker_lost"), ("event", "payout_sent"), ("quiet_from", "22:00"), ("quiet_to", "07:00")];
    assert_eq!(visitor.send(PAGE, &form).await.status.as_u16(), 303);
    let settings = registry.get(&ada.token, "/v1/notifications").await.ok();
    assert_eq!(settings["events"], json!(["worker_lost", "payout_sent", "wallet_changed"]));
    assert_eq!(settings["quiet_hours"], json!({"from": "22:00", "to": "07:00"}));
    let half = visitor.send(PAGE, &[("quiet_from", "22:00"), ("quiet_to", "")]).await;
    assert!(half.text.contains("quiet-error"), "{half:?}");
    assert_eq!(registry.get(&ada.token, "/v1/notifications").await.ok(), settings);

    assert_eq!(visitor.send(&format!("{add}/{id}/delete"), &[]).await.status.as_u16(), 303);
    assert_eq!(registry.get(&ada.token, "/v1/notifications/channels").await.ok()["items"], json!([]));
    registry.stop().await;
}
