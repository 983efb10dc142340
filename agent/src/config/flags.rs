//! What every command that is about one agent is told.

use std::{net::SocketAddr, path::PathBuf};

use url::Url;

/// Where the config file is, for people.
#[cfg(unix)]
pub const CONFIG_DEFAULT: &str = "/etc/pictor/worker.toml for root, else ~/.config/pictor/worker.toml";
#[cfg(unix)]
const DATA: &str = "/var/lib/pictor-agent for root and the service, else ~/.local/share/pictor-agent";
/// Where the config file is, for people.
#[cfg(windows)]
pub const CONFIG_DEFAULT: &str = r"%LOCALAPPDATA%\Pictor\worker.toml";
#[cfg(windows)]
const DATA: &str = r"%LOCALAPPDATA%\Pictor\agent";

#[derive(Debug, Clone, Default, clap::Args)]
pub struct RunFlags {
    #[arg(long, env = "PICTOR_CONFIG", value_name = "FILE", help = format!("The worker's config file [default: {CONFIG_DEFAULT}]"))]
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
