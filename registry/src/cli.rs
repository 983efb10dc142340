//! The command line: one module a group of commands.

mod account;
mod backup;
pub mod job;
mod serve;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use pictor_manual::ManualArgs;

/// Worker setup, task assignment and the earnings ledger of My Workers
#[derive(Debug, Parser)]
#[command(name = "pictor-registry", version = env!("PICTOR_VERSION"))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or Ctrl-C
    Serve(Box<serve::ServeArgs>),
    /// Make accounts and their tokens, and give them money to spend
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Submit jobs and fetch their frames
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Copy the database to a file while it is in use
    Backup(backup::BackupArgs),
    /// Print the API as an OpenAPI 3.1 document
    Openapi,
    /// Write shell completions and man pages to a folder; for those who make packages
    #[command(hide = true)]
    Manual(ManualArgs),
}

/// Runs one command; an error in `anyhow` is for people, and `config::BadConfiguration` among them is exit code 78.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Account(command) => account::run(command).await,
        Command::Job(command) => job::run(command).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Openapi => {
            println!("{}", crate::openapi().to_pretty_json()?);
            Ok(())
        }
        Command::Manual(args) => {
            let program = Cli::command();
            pictor_manual::write("pictor-registry", env!("CARGO_PKG_VERSION"), &program, &args)
                .context("cannot write the manual")
        }
    }
}
