//! `pictor-registry backup`: works on the database itself, beside a registry that runs on it.

use std::path::PathBuf;

use clap::Args;

use crate::backup;
use crate::clock::Clock;
use crate::config::DatabaseArgs;
use crate::db::Db;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where the copy goes; scenes and frames are files already, and not in it
    file: PathBuf,
    /// Let the copy take the place of a file that is there
    #[arg(long, env = "PICTOR_REPLACE")]
    replace: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: BackupArgs) -> anyhow::Result<()> {
    let db = Db::open(&args.database.database).await?;
    let bytes = backup::take(&db, &Clock::system(), &args.file, args.replace).await?;
    println!(
        "{}: {bytes} bytes. Back up the folder of --blobs too, after the database.",
        args.file.display()
    );
    Ok(())
}
