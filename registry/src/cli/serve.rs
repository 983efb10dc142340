//! `pictor-registry serve`.

use anyhow::Context;
use clap::Args;
use pictor_telemetry::{Service, TelemetryArgs};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{BadConfiguration, Settings};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    telemetry: TelemetryArgs,
}

const SERVICE: Service = Service { name: "pictor-registry", version: env!("CARGO_PKG_VERSION") };

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let ServeArgs { settings, telemetry } = args;
    let telemetry = telemetry.start(&SERVICE).map_err(|bad| BadConfiguration(bad.to_string()))?;
    let served = serve(settings).await;
    tokio::task::spawn_blocking(|| telemetry.stop()).await?;
    served
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
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
