//! Finds the Blender installations of this machine.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use semver::Version;
use tokio::process::Command;

/// A cold disk and a busy machine are slow; a program that is not Blender may never end.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

/// One Blender that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub version: Version,
    /// Canonical, so that the sandbox can bind what it names.
    pub path: PathBuf,
}

/// Where packages put it.
#[cfg(unix)]
const PROGRAMS: [&str; 4] = [
    "/usr/bin/blender",
    "/usr/local/bin/blender",
    "/snap/blender/current/blender",
    "/Applications/Blender.app/Contents/MacOS/Blender",
];
#[cfg(windows)]
const PROGRAMS: [&str; 0] = [];

/// What holds a folder for each version.
#[cfg(unix)]
const PARENTS: [&str; 1] = ["/opt"];
/// Other folders of this disk, any user may add to.
#[cfg(windows)]
const PARENTS: [&str; 1] = [r"C:\Program Files\Blender Foundation"];

/// Where to look. The environment's values come from the host's configuration.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// What the owner named. Only this one's absence is a failure.
    pub configured: Option<PathBuf>,
    /// `PATH`.
    pub search_path: Option<OsString>,
    pub home: Option<PathBuf>,
}

#[derive(Debug, Default)]
pub struct Detection {
    /// Newest first; of one version the place looked at first comes first.
    pub installed: Vec<Installed>,
    pub failed: Vec<Failed>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Failed {
    pub path: PathBuf,
    pub reason: String,
}

/// Runs every Blender it finds with `--version`.
pub async fn detect(places: &Places) -> Detection {
    let mut detection = Detection::default();
    let mut seen: Vec<PathBuf> = Vec::new();
    for candidate in candidates(places) {
        let path = match dunce::canonicalize(&candidate) {
            Ok(path) => path,
            Err(error) => {
                if places.configured.as_ref() == Some(&candidate) {
                    let reason = format!("the configured Blender cannot be opened: {error}");
                    detection.failed.push(Failed { path: candidate, reason });
                }
                continue;
            }
        };
        if seen.contains(&path) {
            continue;
        }
        match version_of(&path).await {
            Ok(version) => detection.installed.push(Installed { version, path: path.clone() }),
            Err(reason) => detection.failed.push(Failed { path: path.clone(), reason }),
        }
        seen.push(path);
    }
    detection.installed.sort_by(|a, b| b.version.cmp(&a.version));
    detection
}

fn candidates(places: &Places) -> Vec<PathBuf> {
    let program = if cfg!(windows) { "blender.exe" } else { "blender" };
    let mut found: Vec<PathBuf> = places.configured.iter().cloned().collect();
    if let Some(path) = &places.search_path {
        found.extend(std::env::split_paths(path).map(|folder| folder.join(program)));
    }
    found.extend(PROGRAMS.iter().map(PathBuf::from));
    for parent in PARENTS.iter().map(Path::new).chain(places.home.as_deref()) {
        found.extend(unpacked_in(parent).into_iter().map(|folder| folder.join(program)));
    }
    found
}

/// Folders named like a downloaded archive of Blender, in a stable order.
fn unpacked_in(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().to_lowercase().starts_with("blender"))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

async fn version_of(path: &Path) -> Result<Version, String> {
    let running = Command::new(path).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(VERSION_TIMEOUT, running)
        .await
        .map_err(|_| format!("`--version` gave no answer in {} s", VERSION_TIMEOUT.as_secs()))?
        .map_err(|error| format!("cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let said = text.lines().chain(errors.lines()).find(|line| !line.trim().is_empty());
        format!("`--version` named no version ({}): {}", output.status, said.unwrap_or("it said nothing"))
    })
}

/// `Blender 3.4.1`, `Blender 4.2.23 LTS`, `Blender 5.1.0 Alpha`, `Blender 2.79 (sub 0)`.
fn parse_version(text: &str) -> Option<Version> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Blender "))?;
    let number = line.split_whitespace().next()?;
    let mut parts = number.split('.').map(|part| part.parse::<u64>().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    let patch = parts.next().flatten().unwrap_or(0);
    Some(Version::new(major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_blender_prints_them() {
        for (text, version) in [
            ("Blender 3.4.1\n\tbuild date: 2023-01-23\n", (3, 4, 1)),
            ("Blender 4.2.23 LTS\n", (4, 2, 23)),
            ("found bundled python\nBlender 5.1.0 Alpha\n", (5, 1, 0)),
            ("Blender 2.79 (sub 0)\n", (2, 79, 0)),
        ] {
            assert_eq!(parse_version(text), Some(Version::new(version.0, version.1, version.2)));
        }
        for text in ["", "Blender\n", "Blender x.y\n", "bash: not found"] {
            assert_eq!(parse_version(text), None);
        }
    }
}
