//! Payouts: recorded by operators, seen by their providers, sound in the ledger.

use pictor_protocol::Micros;
use pictor_registry::ledger::Finding;
use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Place;
use crate::network::findings;
use crate::registry::{Account, Registry, answer, text};

on_both_databases!(
    a_payout_leaves_the_balance_and_is_sent,
    a_failed_payout_comes_back,
    nobody_is_paid_out_what_is_not_there,
    payouts_are_the_operators_to_record,
    payouts_are_listed_paged_and_exported,
    the_check_finds_what_is_wrong,
);

/// An operator, and a provider who has earned 0.04.
async fn earned(place: &Place) -> (Registry, Account, Account) {
    let registry = Registry::start(place).await;
    let creator = registry.creator("bob", "10").await;
    let provider = registry.account("ada", &["provider"]).await;
    registry.job(&creator, "1").await;
    let worker = registry.worker(&provider, "desk").await;
    let lease = worker.lease().await;
    worker.render(&lease).await;
    let operator = registry.account("root", &["operator"]).await;
    (registry, operator, provider)
}

async fn pay(registry: &Registry, operator: &Account, provider: &Account, micros: i64) -> Value {
    let body = json!({"account_id": provider.id, "amount_micros": micros});
    registry.post(&operator.token, "/v1/payouts", body).await.ok()
}

async fn end(registry: &Registry, by: &Account, payout: &Value, body: Value) -> crate::registry::Answer {
    let path = format!("/v1/payouts/{}", text(&payout["id"]));
    registry.call(Method::PATCH, &by.token, &path, Some(body)).await
}

async fn sound(place: &Place) {
    assert_eq!(findings(&place.open().await).await, []);
}

async fn a_payout_leaves_the_balance_and_is_sent(place: Place) {
    let (registry, operator, provider) = earned(&place).await;
    let payout = pay(&registry, &operator, &provider, 30_000).await;
    assert_eq!(
        (&payout["status"], &payout["wallet_address"], &payout["ended_at"], &payout["account_name"]),
        (&json!("pending"), &Value::Null, &Value::Null, &json!("ada"))
    );
    assert_eq!(registry.balance(&provider).await, 10_000, "it cannot be spent twice");
    let summary = registry.get(&provider.token, "/v1/summary").await.ok();
    assert_eq!((&summary["balance_micros"], &summary["paid_out_micros"]), (&json!(10_000), &json!(0)));
    sound(&place).await;

    registry.clock.advance(60);
    let sent = json!({"status": "sent", "reference": "bank 17"});
    let done = end(&registry, &operator, &payout, sent.clone()).await.ok();
    assert_eq!((&done["status"], &done["reference"]), (&json!("sent"), &json!("bank 17")));
    assert_eq!(done["ended_at"], json!(registry.clock.now()));
    assert_eq!(end(&registry, &operator, &payout, sent).await.ok(), done, "said again, the same");
    let refused = end(&registry, &operator, &payout, json!({"status": "failed"})).await;
    assert_eq!(refused.problem_code(409), "payout_ended");
    let summary = registry.get(&provider.token, "/v1/summary").await.ok();
    assert_eq!(
        (&summary["balance_micros"], &summary["paid_out_micros"], &summary["earnings_micros"]),
        (&json!(10_000), &json!(30_000), &json!(40_000))
    );
    let network = registry.get(&operator.token, "/v1/summary").await.ok();
    assert_eq!(
        (&network["balance_micros"], &network["paid_out_micros"]),
        (&json!(9_960_000), &json!(30_000))
    );
    sound(&place).await;
    registry.stop().await;
}

async fn a_failed_payout_comes_back(place: Place) {
    let (registry, operator, provider) = earned(&place).await;
    let payout = pay(&registry, &operator, &provider, 40_000).await;
    assert_eq!(registry.balance(&provider).await, 0);
    let failed = end(&registry, &operator, &payout, json!({"status": "failed"})).await.ok();
    assert_eq!(failed["status"], "failed");
    assert_eq!(registry.balance(&provider).await, 40_000);
    let summary = registry.get(&provider.token, "/v1/summary").await.ok();
    assert_eq!((&summary["balance_micros"], &summary["paid_out_micros"]), (&json!(40_000), &json!(0)));
    end(&registry, &operator, &payout, json!({"status": "sent"})).await.problem(409);
    end(&registry, &operator, &payout, json!({"status": "pending"})).await.problem(400);
    pay(&registry, &operator, &provider, 40_000).await;
    sound(&place).await;
    registry.stop().await;
}

async fn nobody_is_paid_out_what_is_not_there(place: Place) {
    let (registry, operator, provider) = earned(&place).await;
    let ask = async |account: &str, micros: i64| {
        let body = json!({"account_id": account, "amount_micros": micros});
        registry.post(&operator.token, "/v1/payouts", body).await
    };
    ask(&provider.id, 40_001).await.problem(402);
    ask(&provider.id, 0).await.problem(400);
    ask(&provider.id, -5).await.problem(400);
    ask("acc_00000000000070008000000000000000", 1).await.problem(404);
    assert_eq!(registry.get(&operator.token, "/v1/payouts").await.ok()["items"], json!([]));
    // Eight at once, for more than there is: one of them is paid.
    let asked = (0..8).map(|_| ask(&provider.id, 30_000));
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    assert_eq!(registry.balance(&provider).await, 10_000);

    let again = async |micros: i64| {
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(registry.url("/v1/payouts"));
        let body = json!({"account_id": provider.id, "amount_micros": micros});
        answer(request.bearer_auth(&operator.token).header("idempotency-key", "november").json(&body)).await
    };
    let (first, second) = (again(2_000).await, again(2_000).await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 200));
    assert_eq!(first.ok(), second.ok());
    assert_eq!(again(2_001).await.problem_code(409), "idempotency_key_reused");
    assert_eq!(registry.balance(&provider).await, 8_000);
    sound(&place).await;
    registry.stop().await;
}

async fn payouts_are_the_operators_to_record(place: Place) {
    let (registry, operator, provider) = earned(&place).await;
    let body = json!({"account_id": provider.id, "amount_micros": 1_000});
    registry.post(&provider.token, "/v1/payouts", body.clone()).await.problem(403);
    let reading = registry.command(["account", "token", "root", "--scope", "read", "--json"]);
    let reading: Value = serde_json::from_str(&reading).unwrap();
    let read_token = text(&reading["token"]);
    registry.post(read_token, "/v1/payouts", body).await.problem(403);
    let payout = pay(&registry, &operator, &provider, 1_000).await;
    end(&registry, &provider, &payout, json!({"status": "sent"})).await.problem(403);
    let unknown = json!({"id": "pay_00000000000070008000000000000000"});
    end(&registry, &operator, &unknown, json!({"status": "sent"})).await.problem(404);
    assert_eq!(registry.get(read_token, "/v1/payouts").await.ok()["items"][0], payout);
    let other = registry.account("eve", &["provider"]).await;
    assert_eq!(registry.get(&other.token, "/v1/payouts").await.ok()["items"], json!([]));
    registry.stop().await;
}

async fn payouts_are_listed_paged_and_exported(place: Place) {
    let (registry, operator, provider) = earned(&place).await;
    for micros in [1_000, 2_000, 3_000] {
        let body = json!({"account_id": provider.id, "amount_micros": micros, "reference": "=1+1"});
        registry.post(&operator.token, "/v1/payouts", body).await.ok();
        registry.clock.advance(1);
    }
    let first = registry.get(&provider.token, "/v1/payouts?limit=2").await.ok();
    let amounts = |list: &Value| -> Vec<i64> {
        list["items"].as_array().unwrap().iter().map(|item| item["amount_micros"].as_i64().unwrap()).collect()
    };
    assert_eq!(amounts(&first), [3_000, 2_000], "newest first");
    let cursor = text(&first["next_cursor"]);
    let second = registry.get(&provider.token, &format!("/v1/payouts?limit=2&cursor={cursor}")).await.ok();
    assert_eq!((amounts(&second), &second["next_cursor"]), (vec![1_000], &Value::Null));
    for query in ["limit=0", "cursor=x", "format=xml", "colour=red"] {
        registry.get(&provider.token, &format!("/v1/payouts?{query}")).await.problem(400);
    }
    let csv = registry.get(&provider.token, "/v1/payouts?format=csv").await;
    assert!(csv.content_type.starts_with("text/csv"), "{csv:?}");
    assert!(csv.text.starts_with("id,account_id,account_name,currency,amount_micros,status,"), "{csv:?}");
    assert_eq!((csv.text.matches("\r\n").count(), csv.text.matches(",'=1+1,").count()), (4, 3), "{csv:?}");
    registry.stop().await;
}

async fn the_check_finds_what_is_wrong(place: Place) {
    let (registry, operator, provider) = earned(&place).await;
    let payout = pay(&registry, &operator, &provider, 30_000).await;
    let db = place.open().await;
    db.write(|conn| {
        Box::pin(async move {
            // Said to be sent, and no money moved; and figures of what nobody earned.
            sqlx::query("UPDATE payouts SET status = 'sent', ended_at = created_at").execute(&mut *conn).await?;
            sqlx::query(
                "INSERT INTO figures (subject, quarter, completed, failed, expired, released, cancelled, reward_micros,
                                      points)
                 SELECT account_id, 0, 1, 0, 0, 0, 0, 7, 0 FROM payouts",
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
    .unwrap();
    let expected = [
        Finding::Payout { payout: text(&payout["id"]).to_owned(), due: Micros(0), balance: Micros(30_000) },
        Finding::Figures { account: provider.id.clone(), said: Micros(7), paid: Micros(0) },
    ];
    assert_eq!(findings(&db).await, expected);
    registry.stop().await;
}
