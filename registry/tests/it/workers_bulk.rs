//! The list of workers with totals and CSV, and one action on many of them.

use pictor_protocol::WorkerId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::database::Place;
use crate::registry::{Account, Registry, all, text};

on_both_databases!(
    a_filter_acts_on_what_it_shows,
    each_id_has_its_result,
    another_number_than_confirmed_changes_nothing,
    the_list_counts_filters_and_exports,
    ids_said_twice_and_tags_there_already_change_nothing,
    a_row_is_acted_on_whatever_is_ticked,
    names_are_text_on_every_page,
);

async fn named(registry: &Registry, owner: &Account, names: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for name in names {
        let made = registry.post(&owner.token, "/v1/workers", json!({"name": name})).await.ok();
        ids.push(text(&made["id"]).to_owned());
    }
    ids
}

async fn list(registry: &Registry, owner: &Account, query: &str) -> Value {
    registry.get(&owner.token, &format!("/v1/workers?{query}")).await.ok()
}

async fn a_filter_acts_on_what_it_shows(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    named(&registry, &ada, &["rack-1", "rack-2", "desk"]).await;
    let bulk = async |body: Value| registry.post(&ada.token, "/v1/workers/bulk", body).await.ok();
    let filter = json!({"search": "rack"});
    let tagged = bulk(json!({"filter": filter, "action": "tag", "tag": "hall", "expected": 2})).await;
    assert!(
        tagged["results"].as_array().unwrap().iter().all(|result| result["result"] == "done"),
        "{tagged}"
    );
    assert_eq!(list(&registry, &ada, "tag=hall").await["total"], 2);
    bulk(json!({"filter": {"tag": "hall"}, "action": "pause"})).await;
    let desired = |listed: Value| -> Vec<Value> {
        listed["items"].as_array().unwrap().iter().map(|worker| worker["desired"].clone()).collect()
    };
    assert_eq!(desired(list(&registry, &ada, "").await), [json!("active"), json!("paused"), json!("paused")]);
    bulk(json!({"filter": {"tag": "hall"}, "action": "drain"})).await;
    assert_eq!(desired(list(&registry, &ada, "tag=hall").await), [json!("draining"), json!("draining")]);
    bulk(json!({"filter": {"tag": "hall"}, "action": "resume"})).await;
    bulk(json!({"filter": {}, "action": "untag", "tag": "hall"})).await;
    assert_eq!(desired(list(&registry, &ada, "").await), vec![json!("active"); 3]);
    assert_eq!(list(&registry, &ada, "tag=hall").await["total"], 0);
    bulk(json!({"filter": {"search": "rack"}, "action": "delete"})).await;
    assert_eq!(all(&list(&registry, &ada, "").await, "name"), ["desk"].into());
    registry.stop().await;
}

async fn each_id_has_its_result(place: Place) {
    let registry = Registry::start(&place).await;
    let (ada, eve) =
        (registry.account("ada", &["provider"]).await, registry.account("eve", &["provider"]).await);
    let own = named(&registry, &ada, &["desk"]).await;
    let others = named(&registry, &eve, &["hers"]).await;
    let nobody = WorkerId::from_parts(1, [1; 10]).to_string();
    let body = json!({"ids": [own[0], others[0], nobody], "action": "delete"});
    let results = registry.post(&ada.token, "/v1/workers/bulk", body).await.ok()["results"].clone();
    assert_eq!((&results[0]["result"], &results[0]["name"]), (&json!("done"), &json!("desk")));
    // Another account's worker looks like none.
    for refused in [&results[1], &results[2]] {
        assert_eq!((&refused["result"], &refused["name"]), (&json!("refused"), &Value::Null));
        assert_eq!(refused["detail"], results[2]["detail"]);
    }
    assert_eq!(list(&registry, &eve, "").await["total"], 1);

    for (body, status) in [
        (json!({"action": "pause"}), 400),
        (json!({"ids": [], "filter": {}, "action": "pause"}), 400),
        (json!({"filter": {}, "action": "tag"}), 400),
        (json!({"filter": {"status": "asleep"}, "action": "pause"}), 400),
        (json!({"filter": {}, "action": "explode"}), 400),
    ] {
        registry.post(&eve.token, "/v1/workers/bulk", body).await.problem(status);
    }
    let too_long = json!({"filter": {}, "action": "tag", "tag": "x".repeat(65)});
    let refused = registry.post(&eve.token, "/v1/workers/bulk", too_long).await.ok();
    assert_eq!(refused["results"][0]["result"], "refused");
    let read = registry.post(&eve.token, "/v1/tokens", json!({"name": "r", "scope": "read"})).await.ok();
    let body = json!({"filter": {}, "action": "pause"});
    registry.post(text(&read["token"]), "/v1/workers/bulk", body).await.problem(403);
    registry.stop().await;
}

async fn another_number_than_confirmed_changes_nothing(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    named(&registry, &ada, &["a", "b", "c"]).await;
    let body = json!({"filter": {}, "action": "delete", "expected": 2});
    let refused = registry.post(&ada.token, "/v1/workers/bulk", body).await;
    assert_eq!(refused.problem_code(409), "selection_changed");
    assert_eq!(list(&registry, &ada, "").await["total"], 3);
    registry.stop().await;
}

async fn the_list_counts_filters_and_exports(place: Place) {
    let registry = Registry::start(&place).await;
    let creator = registry.creator("bob", "10").await;
    let ada = registry.account("ada", &["provider"]).await;
    registry.job(&creator, "1-2").await;
    let worker = registry.worker(&ada, "=desk").await;
    for _ in 0..2 {
        let lease = worker.lease().await;
        worker.render(&lease).await;
    }
    let others = named(&registry, &ada, &["attic", "shed"]).await;
    let page = list(&registry, &ada, "limit=1&sort=name").await;
    assert_eq!((&page["total"], page["items"].as_array().unwrap().len()), (&json!(3), 1));
    let earned = &page["items"][0];
    assert_eq!(
        (&earned["name"], &earned["earnings_micros"], &earned["points"]),
        (&json!("=desk"), &json!(80_000), &json!(2))
    );
    let some = list(&registry, &ada, &format!("ids={},{}", others[0], others[1])).await;
    assert_eq!(all(&some, "name"), ["attic", "shed"].into());
    registry.get(&ada.token, "/v1/workers?ids=desk").await.problem(400);

    let csv = registry.get(&ada.token, "/v1/workers?format=csv&sort=name").await;
    assert!(csv.content_type.starts_with("text/csv"), "{csv:?}");
    let lines: Vec<&str> = csv.text.lines().collect();
    assert!(lines[0].starts_with("id,name,status,") && lines.len() == 4, "{}", csv.text);
    assert!(lines[1].contains(",'=desk,") && lines[1].ends_with(",EUR,80000,2"), "{}", lines[1]);
    let eve = registry.account("eve", &["provider"]).await;
    assert_eq!(list(&registry, &eve, "").await["total"], 0);
    registry.call(Method::PUT, &eve.token, "/v1/workers/bulk", None).await.problem(405);
    registry.stop().await;
}

async fn ids_said_twice_and_tags_there_already_change_nothing(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let ids = named(&registry, &ada, &["desk"]).await;
    let tag = async |tag: &str, expected: u64| {
        let body = json!({"ids": [ids[0], ids[0]], "action": "tag", "tag": tag, "expected": expected});
        registry.post(&ada.token, "/v1/workers/bulk", body).await
    };
    assert_eq!(tag("a", 2).await.problem_code(409), "selection_changed");
    for name in ["a", "b"] {
        let results = tag(name, 1).await.ok();
        assert_eq!(results["results"].as_array().unwrap().len(), 1, "{results}");
    }
    let before = list(&registry, &ada, "").await["items"][0].clone();
    registry.clock.advance(5);
    tag(" a ", 1).await.ok();
    let after = list(&registry, &ada, "").await["items"][0].clone();
    assert_eq!((&after["tags"], &after["updated_at"]), (&json!(["a", "b"]), &before["updated_at"]));
    registry.stop().await;
}

async fn a_row_is_acted_on_whatever_is_ticked(place: Place) {
    let registry = Registry::start(&place).await;
    let (ada, eve) =
        (registry.account("ada", &["provider"]).await, registry.account("eve", &["provider"]).await);
    let ids = named(&registry, &ada, &["a", "b", "c"]).await;
    let hers = named(&registry, &eve, &["hers"]).await;
    let browser = Browser::signed_in(&registry, &ada).await;
    let page = browser.get("/workers?sort=created_at").await;
    page.is(200);
    let ticked = [("ids", &*ids[1]), ("ids", &*ids[2]), ("action", "delete"), ("list", "?sort=created_at")];
    let answer = browser.send_from(&page, &format!("/workers/{}/pause", ids[0]), &ticked).await;
    assert_eq!(answer.is(303).leads_to(), "/workers?sort=created_at");
    let listed = list(&registry, &ada, "sort=name").await;
    let desired: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|worker| text(&worker["desired"])).collect();
    assert_eq!(desired, ["paused", "active", "active"]);
    browser.send_from(&page, &format!("/workers/{}/pause", hers[0]), &ticked).await.is(404);

    // One of the ticked is gone before they are confirmed: the others are counted.
    registry.call(Method::DELETE, &ada.token, &format!("/v1/workers/{}", ids[1]), None).await.ok();
    let confirm = browser.send_from(&page, "/workers/selected", &ticked).await;
    assert!(!confirm.says("Delete 1 worker?").text.contains(&*ids[1]), "{confirm:?}");
    let fields = [("ids", &*ids[2]), ("action", "delete"), ("expected", "1")];
    browser.send_from(&confirm, "/workers/bulk", &fields).await.says("1 done, 0 refused");
    assert_eq!(all(&list(&registry, &ada, "").await, "name"), ["a"].into());
    registry.stop().await;
}

async fn names_are_text_on_every_page(place: Place) {
    let registry = Registry::start(&place).await;
    let ada = registry.account("ada", &["provider"]).await;
    let hostile = "\"><img src=x onerror=alert(1)>";
    let ids = named(&registry, &ada, &[hostile]).await;
    let body = json!({"ids": ids, "action": "tag", "tag": hostile});
    registry.post(&ada.token, "/v1/workers/bulk", body).await.ok();
    let browser = Browser::signed_in(&registry, &ada).await;
    let of = |page: &str| format!("/workers/{}/{page}", ids[0]);
    let search = "/workers?search=%22%3E%3Cimg";
    for path in ["/workers", search, "/workers/tags", &of("rename"), &of("config"), &of("delete")] {
        let page = browser.get(path).await;
        assert!(!page.is(200).says("&#60;img").text.contains("<img src=x"), "{path}: {page:?}");
    }
    registry.stop().await;
}
