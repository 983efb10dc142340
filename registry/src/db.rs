//! The database: who begins and commits, and every difference between SQLite and PostgreSQL.
//!
//! SQLite has one writer, so one task holds it and puts what waits into one transaction (a savepoint
//! per caller): durable commits are what a disk gives few of. PostgreSQL has many writers, so each
//! caller has a transaction of its own, tried again when the database could not serialise it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};

/// What a piece of work on one connection gives.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// How many callers share one durable commit at most.
const BATCH_MAX: usize = 256;
const SERIALISATION_TRIES: u32 = 8;

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Ends a SELECT that claims rows: another claimer passes over what this one holds.
    /// SQLite needs nothing, having one writer.
    pub fn claim(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }
}

/// How many connections a pool has open, and how many it opens at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    pub used: u32,
    pub idle: u32,
    pub max: u32,
}

/// A handle to the database; clones share it.
#[derive(Clone)]
pub struct Db {
    pool: AnyPool,
    writer: Writer,
}

#[derive(Clone)]
enum Writer {
    Batched(mpsc::Sender<Job>),
    PerCaller,
}

type Job = Box<
    dyn for<'c> FnOnce(&'c mut AnyConnection) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'c>> + Send,
>;

/// What a caller's work came to inside the shared transaction, and how to tell it once that has ended.
struct Outcome {
    kept: bool,
    answer: Answer,
}

/// Called with the batch's end: `Err` says why nothing of it was kept.
type Answer = Box<dyn FnOnce(std::result::Result<(), String>) + Send>;

impl Db {
    /// Opens `sqlite://PATH` (made when it is missing) or `postgres://…`, and brings its schema up to date.
    pub async fn open(url: &str) -> anyhow::Result<Db> {
        sqlx::any::install_default_drivers();
        let (dialect, url) = match url {
            _ if url.starts_with("sqlite:") => (Dialect::Sqlite, sqlite_url(url)),
            _ if url.starts_with("postgres:") || url.starts_with("postgresql:") => {
                (Dialect::Postgres, url.to_owned())
            }
            _ => anyhow::bail!("'{url}' is not a database: write sqlite://registry.db or postgres://…"),
        };
        let pool = pool(dialect, &url, 8).await?;
        // 0005 and 0007 are missing because no version ever had them; they stay unused, for numbers only go up.
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .context("the database's schema could not be brought up to date")?;
        let writer = match dialect {
            Dialect::Sqlite => {
                let (jobs, queue) = mpsc::channel(4 * BATCH_MAX);
                let connection = self::pool(dialect, &url, 1).await?.acquire().await?;
                tokio::spawn(write_batches(connection, queue));
                Writer::Batched(jobs)
            }
            Dialect::Postgres => Writer::PerCaller,
        };
        Ok(Db { pool, writer })
    }

    pub fn dialect(&self) -> Dialect {
        match self.writer {
            Writer::Batched(_) => Dialect::Sqlite,
            Writer::PerCaller => Dialect::Postgres,
        }
    }

    /// The pool as it is now. The one connection that writes to SQLite is not of it.
    pub fn connections(&self) -> Connections {
        let (open, idle) = (self.pool.size(), u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX));
        let idle = idle.min(open);
        Connections { used: open - idle, idle, max: self.pool.options().get_max_connections() }
    }

    /// Writes what SQLite holds at this moment into an empty file.
    pub async fn copy_into(&self, path: &str) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await?;
        sqlx::query("VACUUM INTO $1").bind(path.to_owned()).execute(&mut *connection).await?;
        Ok(())
    }

    /// A connection to read from, beside whoever writes.
    pub async fn read(&self) -> Result<PoolConnection<Any>> {
        Ok(self.pool.acquire().await?)
    }

    /// Runs `work` as one transaction and returns after it is durable. An error rolls back this caller
    /// alone. `work` may run again from the start when the database could not serialise it.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut AnyConnection) -> Work<'c, T> + Send + Sync + 'static,
    {
        match &self.writer {
            Writer::Batched(jobs) => batched(jobs, work).await,
            Writer::PerCaller => self.per_caller(work).await,
        }
    }

    async fn per_caller<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'c> Fn(&'c mut AnyConnection) -> Work<'c, T>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut transaction = self.pool.begin().await?;
            let done = match work(&mut transaction).await {
                Ok(value) => transaction.commit().await.map(|()| value).map_err(Error::from),
                Err(error) => {
                    transaction.rollback().await?;
                    Err(error)
                }
            };
            match done {
                Err(Error::Database(cause)) if tries < SERIALISATION_TRIES && could_not_serialise(&cause) => {
                }
                done => return done,
            }
        }
    }
}

async fn pool(dialect: Dialect, url: &str, connections_max: u32) -> anyhow::Result<AnyPool> {
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if dialect == Dialect::Sqlite {
                    // FULL: what was answered survives a power cut. The time-out is for the command
                    // line, which writes to the same file while the service runs.
                    connection
                        .execute(
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000;",
                        )
                        .await?;
                }
                Ok(())
            })
        })
        .connect(url)
        .await
        .with_context(|| format!("the database {} could not be opened", without_password(url)))
}

fn sqlite_url(url: &str) -> String {
    match url {
        _ if url.contains("mode=") => url.to_owned(),
        _ if url.contains('?') => format!("{url}&mode=rwc"),
        _ => format!("{url}?mode=rwc"),
    }
}

fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) if url.password().is_some() => {
            let _ = url.set_password(Some("…"));
            url.to_string()
        }
        _ => url.to_owned(),
    }
}

fn could_not_serialise(cause: &sqlx::Error) -> bool {
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

async fn batched<T, F>(jobs: &mpsc::Sender<Job>, work: F) -> Result<T>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut AnyConnection) -> Work<'c, T> + Send + Sync + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        Box::pin(async move {
            let result = work(connection).await;
            let kept = result.is_ok();
            let answer = move |ended: std::result::Result<(), String>| {
                let result = match ended {
                    Ok(()) => result,
                    // Nothing of the batch was kept, so neither was what this caller did.
                    Err(cause) => Err(Error::Unavailable(cause)),
                };
                // The caller may have gone away; what it asked for is done all the same.
                let _ = sender.send(result);
            };
            Outcome { kept, answer: Box::new(answer) }
        })
    });
    let gone = || Error::Internal(anyhow::anyhow!("the database writer has stopped"));
    jobs.send(job).await.map_err(|_| gone())?;
    receiver.await.map_err(|_| gone())?
}

/// Runs until every handle is gone. A batch that cannot begin or commit is answered as not done.
async fn write_batches(mut connection: PoolConnection<Any>, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        let mut answers = Vec::new();
        let ended = write_batch(&mut connection, first, &mut queue, &mut answers).await;
        if let Err(cause) = &ended {
            tracing::error!(error = %cause, "a batch of writes was rolled back");
            let _ = connection.execute("ROLLBACK").await;
        }
        let told = ended.map_err(|cause| not_written(&cause));
        for answer in answers {
            answer(told.clone());
        }
    }
}

async fn write_batch(
    connection: &mut AnyConnection,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    answers: &mut Vec<Answer>,
) -> std::result::Result<(), sqlx::Error> {
    connection.execute("BEGIN IMMEDIATE").await?;
    let mut next = Some(first);
    while let Some(job) = next {
        connection.execute("SAVEPOINT caller").await?;
        let outcome = job(connection).await;
        answers.push(outcome.answer);
        if !outcome.kept {
            connection.execute("ROLLBACK TO caller").await?;
        }
        connection.execute("RELEASE caller").await?;
        next = if answers.len() < BATCH_MAX { queue.try_recv().ok() } else { None };
    }
    connection.execute("COMMIT").await?;
    Ok(())
}

fn not_written(cause: &sqlx::Error) -> String {
    if cause.to_string().contains("full") {
        "the registry's disk is full: its operator must free some space; nothing was lost, try again later"
            .to_owned()
    } else {
        "the registry's database does not accept writes now; nothing was lost, try again later".to_owned()
    }
}
