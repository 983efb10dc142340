//! Databases of a test's own: a file for SQLite, and a database made and dropped in the PostgreSQL
//! that `PICTOR_TEST_POSTGRES` names.

use std::future::Future;
use std::sync::Arc;

use pictor_registry::clock::Clock;
use pictor_registry::db::Db;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;
use tokio::task::{LocalSet, spawn_local};

/// Where a test keeps what it keeps: a folder, and a database which may lie in it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) folder: Arc<TempDir>,
}

impl Place {
    pub(crate) async fn open(&self) -> Db {
        Db::open(&self.database).await.unwrap()
    }
}

/// Makes of each `async fn name(place: Place)` of this module a test on SQLite and one on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                crate::database::on_sqlite(super::$name).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                crate::database::on_postgres(super::$name).await;
            })+
        }
    };
}

pub(crate) async fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("registry.db").display());
    test(Place { database, folder: Arc::new(folder) }).await;
}

pub(crate) async fn on_postgres<F: Future<Output = ()> + 'static>(test: impl FnOnce(Place) -> F) {
    let server = std::env::var("PICTOR_TEST_POSTGRES").expect(
        "PICTOR_TEST_POSTGRES is not set (postgres://USER@HOST:PORT/DATABASE of a PostgreSQL 15 for tests): \
         scripts/test starts one and sets it",
    );
    sqlx::any::install_default_drivers();
    let name = format!("pictor_test_{}", hex::encode(Clock::system().random::<8>()));
    let mut admin = AnyConnection::connect(&server).await.unwrap();
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let place = Place { database: url.into(), folder: Arc::new(tempfile::tempdir().unwrap()) };
    // A task of its own, so that the database is dropped when the test panics as well.
    let here = LocalSet::new();
    let ended = here.run_until(async { spawn_local(test(place)).await }).await;
    admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    if let Err(panicked) = ended {
        std::panic::resume_unwind(panicked.into_panic());
    }
}
