//! The command line, and what each command of `pictor-agent` does.

use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use pictor_manual::ManualArgs;
use pictor_telemetry::TelemetryArgs;
use tokio_util::sync::CancellationToken;

#[cfg(windows)]
use crate::service;
use crate::{
    app::{set, terminal},
    assembly,
    config::{self, Config, RunFlags},
    desktop, doctor, idle, import,
    program::{SERVICE, bind_children, on_runtime, set_up_tls, stop_on_signals},
    registry::Registry,
    update::{self, Ended},
};

/// Renders tasks of a render network, and exposes what this machine does to Prometheus.
#[derive(Debug, clap::Parser)]
#[command(version = env!("PICTOR_VERSION"), max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Installs a worker's config file, downloaded from the console or traded for an enrolment key
    Import(import::Flags),
    /// Takes tasks, renders them, serves /metrics
    Run(RunFlags),
    /// Checks GPU, driver, Blender, sandbox, disk, registry and clock, and says what to do about each
    Doctor(doctor::Flags),
    /// Shows what the running agent does: slots, tasks, progress, what is wrong
    Status(terminal::Flags),
    /// Opens the worker app: in a window of its own, or in the browser; starts the agent if none runs
    App(desktop::Flags),
    /// Changes one setting in the config file; without KEY, lists what can be changed
    Set(set::Flags),
    /// Keeps the owner's own program from outliving the agent; for the agent's own use
    #[command(hide = true)]
    IdleGuard(idle::GuardArgs),
    /// Makes a newer version ready; the agent tries it once no task runs, and goes back if it does not work
    Update(UpdateFlags),
    /// Says which version this is, if its config file can be read; for the agent's own use
    #[command(hide = true)]
    SelfCheck(RunFlags),
    /// Runs the agent as a Windows service, started with the machine
    #[cfg(windows)]
    Service(service::Flags),
    /// Writes shell completions and man pages to a folder; for those who make packages
    #[command(hide = true)]
    Manual(ManualArgs),
}

#[derive(Debug, clap::Args)]
pub struct UpdateFlags {
    #[command(flatten)]
    pub run: RunFlags,
    /// Only say whether there is a newer version
    #[arg(long, env = "PICTOR_CHECK")]
    pub check: bool,
}

/// Does what the command line says.
pub fn execute(Cli { telemetry, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(flags) => run(&telemetry, flags),
        Command::App(flags) => open_app(&telemetry, &flags),
        #[cfg(windows)]
        Command::Service(flags) => {
            bind_children()?;
            service::execute(&telemetry, flags)
        }
        Command::IdleGuard(args) => idle::guard(&args, config::system_folder().as_deref()),
        Command::Manual(args) => {
            pictor_manual::write(SERVICE.name, SERVICE.version, &Cli::command(), &args)
                .context("cannot write the manual")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(flags) => {
            become_owner(&flags.run)?;
            bind_children()?;
            telemetry.log()?;
            on_line(examine(flags))
        }
        Command::Update(flags) => {
            become_owner(&flags.run)?;
            telemetry.log()?;
            on_line(update_self(flags))
        }
        Command::SelfCheck(flags) => {
            telemetry.log()?;
            Config::load(&flags)?;
            update::command::self_check()
        }
        Command::Status(flags) => {
            telemetry.log()?;
            on_line(done(terminal::show(flags)))
        }
        Command::Set(flags) => {
            telemetry.log()?;
            on_line(done(set::set(flags)))
        }
        Command::Import(flags) => {
            telemetry.log()?;
            on_line(done(import::import(flags)))
        }
    }
}

fn run(telemetry: &TelemetryArgs, flags: RunFlags) -> anyhow::Result<ExitCode> {
    bind_children()?;
    set_up_tls();
    let telemetry = telemetry.start(&SERVICE)?;
    let result = update::or_go_back(|| on_runtime(run_until_signal(flags)));
    telemetry.stop();
    result?.proceed()?;
    Ok(ExitCode::SUCCESS)
}

async fn run_until_signal(flags: RunFlags) -> anyhow::Result<Ended> {
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    assembly::run(&flags, shutdown).await
}

fn open_app(telemetry: &TelemetryArgs, flags: &desktop::Flags) -> anyhow::Result<ExitCode> {
    bind_children()?;
    set_up_tls();
    let telemetry = telemetry.start(&SERVICE)?;
    let result = desktop::app(flags);
    telemetry.stop();
    result
}

/// What calls the registry or the running agent.
fn on_line(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    set_up_tls();
    on_runtime(work)
}

async fn done(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    work.await.map(|()| ExitCode::SUCCESS)
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

async fn update_self(flags: UpdateFlags) -> anyhow::Result<ExitCode> {
    let config = Config::load(&flags.run)?;
    let registry = Registry::new(&config.identity.0)?;
    update::command::update(config.update, registry, flags.check).await
}

async fn examine(flags: doctor::Flags) -> anyhow::Result<ExitCode> {
    let config = Config::load(&flags.run);
    let healthy = doctor::examine(config, flags.json, flags.accept_gpus, flags.render).await?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
