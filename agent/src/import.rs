//! `pictor-agent import`: installs a config file, downloaded or traded for an enrolment key, and keeps what the machine's owner had set.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use pictor_protocol::{EnrolRequest, WorkerConfig};
use toml_edit::{DocumentMut, Item};
use url::Url;

use crate::{
    config::{self, ConfigError, Identity, ImportFlags, RunFlags},
    durable, registry,
};

/// As the package names it.
const SERVICE: &str = "pictor-agent";

/// What is now installed.
#[derive(Debug)]
pub struct Imported {
    pub worker: Identity,
    /// Whether a file was there, whose settings were kept.
    pub had_file: bool,
    /// What of the file was left out: see [`OWNERS_ALONE`].
    pub left_out: Vec<String>,
}

/// Installs the file that was downloaded, or that an enrolment key is traded for.
pub async fn import(flags: ImportFlags) -> anyhow::Result<()> {
    let destination = config::path_of(flags.config.as_deref())?;
    let imported = match (&flags.file, &flags.enrol, &flags.registry) {
        (Some(file), ..) => {
            let text = fs::read_to_string(file)
                .map_err(|source| ConfigError::Unreadable { path: file.clone(), source })?;
            install(file, text, &destination)?
        }
        (None, Some(key), Some(registry)) => {
            // A machine that is a worker already stays it, so that a script may run this at every start.
            let existing = config::read(&destination).ok();
            if let Some(worker) = existing.and_then(|text| config::identity(&destination, &text).ok()) {
                let (name, file) = (worker.worker_name, destination.display());
                println!("This machine is worker {name} already, by {file}: the key was not used.");
                return Ok(());
            }
            enrol(key, registry, &destination).await?
        }
        _ => bail!("name the downloaded file, or a key with --enrol and its --registry"),
    };
    for key in &imported.left_out {
        println!("{key} was left out: if it is to count, write it into this machine's own file.");
    }
    let WorkerConfig { worker_name, worker_id, .. } = &imported.worker.0;
    println!("Worker {worker_name} ({worker_id}) is set up in {}.", destination.display());
    if imported.had_file {
        println!("This machine's own settings in that file were kept. A running agent must be restarted.");
    }
    let option =
        flags.config.as_ref().map_or_else(String::new, |path| format!(" --config {}", path.display()));
    println!("Check the machine: pictor-agent doctor{option}");
    if flags.config.is_none() && is_service() {
        println!("Start rendering:   systemctl restart {SERVICE}");
    } else {
        println!("Start rendering:   pictor-agent run{option}");
    }
    Ok(())
}

/// Makes this machine the worker that the start's enrolment key is for, if it has one and is none yet.
pub async fn enrol_at_start(flags: &RunFlags) -> anyhow::Result<()> {
    if flags.enrol.is_none() {
        return Ok(());
    }
    let RunFlags { config, enrol, registry, .. } = flags.clone();
    import(ImportFlags { file: None, enrol, registry, config }).await
}

/// Trades a key for a worker and installs its file.
pub async fn enrol(key: &str, registry: &Url, destination: &Path) -> anyhow::Result<Imported> {
    // The key is spent on a worker only when its config can be kept.
    let folder = durable::folder_of(destination);
    let made = durable::make_private_folder(folder);
    made.and_then(|()| tempfile::tempfile_in(folder)).with_context(|| {
        format!("cannot write to {}: choose another place with --config FILE", folder.display())
    })?;
    let ask = EnrolRequest {
        key: key.to_owned(),
        hostname: hostname::get().ok().map(|name| name.to_string_lossy().into_owned()),
    };
    let worker = registry::enrol(registry, &ask).await.context("the key was not traded for a worker")?;
    let text = toml::to_string(&worker).context("the registry's answer is no config file")?;
    install(Path::new("the registry's answer"), text, destination)
}

/// Checks a file's text and writes it where the agent looks. `file` is what its errors name.
pub fn install(file: &Path, text: String, destination: &Path) -> anyhow::Result<Imported> {
    let worker = config::identity(file, &text)?;
    let (text, left_out) = without_owners_keys(file, text)?;
    config::check(file, &text)?;
    // Against a setting that is changed meanwhile. Where there is no folder yet, nobody can.
    let _lock = durable::lock_folder(durable::folder_of(destination)).ok();
    let existing = match config::read(destination) {
        Ok(existing) => Some(existing),
        Err(ConfigError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let merged = match &existing {
        Some(existing) => merge(file, &text, destination, existing)?,
        None => text,
    };
    config::check(destination, &merged)?;
    write(destination, &merged)?;
    Ok(Imported { worker: Identity(worker), had_file: existing.is_some(), left_out })
}

/// Whether a package of ours brought a service, which reads the file from the usual place.
fn is_service() -> bool {
    let units = ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"];
    let is_installed = |folder| Path::new(folder).join(SERVICE).with_extension("service").exists();
    config::is_root() && units.into_iter().any(is_installed)
}

/// What lets its writer run programs outside the sandbox is this machine's owner's to say, in its own file: whoever made
/// the downloaded one, or changed it on its way, would get to run them here.
/// Nor does it say where this machine's files are, or whom it lets in.
const OWNERS_ALONE: [(&str, &str); 13] = [
    ("agent", "app_listen"),
    ("agent", "data"),
    ("agent", "listen"),
    ("blender", "path"),
    ("idle", "command"),
    ("idle", "enabled"),
    ("metrics", "nvml_library"),
    ("metrics", "open"),
    ("metrics", "token_file"),
    ("sandbox", "bubblewrap"),
    ("sandbox", "mode"),
    ("sandbox", "uid"),
    ("update", "public_key"),
];

fn without_owners_keys(file: &Path, text: String) -> anyhow::Result<(String, Vec<String>)> {
    let mut new: DocumentMut = text.parse().with_context(|| format!("cannot read {}", file.display()))?;
    let mut left_out = Vec::new();
    for (table, key) in OWNERS_ALONE {
        let found = new.get_mut(table).and_then(Item::as_table_like_mut);
        if found.and_then(|table| table.remove(key)).is_some() {
            left_out.push(format!("`{key}` under [{table}]"));
        }
    }
    Ok((if left_out.is_empty() { text } else { new.to_string() }, left_out))
}

/// The new file, with the tables that the old one has in place of its own.
fn merge(file: &Path, text: &str, destination: &Path, existing: &str) -> anyhow::Result<String> {
    let mut merged: DocumentMut = text.parse().with_context(|| format!("cannot read {}", file.display()))?;
    let Ok(existing) = existing.parse::<DocumentMut>() else {
        bail!("{} exists and is no TOML: repair or remove it, then import again", destination.display());
    };
    for (key, item) in existing.iter().filter(|(_, item)| item.is_table_like()) {
        merged.insert(key, item.clone());
    }
    Ok(merged.to_string())
}

fn write(destination: &Path, text: &str) -> anyhow::Result<()> {
    let made = durable::make_private_folder(durable::folder_of(destination));
    made.and_then(|()| durable::write(destination, text.as_bytes())).with_context(|| {
        format!(
            "cannot write {}: choose another place with --config FILE, or run as a user who may",
            destination.display()
        )
    })
}
