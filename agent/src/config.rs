//! The agent's configuration: flags over environment over file. Nothing else in the agent reads the environment. Each
//! table is its feature's own; here the file is read once, and each is handed what is its.

mod flags;
mod places;

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use pictor_blender::{Limits, Places, sandbox, settings};
use pictor_protocol::{WorkerConfig, WorkerId, WorkerName};
use serde::Deserialize;
use url::Url;

pub use flags::{CONFIG_DEFAULT, RunFlags};
pub use places::{Session, is_root, opener, service_link_folder, system_folder};
#[cfg(windows)]
pub use places::{in_folder, programs_folder, service_folder};

use crate::{
    collectors,
    devices::{self, DeviceChoice},
    economics, idle,
    probe::{self, Probe},
    registry::Identity,
    server::{AccessError, MetricsAccess},
    update,
};

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9850);
const SCENE_CACHE_BYTES_DEFAULT: u64 = 20 << 30;

/// Why there is no usable configuration. The agent exits with 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "there is no config file {}: download it from your worker's page in the console and run \
         `pictor-agent import FILE.toml`",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {message}", path.display())]
    Line { path: PathBuf, line: usize, message: String },
    #[error("{}: {message}", path.display())]
    Value { path: PathBuf, message: String },
    #[error("cannot tell where this user's files go, {home} is not set: name them with --{0}", home = places::HOME)]
    NoHome(&'static str),
}

/// The config file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    registry: Url,
    worker_id: WorkerId,
    worker_name: WorkerName,
    #[serde(default)]
    wallet_address: Option<String>,
    token: String,
    #[serde(default)]
    agent: AgentTable,
    #[serde(default)]
    blender: devices::Table,
    #[serde(default)]
    sandbox: settings::Table,
    #[serde(default)]
    metrics: collectors::settings::Table,
    #[serde(default)]
    economics: economics::Table,
    #[serde(default)]
    idle: idle::Table,
    #[serde(default)]
    update: update::Table,
}

impl File {
    fn worker(&self) -> WorkerConfig {
        WorkerConfig {
            registry: self.registry.clone(),
            worker_id: self.worker_id,
            worker_name: self.worker_name.clone(),
            wallet_address: self.wallet_address.clone(),
            token: self.token.clone(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentTable {
    listen: Option<SocketAddr>,
    app_listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    scene_cache_bytes: Option<u64>,
}

/// What of a config file can change while the agent runs.
#[derive(Debug)]
pub struct Changeable {
    pub identity: Identity,
    pub blender: Option<PathBuf>,
    pub economics: economics::Settings,
    pub idle: idle::Settings,
    pub update_enabled: Option<bool>,
}

/// Everything the agent was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    pub identity: Identity,
    pub listen: SocketAddr,
    /// Where the worker app is served; with /metrics unless named.
    pub app_listen: Option<SocketAddr>,
    pub data: PathBuf,
    /// Where local programs find the worker app's link.
    pub link_folder: PathBuf,
    pub scene_cache_bytes: u64,
    pub places: Places,
    /// Whether `--blender` named the one to use, so that the file's does not count.
    pub blender_is_given: bool,
    pub device: DeviceChoice,
    pub sandbox: sandbox::Settings,
    /// `wall` is each task's own.
    pub limits: Limits,
    pub metrics: collectors::Settings,
    /// Who may read them.
    pub metrics_access: MetricsAccess,
    pub economics: economics::Settings,
    pub idle: idle::Settings,
    pub update: update::Settings,
}

impl Config {
    /// Where to look to tell how this machine stands.
    pub fn probe(&self) -> Probe {
        let token = match &self.metrics_access {
            MetricsAccess::Anyone => None,
            MetricsAccess::Bearer(token) => Some(token.clone()),
        };
        let worker_id = self.identity.0.worker_id;
        Probe {
            config: self.path.clone(),
            worker: self.identity.clone(),
            agent: probe::Agent::At { listen: self.listen, token, worker_id },
            data: self.data.clone(),
            places: self.places.clone(),
            sandbox: self.sandbox.clone(),
            device: self.device,
            nvml_library: self.metrics.measured.nvml_library.clone(),
        }
    }

    pub fn load(flags: &RunFlags) -> Result<Config, ConfigError> {
        let path = path_of(flags.config.as_deref())?;
        let text = read(&path)?;
        places::warn_if_readable_by_others(&path);
        Config::of(flags, path, &text)
    }

    /// What a start with these flags would understand of a file of this text there.
    pub fn of(flags: &RunFlags, path: PathBuf, text: &str) -> Result<Config, ConfigError> {
        let file = parse(&path, text)?;
        let worker = file.worker();
        let listen = flags.listen.or(file.agent.listen).unwrap_or(LISTEN_DEFAULT);
        let Changeable { economics, idle, .. } = changeable(&path, text)?;
        let data = flags.data.clone().or(file.agent.data).map_or_else(places::default_data, Ok)?;
        let data = std::path::absolute(&data)
            .map_err(|source| ConfigError::Unreadable { path: data.clone(), source })?;
        let refused = |message| ConfigError::Value { path: path.clone(), message };
        let token_file = flags.metrics_token_file.as_ref().or(file.metrics.token_file.as_ref());
        let metrics_access = access(&path, token_file, file.metrics.open, listen)?;
        Ok(Config {
            identity: Identity(worker),
            listen,
            app_listen: flags.app_listen.or(file.agent.app_listen).filter(|app| *app != listen),
            link_folder: places::link_folder(&data),
            scene_cache_bytes: file.agent.scene_cache_bytes.unwrap_or(SCENE_CACHE_BYTES_DEFAULT),
            places: Places {
                configured: flags.blender.clone().or(file.blender.path),
                search_path: env::var_os("PATH"),
                home: places::home(),
            },
            blender_is_given: flags.blender.is_some(),
            device: file.blender.device,
            sandbox: isolation(&file.sandbox)?,
            limits: file.sandbox.limits(),
            metrics: file.metrics.settings(places::nvml_library()).map_err(refused)?,
            metrics_access,
            economics,
            idle,
            update: file.update.settings(data.clone(), path.clone()).map_err(refused)?,
            data,
            path,
        })
    }
}

/// What to isolate with: this program, and the folders of this system.
fn isolation(table: &settings::Table) -> Result<sandbox::Settings, ConfigError> {
    let agent = env::current_exe()
        .map_err(|source| ConfigError::Unreadable { path: "/proc/self/exe".into(), source })?;
    #[cfg_attr(not(windows), expect(unused_mut))]
    let mut settings = table.settings(agent);
    #[cfg(windows)]
    {
        settings.system = places::system();
    }
    Ok(settings)
}

fn access(
    path: &Path,
    token_file: Option<&PathBuf>,
    is_open: bool,
    listen: SocketAddr,
) -> Result<MetricsAccess, ConfigError> {
    MetricsAccess::of(token_file.map(PathBuf::as_path), is_open, listen).map_err(|error| match error {
        AccessError::Unreadable { file, source } => ConfigError::Unreadable { path: file, source },
        AccessError::Empty(ref file) => ConfigError::Value { path: file.clone(), message: error.to_string() },
        AccessError::Unsaid(_) => ConfigError::Value { path: path.to_owned(), message: error.to_string() },
    })
}

/// Reads a config file's text.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    })
}

/// Checks a config file's text and returns whose it is.
pub fn identity(path: &Path, text: &str) -> Result<WorkerConfig, ConfigError> {
    parse(path, text).map(|file| file.worker())
}

/// Checks a config file's text and returns what of it can change.
pub fn changeable(path: &Path, text: &str) -> Result<Changeable, ConfigError> {
    let file = parse(path, text)?;
    let refused = |message| ConfigError::Value { path: path.to_owned(), message };
    Ok(Changeable {
        identity: Identity(file.worker()),
        economics: file.economics.settings().map_err(refused)?,
        idle: file.idle.settings().map_err(refused)?,
        blender: file.blender.path,
        update_enabled: file.update.enabled,
    })
}

/// Refuses the text of a config file that [`Config::load`] would refuse, whatever the flags.
pub fn check(path: &Path, text: &str) -> Result<(), ConfigError> {
    changeable(path, text)?;
    let file = parse(path, text)?;
    let refused = |message| ConfigError::Value { path: path.to_owned(), message };
    file.metrics.settings(None).map_err(refused)?;
    file.update.key().map(drop).map_err(refused)
}

/// Refuses flags that no imported config file can go with: who may read `/metrics` is not a downloaded file's to say.
pub fn check_flags(flags: &RunFlags, path: &Path) -> Result<(), ConfigError> {
    let listen = flags.listen.unwrap_or(LISTEN_DEFAULT);
    access(path, flags.metrics_token_file.as_ref(), false, listen).map(drop)
}

fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let message =
            error.message().replace("unknown field", "unknown key").replace("missing field", "missing key");
        match error.span() {
            // A missing key has no line of its own.
            Some(span) if !message.starts_with("missing key") => {
                let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
                ConfigError::Line { path: path.to_owned(), line, message }
            }
            _ => ConfigError::Value { path: path.to_owned(), message },
        }
    })?;
    let value = |message: &str| ConfigError::Value { path: path.to_owned(), message: message.to_owned() };
    if !matches!(file.registry.scheme(), "http" | "https") || file.registry.host().is_none() {
        return Err(value("`registry` is not an http or https URL"));
    }
    if file.token.is_empty() || !file.token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(value("`token` is not an access token"));
    }
    file.sandbox.check().map_err(|message| value(&message))?;
    Ok(file)
}

/// The config file that was named, or the one where the platform keeps it.
pub fn path_of(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
    named.map_or_else(places::default_path, |path| Ok(path.to_owned()))
}

/// Where the agent of these flags keeps its data, without a config file too.
pub fn data_of(flags: &RunFlags) -> Result<PathBuf, ConfigError> {
    let configured = || {
        let path = path_of(flags.config.as_deref()).ok()?;
        parse(&path, &read(&path).ok()?).ok()?.agent.data
    };
    flags.data.clone().or_else(configured).map_or_else(places::default_data, Ok)
}

/// Where the worker app is served while there is no config file.
pub fn app_listen_of(flags: &RunFlags) -> SocketAddr {
    flags.app_listen.or(flags.listen).unwrap_or(LISTEN_DEFAULT)
}
