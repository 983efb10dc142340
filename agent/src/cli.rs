//! What each command of `pictor-agent` does.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::CommandFactory;
use pictor_telemetry::Service;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    app::terminal,
    blender::sandbox,
    config::{self, Cli, Command, Config, DoctorFlags, RunFlags},
    desktop, doctor, idle, import,
    process::Requests,
    settings,
    update::{self, Ended, command::UpdateFlags},
};
#[cfg(windows)]
use crate::{job_object, service};

/// What still blocks a thread after a clean end is not waited for any longer.
pub(crate) const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// As releases are numbered.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(crate) const SERVICE: Service = Service { name: "pictor-agent", version: VERSION };

/// Does what the command line says.
pub fn execute(Cli { telemetry, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(flags) => {
            bind_children()?;
            set_up_tls();
            let telemetry = telemetry.start(&SERVICE)?;
            let result = update::or_go_back(|| on_runtime(run(flags)));
            telemetry.stop();
            result?.proceed()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(flags) => {
            become_owner(&flags.run)?;
            bind_children()?;
            telemetry.log()?;
            set_up_tls();
            on_runtime(examine(flags))
        }
        Command::App(flags) => {
            bind_children()?;
            set_up_tls();
            let telemetry = telemetry.start(&SERVICE)?;
            let result = desktop::app(&flags);
            telemetry.stop();
            result
        }
        Command::Status(flags) => {
            telemetry.log()?;
            set_up_tls();
            on_runtime(async move {
                let data = config::data_of(&flags.run)?;
                terminal::show(&data, flags.watch, flags.json).await.map(|()| ExitCode::SUCCESS)
            })
        }
        Command::Set(flags) => {
            telemetry.log()?;
            set_up_tls();
            on_runtime(async move { settings::set(flags).await.map(|()| ExitCode::SUCCESS) })
        }
        Command::IdleGuard(args) => idle::guard(&args),
        Command::Update(flags) => {
            become_owner(&flags.run)?;
            telemetry.log()?;
            set_up_tls();
            on_runtime(update_self(flags))
        }
        Command::SelfCheck(flags) => {
            telemetry.log()?;
            Config::load(&flags)?;
            update::command::self_check()
        }
        // Before any thread is started: its limits and filters bind the thread that sets them.
        Command::Sandbox(args) => {
            telemetry.log()?;
            sandbox::run_inner(args).map(|never| match never {})
        }
        Command::Manual(args) => {
            pictor_manual::write(SERVICE.name, SERVICE.version, &Cli::command(), &args)
                .context("cannot write the manual")?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(windows)]
        Command::Service(flags) => {
            bind_children()?;
            service::execute(&telemetry, flags)
        }
        Command::Import(flags) => {
            telemetry.log()?;
            set_up_tls();
            on_runtime(async move { import::import(flags).await.map(|()| ExitCode::SUCCESS) })
        }
    }
}

/// A config file names programs to run, so root reads another user's as that user.
#[cfg(unix)]
fn become_owner(flags: &RunFlags) -> anyhow::Result<()> {
    use std::os::unix::{fs::MetadataExt, process::CommandExt};

    let path = config::path_of(flags.config.as_deref())?;
    let Ok(metadata) = std::fs::metadata(&path) else { return Ok(()) };
    if !config::is_root() || metadata.uid() == 0 {
        return Ok(());
    }
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).uid(metadata.uid()).gid(metadata.gid());
    // What is root's default is not that user's.
    again.env("PICTOR_CONFIG", &path).env("PICTOR_DATA", config::data_of(flags)?);
    Err(again.exec()).with_context(|| format!("cannot continue as the owner of {}", path.display()))
}

/// Nobody else can do that here.
#[cfg(windows)]
fn become_owner(_: &RunFlags) -> anyhow::Result<()> {
    Ok(())
}

pub(crate) fn set_up_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS is set up already");
    }
}

pub(crate) fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// What this process starts ends with it, however it ends. On Linux each sandbox and guard sees to that.
fn bind_children() -> anyhow::Result<()> {
    #[cfg(windows)]
    job_object::enter(&job_object::Bounds { lets_go: true, ..job_object::Bounds::default() })
        .context("cannot enter a job object")?;
    Ok(())
}

async fn run(flags: RunFlags) -> anyhow::Result<Ended> {
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    crate::run(&flags, shutdown).await
}

/// SIGTERM, Ctrl-C and their like stop the agent, and the second time at once.
pub(crate) fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut requests = Requests::listen()?;
    let stop = stop.clone();
    tokio::spawn(async move {
        requests.next().await;
        tracing::info!("stopping; a second signal stops at once");
        stop.cancel();
        requests.next().await;
        std::process::exit(1);
    });
    Ok(())
}

async fn update_self(flags: UpdateFlags) -> anyhow::Result<ExitCode> {
    update::command::update(Config::load(&flags.run)?, flags.check).await
}

async fn examine(flags: DoctorFlags) -> anyhow::Result<ExitCode> {
    let config = Config::load(&flags.run);
    let healthy = doctor::examine(config, flags.json, flags.accept_gpus, flags.render).await?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
