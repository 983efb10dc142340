//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use pictor_manual::ManualArgs;
use pictor_telemetry::TelemetryArgs;
use url::Url;

use crate::{blender::sandbox, desktop, idle, update};

#[cfg(unix)]
const CONFIG: &str = "/etc/pictor/worker.toml for root, else ~/.config/pictor/worker.toml";
#[cfg(unix)]
const DATA: &str = "/var/lib/pictor-agent for root and the service, else ~/.local/share/pictor-agent";
#[cfg(windows)]
const CONFIG: &str = r"%LOCALAPPDATA%\Pictor\worker.toml";
#[cfg(windows)]
const DATA: &str = r"%LOCALAPPDATA%\Pictor\agent";

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
    Import(ImportFlags),
    /// Takes tasks, renders them, serves /metrics
    Run(RunFlags),
    /// Checks GPU, driver, Blender, sandbox, disk, registry and clock, and says what to do about each
    Doctor(DoctorFlags),
    /// Shows what the running agent does: slots, tasks, progress, what is wrong
    Status(StatusFlags),
    /// Opens the worker app: in a window of its own, or in the browser; starts the agent if none runs
    App(desktop::Flags),
    /// Changes one setting in the config file; without KEY, lists what can be changed
    Set(SetFlags),
    /// Keeps the owner's own program from outliving the agent; for the agent's own use
    #[command(hide = true)]
    IdleGuard(idle::GuardArgs),
    /// Makes a newer version ready; the agent tries it once no task runs, and goes back if it does not work
    Update(update::command::UpdateFlags),
    /// Says which version this is, if its config file can be read; for the agent's own use
    #[command(hide = true)]
    SelfCheck(RunFlags),
    /// The last step into the sandbox; for the agent's own use
    #[command(hide = true)]
    Sandbox(sandbox::InnerArgs),
    /// Runs the agent as a Windows service, started with the machine
    #[cfg(windows)]
    Service(crate::service::Flags),
    /// Writes shell completions and man pages to a folder; for those who make packages
    #[command(hide = true)]
    Manual(ManualArgs),
}

#[derive(Debug, clap::Args)]
pub struct ImportFlags {
    /// The downloaded file, pictor-worker-NAME.toml
    #[arg(required_unless_present = "enrol", conflicts_with = "enrol")]
    pub file: Option<PathBuf>,
    /// An enrolment key, traded for a worker of this machine's own, in place of a file
    #[arg(long, env = "PICTOR_ENROL_KEY", hide_env_values = true, value_name = "KEY", requires = "registry")]
    pub enrol: Option<String>,
    /// The registry that made the key
    #[arg(long, env = "PICTOR_REGISTRY", value_name = "URL")]
    pub registry: Option<Url>,
    #[arg(long, env = "PICTOR_CONFIG", value_name = "FILE", help = format!("Where it goes [default: {CONFIG}]"))]
    pub config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct SetFlags {
    /// Which setting, such as economics.price_per_kwh
    #[arg(requires = "value")]
    pub key: Option<String>,
    /// What it becomes; "" goes back to the default
    #[arg(allow_hyphen_values = true)]
    pub value: Option<String>,
    #[arg(long, env = "PICTOR_CONFIG", value_name = "FILE", help = format!("The worker's config file [default: {CONFIG}]"))]
    pub config: Option<PathBuf>,
    /// The data folder of the agent that runs with it, as `run` was told
    #[arg(long, env = "PICTOR_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub struct RunFlags {
    #[arg(long, env = "PICTOR_CONFIG", value_name = "FILE", help = format!("The worker's config file [default: {CONFIG}]"))]
    pub config: Option<PathBuf>,
    /// Where to serve /metrics [default: 127.0.0.1:9850]
    #[arg(long, env = "PICTOR_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where to serve the worker app [default: where /metrics is served]
    #[arg(long, env = "PICTOR_APP_LISTEN", value_name = "ADDRESS:PORT")]
    pub app_listen: Option<SocketAddr>,
    #[arg(long, env = "PICTOR_DATA", value_name = "DIR", help = format!("Folder for the scene cache and unsent results [default: {DATA}]"))]
    pub data: Option<PathBuf>,
    /// The Blender to use [default: the newest one found]
    #[arg(long, env = "PICTOR_BLENDER", value_name = "FILE")]
    pub blender: Option<PathBuf>,
    /// An enrolment key, traded for a worker of this machine's own if there is no config file yet
    #[arg(long, env = "PICTOR_ENROL_KEY", hide_env_values = true, value_name = "KEY", requires = "registry")]
    pub enrol: Option<String>,
    /// The registry that made the key
    #[arg(long, env = "PICTOR_REGISTRY", value_name = "URL")]
    pub registry: Option<Url>,
    /// /metrics asks for the bearer token in this file
    #[arg(long, env = "PICTOR_METRICS_TOKEN_FILE", value_name = "FILE")]
    pub metrics_token_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct DoctorFlags {
    #[command(flatten)]
    pub run: RunFlags,
    /// The result as JSON, for programs
    #[arg(long, env = "PICTOR_JSON")]
    pub json: bool,
    /// Expect the GPUs that are there now, and no longer those that were taken out
    #[arg(long, env = "PICTOR_ACCEPT_GPUS")]
    pub accept_gpus: bool,
    /// Render a frame on every slot, in the sandbox, and say how long it took and on what
    #[arg(long, env = "PICTOR_RENDER")]
    pub render: bool,
}

#[derive(Debug, clap::Args)]
pub struct StatusFlags {
    #[command(flatten)]
    pub run: RunFlags,
    /// Show it again every second, until Ctrl-C
    #[arg(long, env = "PICTOR_WATCH")]
    pub watch: bool,
    /// As JSON, for programs
    #[arg(long, env = "PICTOR_JSON")]
    pub json: bool,
}
