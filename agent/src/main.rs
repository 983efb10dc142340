//! The `pictor-agent` program: reads flags, then hands over to the library.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use pictor_agent::{
    blender::sandbox,
    config::{Cli, Command, Config, ConfigError, DoctorFlags, RunFlags},
    doctor, import,
};
use pictor_telemetry::{BadSetting, Service, TelemetryArgs};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const BAD_CONFIGURATION: u8 = 78;
/// What still blocks a thread after a clean end is not waited for any longer.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

const SERVICE: Service = Service { name: "pictor-agent", version: env!("CARGO_PKG_VERSION") };

fn main() -> ExitCode {
    let Cli { telemetry, command } = Cli::parse();
    execute(&telemetry, command).unwrap_or_else(|error| {
        eprintln!("pictor-agent: {error:#}");
        let is_configuration = error.is::<ConfigError>() || error.is::<BadSetting>();
        if is_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
    })
}

fn execute(telemetry: &TelemetryArgs, command: Command) -> anyhow::Result<ExitCode> {
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
            import::import(&flags).map(|()| ExitCode::SUCCESS)
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
