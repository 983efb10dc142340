//! The `pictor-agent` program: reads flags, then hands over to the library.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use pictor_agent::{
    blender::sandbox,
    config::{Cli, Command, Config, ConfigError, DoctorFlags, RunFlags},
    doctor, import,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const BAD_CONFIGURATION: u8 = 78;
/// What still blocks a thread after a clean end is not waited for any longer.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&cli.log);
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let result = match cli.command {
        // Before any thread is started: its limits and filters bind the thread that sets them.
        Command::Sandbox(args) => sandbox::run_inner(args).map(|never| match never {}),
        Command::Import(flags) => import::import(&flags).map(|()| ExitCode::SUCCESS),
        Command::Run(flags) => on_runtime(run(flags)),
        Command::Doctor(flags) => on_runtime(examine(flags)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pictor-agent: {error:#}");
        let is_configuration = error.downcast_ref::<ConfigError>().is_some();
        if is_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
    })
}

fn on_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS is set up already");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

async fn run(flags: RunFlags) -> anyhow::Result<ExitCode> {
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
    pictor_agent::run(config, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

async fn examine(flags: DoctorFlags) -> anyhow::Result<ExitCode> {
    let config = Config::load(&flags.run);
    let healthy = doctor::examine(config, flags.json, flags.accept_gpus).await?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
