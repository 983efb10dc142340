//! `pictor-registry serve`.

use std::io::{self, IsTerminal};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::clock::Clock;
use crate::config::{BadConfiguration, Settings};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: Settings,

    /// What to log: a level, or levels by module such as info,sqlx=warn
    #[arg(long, env = "PICTOR_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let ServeArgs { settings, log } = args;
    let filter =
        EnvFilter::try_new(&log).map_err(|cause| BadConfiguration(format!("--log {log}: {cause}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    settings.check()?;
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}: is something else there already?", settings.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    crate::serve(settings, Clock::system(), listener, shutdown).await
}

fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing what is being answered");
        shutdown.cancel();
    });
    Ok(())
}
