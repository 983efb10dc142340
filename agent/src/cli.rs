//! What each command of `pictor-agent` does.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use pictor_telemetry::Service;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    blender::sandbox,
    config::{Cli, Command, Config, DoctorFlags, ImportFlags, RunFlags},
    doctor, import,
};

/// What still blocks a thread after a clean end is not waited for any longer.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

const SERVICE: Service = Service { name: "pictor-agent", version: env!("CARGO_PKG_VERSION") };

/// Does what the command line says.
pub fn execute(Cli { telemetry, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(flags) => {
            set_up_tls();
            let telemetry = telemetry.start(&SERVICE)?;
            let result = on_runtime(run(flags));
            telemetry.stop();
            result
        }
        Command::Doctor(flags) => {
            telemetry.log()?;
            set_up_tls();
            on_runtime(examine(flags))
        }
        // Before any thread is started: its limits and filters bind the thread that sets them.
        Command::Sandbox(args) => {
            telemetry.log()?;
            sandbox::run_inner(args).map(|never| match never {})
        }
        Command::Import(flags) => {
            telemetry.log()?;
            set_up_tls();
            on_runtime(async move { import::import(flags).await.map(|()| ExitCode::SUCCESS) })
        }
    }
}

fn set_up_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS is set up already");
    }
}

fn on_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

async fn run(flags: RunFlags) -> anyhow::Result<ExitCode> {
    if flags.enrol.is_some() {
        let RunFlags { config, enrol, registry, .. } = flags.clone();
        import::import(ImportFlags { file: None, enrol, registry, config }).await?;
    }
    let config = Config::load(&flags)?;
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping; a second signal stops at once");
        stop.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    crate::run(config, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

async fn examine(flags: DoctorFlags) -> anyhow::Result<ExitCode> {
    let config = Config::load(&flags.run);
    let healthy = doctor::examine(config, flags.json, flags.accept_gpus, flags.render).await?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
