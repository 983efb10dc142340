//! Where things are on this system, and what of its environment says so.

use std::path::PathBuf;

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

/// What the worker app asks of the session it is started in.
#[derive(Debug)]
pub struct Session {
    /// Whether there is a screen to open a window on.
    pub is_graphical: bool,
    /// This machine's address as the person on the other side of SSH calls it.
    pub ssh_address: Option<String>,
    pub user: Option<String>,
    /// With which the person's click may bring a window to the front.
    pub startup_id: Option<String>,
    /// For sockets that end with the session.
    pub runtime: PathBuf,
    /// What desktops start with the session.
    pub autostart: PathBuf,
    /// For what is worth remembering, and no loss.
    pub state: PathBuf,
}

/// Of an environment's variable, unless it is empty.
fn text(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

fn ssh_address() -> Option<String> {
    // Client's address and port, then the server's.
    text("SSH_CONNECTION").and_then(|line| line.split(' ').nth(2).map(str::to_owned))
}

/// A folder that an environment's variable names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(unix)]
mod unix {
    use std::{
        env, fs,
        os::unix::fs::MetadataExt,
        path::{Path, PathBuf},
    };

    use super::{Session, named, ssh_address, text};
    use crate::config::ConfigError;

    pub(in crate::config) const HOME: &str = "HOME";

    /// Where the config file is kept unless another one is named.
    pub(in crate::config) fn default_path() -> Result<PathBuf, ConfigError> {
        if is_root() {
            return Ok("/etc/pictor/worker.toml".into());
        }
        let folder = xdg("XDG_CONFIG_HOME", ".config").ok_or(ConfigError::NoHome("config"))?;
        Ok(folder.join("pictor/worker.toml"))
    }

    pub(in crate::config) fn default_data() -> Result<PathBuf, ConfigError> {
        // Set by systemd for a service with a folder of its own.
        if let Some(folder) = env::var_os("STATE_DIRECTORY") {
            return Ok(folder.into());
        }
        if is_root() {
            return Ok("/var/lib/pictor-agent".into());
        }
        Ok(xdg("XDG_DATA_HOME", ".local/share").ok_or(ConfigError::NoHome("data"))?.join("pictor-agent"))
    }

    /// What systemd made for this service, whose members may read it, or else the data folder.
    pub(in crate::config) fn link_folder(data: &Path) -> PathBuf {
        let named = env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        named.filter(|folder| folder.is_dir()).unwrap_or_else(|| data.to_owned())
    }

    /// Where the service of a package keeps the worker app's link.
    pub fn service_link_folder() -> Option<PathBuf> {
        Some("/run/pictor-agent".into())
    }

    /// What opens a link as the user has it set, and its arguments before the link.
    pub fn opener() -> (PathBuf, &'static [&'static str]) {
        ("xdg-open".into(), &[])
    }

    /// The loader finds it.
    pub(in crate::config) fn nvml_library() -> Option<PathBuf> {
        None
    }

    pub(in crate::config) fn home() -> Option<PathBuf> {
        named(HOME)
    }

    pub fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Programs here are found by their names.
    pub fn system_folder() -> Option<PathBuf> {
        None
    }

    pub(in crate::config) fn warn_if_readable_by_others(path: &Path) {
        if let Ok(metadata) = fs::metadata(path)
            && metadata.mode() & 0o077 != 0
        {
            let file = path.display();
            tracing::warn!(
                "{file} holds the worker's token and can be read by others: run `chmod 600 {file}`"
            );
        }
    }

    impl Session {
        pub fn of_environment() -> Result<Session, ConfigError> {
            let folder =
                |variable, under_home, what| xdg(variable, under_home).ok_or(ConfigError::NoHome(what));
            Ok(Session {
                is_graphical: text("DISPLAY").or_else(|| text("WAYLAND_DISPLAY")).is_some(),
                ssh_address: ssh_address(),
                user: text("USER").or_else(|| text("LOGNAME")),
                startup_id: text("DESKTOP_STARTUP_ID").or_else(|| text("XDG_ACTIVATION_TOKEN")),
                runtime: folder("XDG_RUNTIME_DIR", ".cache", "data")?.join("pictor-agent"),
                autostart: folder("XDG_CONFIG_HOME", ".config", "config")?.join("autostart"),
                state: folder("XDG_STATE_HOME", ".local/state", "data")?.join("pictor-agent"),
            })
        }
    }

    fn xdg(variable: &str, under_home: &str) -> Option<PathBuf> {
        named(variable).or_else(|| home().map(|home| home.join(under_home)))
    }
}

#[cfg(windows)]
mod windows {
    use std::{
        env,
        ffi::OsString,
        path::{Path, PathBuf},
    };

    use super::{Session, named, ssh_address, text};
    use crate::config::ConfigError;

    pub(in crate::config) const HOME: &str = "LOCALAPPDATA";

    /// Our folder among the user's own, or among all users' for the service.
    const FOLDER: &str = "Pictor";
    const FILE: &str = "worker.toml";
    const DATA: &str = "agent";

    pub(in crate::config) fn default_path() -> Result<PathBuf, ConfigError> {
        Ok(in_folder(&own_folder().ok_or(ConfigError::NoHome("config"))?).0)
    }

    pub(in crate::config) fn default_data() -> Result<PathBuf, ConfigError> {
        Ok(in_folder(&own_folder().ok_or(ConfigError::NoHome("data"))?).1)
    }

    /// This user's.
    fn own_folder() -> Option<PathBuf> {
        Some(named(HOME)?.join(FOLDER))
    }

    /// The service's.
    pub fn service_folder() -> Option<PathBuf> {
        Some(named("ProgramData")?.join(FOLDER))
    }

    /// Config file and data in a folder of ours.
    pub fn in_folder(folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join(FILE), folder.join(DATA))
    }

    pub(in crate::config) fn link_folder(data: &Path) -> PathBuf {
        data.to_owned()
    }

    /// Where the service keeps the worker app's link.
    pub fn service_link_folder() -> Option<PathBuf> {
        service_folder().map(|folder| in_folder(&folder).1)
    }

    /// What opens a link as the user has it set, and its arguments before the link.
    pub fn opener() -> (PathBuf, &'static [&'static str]) {
        let folder = system_folder().unwrap_or_default();
        (folder.join("rundll32.exe"), &["url.dll,FileProtocolHandler"])
    }

    /// By its whole path: of a bare name the current folder would be looked into first.
    pub(in crate::config) fn nvml_library() -> Option<PathBuf> {
        Some(system_folder()?.join("nvml.dll"))
    }

    /// Windows' own programs and libraries.
    pub fn system_folder() -> Option<PathBuf> {
        Some(named("SystemRoot")?.join("System32"))
    }

    /// Where programs for all users are.
    pub fn programs_folder() -> Option<PathBuf> {
        Some(named("ProgramFiles")?.join(FOLDER))
    }

    pub(in crate::config) fn home() -> Option<PathBuf> {
        named("USERPROFILE")
    }

    /// No user here is above all rules as root is.
    pub fn is_root() -> bool {
        false
    }

    /// A user's own folder is closed to others unless somebody opened it.
    pub(in crate::config) fn warn_if_readable_by_others(_: &Path) {}

    /// What names the system's own folders, for programs that get nothing else of the environment.
    pub(in crate::config) fn system() -> Vec<(OsString, OsString)> {
        const NAMES: [&str; 10] = [
            "SystemRoot",
            "SystemDrive",
            "windir",
            "ComSpec",
            "ProgramData",
            "ProgramFiles",
            "ProgramFiles(x86)",
            "CommonProgramFiles",
            "NUMBER_OF_PROCESSORS",
            "PROCESSOR_ARCHITECTURE",
        ];
        let value = |name: &str| env::var_os(name).map(|value| (OsString::from(name), value));
        let path = system_folder().map(|folder| ("PATH".into(), folder.into()));
        NAMES.into_iter().filter_map(value).chain(path).collect()
    }

    impl Session {
        pub fn of_environment() -> Result<Session, ConfigError> {
            let folder = own_folder().ok_or(ConfigError::NoHome("data"))?;
            let ssh_address = ssh_address();
            Ok(Session {
                is_graphical: ssh_address.is_none(),
                ssh_address,
                user: text("USERNAME"),
                startup_id: None,
                runtime: folder.clone(),
                autostart: folder.clone(),
                state: folder,
            })
        }
    }
}
