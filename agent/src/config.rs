//! The agent's configuration: flags over environment over file. Nothing else in the agent reads the environment.

mod flags;
mod places;

use std::{
    env, fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use pictor_protocol::{WorkerConfig, WorkerId, WorkerName};
use serde::Deserialize;
use url::Url;

pub use flags::{Cli, Command, DoctorFlags, ImportFlags, RunFlags, SetFlags, StatusFlags};
pub use places::{Session, is_root, opener, service_link_folder};
#[cfg(windows)]
pub use places::{in_folder, programs_folder, service_folder, system_folder};

use crate::{
    blender::{Limits, Places, sandbox},
    devices::DeviceChoice,
    economics, idle, update,
};

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9850);
const SCENE_CACHE_BYTES_DEFAULT: u64 = 20 << 30;
/// Faster than this, measuring costs more than it tells.
const INTERVAL_SECONDS_MIN: f64 = 0.1;

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
    blender: BlenderTable,
    #[serde(default)]
    sandbox: SandboxTable,
    #[serde(default)]
    metrics: MetricsTable,
    #[serde(default)]
    economics: economics::Table,
    #[serde(default)]
    idle: idle::Table,
    #[serde(default)]
    update: UpdateTable,
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlenderTable {
    path: Option<PathBuf>,
    #[serde(default)]
    device: DeviceChoice,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SandboxTable {
    #[serde(default)]
    mode: sandbox::Mode,
    bubblewrap: Option<PathBuf>,
    uid: Option<u32>,
    memory_bytes: Option<u64>,
    output_bytes: Option<u64>,
    file_bytes: Option<u64>,
    processes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsTable {
    nvml_library: Option<PathBuf>,
    gpu_interval_seconds: Option<f64>,
    gpu_idle_interval_seconds: Option<f64>,
    #[serde(default)]
    pcie_throughput: bool,
    #[serde(default)]
    gpu_processes: bool,
    #[serde(default)]
    dcgm_names: bool,
    host_interval_seconds: Option<f64>,
    token_file: Option<PathBuf>,
    #[serde(default)]
    open: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateTable {
    enabled: Option<bool>,
    public_key: Option<String>,
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
    pub metrics: MetricsConfig,
    pub economics: economics::Settings,
    pub idle: idle::Settings,
    pub update: update::Settings,
}

/// Whose work this is and where it comes from. Its `Debug` form hides the token.
#[derive(Clone)]
pub struct Identity(pub WorkerConfig);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.worker_id).field(&self.0.registry.as_str()).finish()
    }
}

#[derive(Debug, Clone)]
pub struct MetricsConfig {
    pub nvml_library: Option<PathBuf>,
    pub gpu_interval: Duration,
    /// Once no GPU has had anything to do for a while.
    pub gpu_idle_interval: Duration,
    pub pcie_throughput: bool,
    pub gpu_processes: bool,
    pub dcgm_names: bool,
    pub host_interval: Duration,
    pub access: MetricsAccess,
}

/// Who may read `/metrics`.
#[derive(Clone, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever reaches the listener: it is on loopback, or its owner said so.
    Anyone,
    /// Who shows this bearer token.
    Bearer(String),
}

impl fmt::Debug for MetricsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetricsAccess::Anyone => "Anyone",
            MetricsAccess::Bearer(_) => "Bearer",
        })
    }
}

impl Config {
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
        let agent = env::current_exe()
            .map_err(|source| ConfigError::Unreadable { path: "/proc/self/exe".into(), source })?;
        let mut sandbox_settings = sandbox::Settings::new(file.sandbox.mode, agent);
        #[cfg(windows)]
        {
            sandbox_settings.system = places::system();
        }
        if let Some(bubblewrap) = file.sandbox.bubblewrap {
            sandbox_settings.bubblewrap = bubblewrap;
        }
        if let Some(uid) = file.sandbox.uid {
            sandbox_settings.first_identity = uid;
        }
        let usual = Limits::default();
        let limits = Limits {
            memory_bytes: file.sandbox.memory_bytes.or(usual.memory_bytes),
            output_bytes: file.sandbox.output_bytes.unwrap_or(usual.output_bytes),
            file_bytes: file.sandbox.file_bytes.unwrap_or(usual.file_bytes),
            processes: file.sandbox.processes.unwrap_or(usual.processes),
            wall: usual.wall,
        };
        let update = file.update.settings(&path)?;
        let mut table = file.metrics;
        table.token_file = flags.metrics_token_file.clone().or(table.token_file);
        let access = table.access(&path, listen)?;
        let metrics = table.config(&path, access)?;
        Ok(Config {
            identity: Identity(worker),
            listen,
            app_listen: flags.app_listen.or(file.agent.app_listen).filter(|app| *app != listen),
            link_folder: places::link_folder(&data),
            data,
            scene_cache_bytes: file.agent.scene_cache_bytes.unwrap_or(SCENE_CACHE_BYTES_DEFAULT),
            places: Places {
                configured: flags.blender.clone().or(file.blender.path),
                search_path: env::var_os("PATH"),
                home: places::home(),
            },
            blender_is_given: flags.blender.is_some(),
            device: file.blender.device,
            sandbox: sandbox_settings,
            limits,
            metrics,
            economics,
            idle,
            update,
            path,
        })
    }
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
    file.metrics.config(path, MetricsAccess::Anyone)?;
    file.update.settings(path).map(drop)
}

/// Refuses flags that no imported config file can go with: who may read `/metrics` is not a downloaded file's to say.
pub fn check_flags(flags: &RunFlags, path: &Path) -> Result<(), ConfigError> {
    let table = MetricsTable { token_file: flags.metrics_token_file.clone(), ..MetricsTable::default() };
    table.access(path, flags.listen.unwrap_or(LISTEN_DEFAULT)).map(drop)
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
    if file.sandbox.uid == Some(0) {
        return Err(value("`uid` under [sandbox] is root, whom no sandbox holds"));
    }
    Ok(file)
}

impl UpdateTable {
    fn settings(&self, path: &Path) -> Result<update::Settings, ConfigError> {
        update::Settings::new(self.enabled, self.public_key.as_deref())
            .map_err(|message| ConfigError::Value { path: path.to_owned(), message })
    }
}

impl MetricsTable {
    fn config(self, path: &Path, access: MetricsAccess) -> Result<MetricsConfig, ConfigError> {
        let interval = |key: &str, seconds: Option<f64>, usual: f64| {
            let seconds = seconds.unwrap_or(usual);
            if (INTERVAL_SECONDS_MIN..=3600.0).contains(&seconds) {
                Ok(Duration::from_secs_f64(seconds))
            } else {
                let message =
                    format!("`{key}` under [metrics] is {seconds}; it can be {INTERVAL_SECONDS_MIN} to 3600");
                Err(ConfigError::Value { path: path.to_owned(), message })
            }
        };
        Ok(MetricsConfig {
            nvml_library: self.nvml_library.or_else(places::nvml_library),
            gpu_interval: interval("gpu_interval_seconds", self.gpu_interval_seconds, 1.0)?,
            gpu_idle_interval: interval("gpu_idle_interval_seconds", self.gpu_idle_interval_seconds, 10.0)?,
            pcie_throughput: self.pcie_throughput,
            gpu_processes: self.gpu_processes,
            dcgm_names: self.dcgm_names,
            host_interval: interval("host_interval_seconds", self.host_interval_seconds, 1.0)?,
            access,
        })
    }

    fn access(&self, path: &Path, listen: SocketAddr) -> Result<MetricsAccess, ConfigError> {
        match &self.token_file {
            Some(token_file) => {
                let text = fs::read_to_string(token_file)
                    .map_err(|source| ConfigError::Unreadable { path: token_file.clone(), source })?;
                let token = text.trim();
                if token.is_empty() {
                    return Err(ConfigError::Value {
                        path: token_file.clone(),
                        message: "the token file is empty".to_owned(),
                    });
                }
                Ok(MetricsAccess::Bearer(token.to_owned()))
            }
            None if listen.ip().is_loopback() || self.open => Ok(MetricsAccess::Anyone),
            None => {
                let message = format!(
                    "{listen} can be reached from other machines: say --metrics-token-file FILE, or write \
                     `token_file = \"FILE\"` under [metrics], so that /metrics asks for the token in it, or \
                     `open = true` there to let anybody read it"
                );
                Err(ConfigError::Value { path: path.to_owned(), message })
            }
        }
    }
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
