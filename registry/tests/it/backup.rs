//! Copies of the database taken while a registry runs on it.

use std::fs;

use crate::database::{Place, on_postgres, on_sqlite};
use crate::registry::Registry;
use pictor_protocol::UnixMillis;
use pictor_registry::backup;
use pictor_registry::clock::Clock;
use pictor_registry::db::Db;

const METRIC: &str = "\npictor_registry_backup_last_success_timestamp_seconds ";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_is_whole_and_its_time_is_shown() {
    on_sqlite(async |place: Place| {
        let registry = Registry::start(&place).await;
        let operator = registry.account("root", &["operator"]).await;
        let provider = registry.account("ada", &["provider"]).await;
        let before = registry.get(&operator.token, "/metrics/network").await;
        assert!(!before.text.contains(METRIC), "{before:?}");
        let file = place.folder.path().join("copy.db");
        let asked_at = Clock::system().now().seconds_since(UnixMillis(0));
        registry.command(["backup", file.to_str().unwrap()]);

        let after = registry.get(&operator.token, "/metrics/network").await;
        let shown = after.text.split_once(METRIC).expect("the metric").1.lines().next().unwrap();
        let taken_at: f64 = shown.parse().unwrap();
        assert!((0.0..60.0).contains(&(taken_at - asked_at)), "{taken_at} after {asked_at}");
        let theirs = registry.get(&provider.token, "/metrics/network").await;
        assert!(!theirs.text.contains(METRIC), "it is the operator's: {theirs:?}");

        let copy = Db::open(&format!("sqlite://{}", file.display())).await.unwrap();
        let mut conn = copy.read().await.unwrap();
        let accounts: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM accounts").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(accounts, 2);
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(sound, "ok");
        registry.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_there_stays_unless_told() {
    on_sqlite(async |place: Place| {
        let db = place.open().await;
        let clock = Clock::system();
        let file = place.folder.path().join("copy.db");
        fs::write(&file, "precious").unwrap();
        fs::write(place.folder.path().join("copy.db.partial"), "of one broken off").unwrap();
        let refused = backup::take(&db, &clock, &file, false).await.unwrap_err();
        assert!(refused.to_string().contains("--replace"), "{refused:#}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let bytes = backup::take(&db, &clock, &file, true).await.unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len(), bytes);
        assert!(fs::read(&file).unwrap().starts_with(b"SQLite format 3"));
        assert!(!place.folder.path().join("copy.db.partial").exists());
        let nowhere = place.folder.path().join("none").join("copy.db");
        backup::take(&db, &clock, &nowhere, false).await.expect_err("a folder that is not there");
    })
    .await;
}

#[tokio::test]
async fn postgres_is_left_to_its_own_tools() {
    on_postgres(async |place: Place| {
        let file = place.folder.path().join("copy.db");
        let refused = backup::take(&place.open().await, &Clock::system(), &file, false).await.unwrap_err();
        assert!(refused.to_string().contains("pg_dump"), "{refused:#}");
        assert!(!file.exists());
    })
    .await;
}
