//! What electricity costs, told by agents: counted once, by currency, and told in the network's where a rate is known.

use serde_json::{Value, json};

use crate::database::Place;
use crate::registry::{Registry, Worker};

on_both_databases!(costs_are_counted_from_the_first_total, two_currencies_are_never_added);

/// A goodbye is written at once.
async fn told(worker: &Worker<'_>, electricity: Value) -> u16 {
    worker.heartbeat_with(&[], json!({"stopping": true, "electricity": electricity})).await.status.as_u16()
}

fn euros(cost_micros: i64) -> Value {
    json!({"currency": "EUR", "cost_micros": cost_micros, "exchange_rate": null, "exchange_rate_at": null})
}

async fn costs_are_counted_from_the_first_total(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let worker = registry.worker(&ada, "desk").await;
    let electricity = async || registry.get(&ada.token, "/v1/summary").await.ok()["electricity"].clone();
    assert_eq!(told(&worker, euros(5_000_000)).await, 200);
    assert_eq!(electricity().await, Value::Null, "what it cost before is not known to be this worker's");
    for total in [5_250_000, 5_250_000, 6_000_000, 100_000, 300_000] {
        registry.clock.advance(10);
        assert_eq!(told(&worker, euros(total)).await, 200);
    }
    let counted = electricity().await;
    assert_eq!(counted["sums"][0]["cost_micros"], 1_200_000, "a total that fell begins anew");
    assert_eq!((&counted["cost_micros"], &counted["net_micros"]), (&json!(1_200_000), &json!(-1_200_000)));
    let path = format!("/v1/workers/{}/statistics?range=24h", worker.id);
    assert_eq!(registry.get(&ada.token, &path).await.ok()["electricity"], counted);
    let eve = registry.account("eve", &["provider"]).await;
    assert_eq!(registry.get(&eve.token, "/v1/summary").await.ok()["electricity"], Value::Null);
    let bad = [("eur", 1, 1.0), ("EUR", -1, 1.0), ("EUR", 1, 0.0)];
    for (currency, cost, rate) in bad {
        let electricity = json!({"currency": currency, "cost_micros": cost, "exchange_rate": rate});
        assert_eq!(told(&worker, electricity).await, 400, "{currency} {cost} {rate}");
    }
    registry.stop().await;
}

async fn two_currencies_are_never_added(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let (desk, rack) = (registry.worker(&ada, "desk").await, registry.worker(&ada, "rack").await);
    let dollars = |cost_micros: i64, rate: Option<f64>| {
        let at = rate.map(|_| "2026-01-31T00:00:00.000Z");
        json!({"currency": "USD", "cost_micros": cost_micros, "exchange_rate": rate, "exchange_rate_at": at})
    };
    for (euro, dollar) in [(0, 0), (1_000_000, 2_500_000)] {
        registry.clock.advance(10);
        told(&desk, euros(euro)).await;
        told(&rack, dollars(dollar, Some(1.25))).await;
    }
    let summary = registry.get(&ada.token, "/v1/summary").await.ok();
    let electricity = &summary["electricity"];
    let sum = |place: usize, key: &str| electricity["sums"][place][key].clone();
    assert_eq!((sum(0, "currency"), sum(0, "cost_micros")), (json!("EUR"), json!(1_000_000)));
    assert_eq!((sum(1, "currency"), sum(1, "cost_micros")), (json!("USD"), json!(2_500_000)));
    assert_eq!(
        (sum(1, "exchange_rate"), sum(1, "exchange_rate_at")),
        (json!(1.25), json!("2026-01-31T00:00:00.000Z"))
    );
    assert_eq!(electricity["cost_micros"], 3_000_000);

    registry.clock.advance(10);
    told(&rack, dollars(2_600_000, None)).await;
    let summary = registry.get(&ada.token, "/v1/summary").await.ok();
    let electricity = &summary["electricity"];
    assert_eq!((&electricity["cost_micros"], &electricity["net_micros"]), (&Value::Null, &Value::Null));
    assert_eq!(electricity["sums"][1]["cost_micros"], 2_600_000);
    registry.stop().await;
}
