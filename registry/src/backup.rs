//! Copies of the database, taken while it is in use.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pictor_protocol::UnixMillis;
use sqlx::AnyConnection;

use crate::clock::Clock;
use crate::db::{Db, Dialect};
use crate::error::Result;

/// Writes a copy to `file`, which appears whole or not at all, and remembers when. Returns its size in bytes.
pub async fn take(db: &Db, clock: &Clock, file: &Path, replace: bool) -> anyhow::Result<u64> {
    if db.dialect() == Dialect::Postgres {
        bail!("a PostgreSQL database is backed up with PostgreSQL's own tools, such as pg_dump");
    }
    if !replace && file.try_exists()? {
        bail!("{} is there already: name another file, or say --replace", file.display());
    }
    let partial = partial(file)?;
    let taken_at = clock.now();
    let copied = copy(db, &partial).await;
    let placed = match copied {
        Ok(()) => place(&partial, file, replace),
        Err(cause) => Err(cause),
    };
    let bytes = placed
        .inspect_err(|_| {
            // What is left would only be in the way of the next one.
            let _ = fs::remove_file(&partial);
        })
        .with_context(|| format!("no backup was written to {}", file.display()))?;
    db.write(move |conn| Box::pin(record(conn, taken_at)))
        .await
        .context("the backup is complete, but its time could not be recorded")?;
    Ok(bytes)
}

/// Beside the file, since only a rename within a folder is all or nothing.
fn partial(file: &Path) -> anyhow::Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} does not name a file", file.display()))?;
    let mut name = name.to_owned();
    name.push(".partial");
    Ok(file.with_file_name(name))
}

async fn copy(db: &Db, partial: &Path) -> anyhow::Result<()> {
    // Of a backup that was broken off.
    match fs::remove_file(partial) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause.into()),
        _ => {}
    }
    // Accounts and hashes of tokens are nobody else's to read.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
    let path = partial.to_str().context("the file's name is not UTF-8")?;
    db.copy_into(path).await
}

fn place(partial: &Path, file: &Path, replace: bool) -> anyhow::Result<u64> {
    let copy = File::open(partial)?;
    copy.sync_all()?;
    if replace {
        fs::rename(partial, file)?;
    } else {
        // Unlike a rename, this never takes the place of a file that has come meanwhile.
        fs::hard_link(partial, file)?;
        fs::remove_file(partial)?;
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(copy.metadata()?.len())
}

async fn record(conn: &mut AnyConnection, taken_at: UnixMillis) -> Result<()> {
    sqlx::query("INSERT INTO backups (taken_at) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(taken_at.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// The moment that the newest backup holds.
pub async fn last(conn: &mut AnyConnection) -> Result<Option<UnixMillis>> {
    let taken_at: Option<i64> =
        sqlx::query_scalar("SELECT MAX(taken_at) FROM backups").fetch_one(conn).await?;
    Ok(taken_at.map(UnixMillis))
}
