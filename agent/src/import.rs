//! `pictor-agent import`: installs a config file, downloaded or traded for an enrolment key, and keeps what the machine's owner had set.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use pictor_ground::durable;
use pictor_protocol::{EnrolRequest, WorkerConfig, WorkerId};
use toml_edit::{DocumentMut, Item};
use url::Url;

use crate::{
    config::{self, CONFIG_DEFAULT, Config, ConfigError, RunFlags},
    registry,
    registry::Identity,
};

/// As the package names it.
const SERVICE: &str = "pictor-agent";

#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The downloaded file, pictor-worker-NAME.toml
    #[arg(required_unless_present = "enrol", conflicts_with = "enrol")]
    pub file: Option<PathBuf>,
    /// An enrolment key, traded for a worker of this machine's own, in place of a file
    #[arg(long, env = "PICTOR_ENROL_KEY", hide_env_values = true, value_name = "KEY", requires = "registry")]
    pub enrol: Option<String>,
    /// The registry that made the key
    #[arg(long, env = "PICTOR_REGISTRY", value_name = "URL")]
    pub registry: Option<Url>,
    #[arg(long, env = "PICTOR_CONFIG", value_name = "FILE", help = format!("Where it goes [default: {CONFIG_DEFAULT}]"))]
    pub config: Option<PathBuf>,
}

/// What is now installed.
#[derive(Debug)]
pub struct Imported {
    pub worker: Identity,
    /// Whether a file was there, whose settings were kept.
    pub had_file: bool,
    /// What of the file was left out: see [`OWNERS_ALONE`].
    pub left_out: Vec<String>,
}

/// Installs the file that was downloaded, or that an enrolment key is traded for, and says how to go on.
pub async fn import(flags: Flags) -> anyhow::Result<()> {
    let destination = config::path_of(flags.config.as_deref())?;
    let imported = match (&flags.file, &flags.enrol, &flags.registry) {
        (Some(file), ..) => import_file(file, &destination)?,
        (None, Some(key), Some(registry)) => {
            let Some(imported) = enrol_once(key, registry, &destination, None).await? else { return Ok(()) };
            imported
        }
        _ => bail!("name the downloaded file, or a key with --enrol and its --registry"),
    };
    if imported.had_file {
        println!("A running agent must be restarted.");
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

/// Installs the file that was downloaded, and says so.
pub fn import_file(file: &Path, destination: &Path) -> anyhow::Result<Imported> {
    let text = fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })?;
    let imported = install(file, text, destination)?;
    imported.tell(destination);
    Ok(imported)
}

/// Makes this machine the worker that the start's enrolment key is for, if it has one and is none yet.
pub async fn enrol_at_start(flags: &RunFlags) -> anyhow::Result<()> {
    let (Some(key), Some(registry)) = (&flags.enrol, &flags.registry) else { return Ok(()) };
    let destination = config::path_of(flags.config.as_deref())?;
    enrol_once(key, registry, &destination, Some(flags)).await.map(drop)
}

/// Leaves a machine that is a worker already as it is, so that a script may run this at every start. Says what it did.
async fn enrol_once(
    key: &str,
    registry: &Url,
    destination: &Path,
    start: Option<&RunFlags>,
) -> anyhow::Result<Option<Imported>> {
    let existing = config::read(destination).ok();
    if let Some(worker) = existing.and_then(|text| config::identity(destination, &text).ok()) {
        let (name, file) = (worker.worker_name, destination.display());
        println!("This machine is worker {name} already, by {file}: the key was not used.");
        return Ok(None);
    }
    let imported = enrol(key, registry, destination, start).await?;
    imported.tell(destination);
    Ok(Some(imported))
}

/// Trades a key for a worker and installs its file. `start`: the flags with which the agent starts then, if it does.
pub async fn enrol(
    key: &str,
    registry: &Url,
    destination: &Path,
    start: Option<&RunFlags>,
) -> anyhow::Result<Imported> {
    // The key is spent on a worker only when its config can be kept, and used.
    let folder = durable::folder_of(destination);
    let made = durable::make_private_folder(folder);
    made.and_then(|()| tempfile::tempfile_in(folder)).with_context(|| {
        format!("cannot write to {}: choose another place with --config FILE", folder.display())
    })?;
    let any_worker = WorkerConfig {
        registry: registry.clone(),
        worker_id: WorkerId::from_parts(0, [0; 10]),
        worker_name: "worker".parse().context("a worker cannot be named so")?,
        wallet_address: None,
        token: "token".to_owned(),
    };
    let (_, text) = prepare(Path::new("the enrolment"), toml::to_string(&any_worker)?, destination)?;
    if let Some(flags) = start {
        Config::of(flags, destination.to_owned(), &text)?;
    }
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
    // Against a setting that is changed meanwhile. Where there is no folder yet, nobody can.
    let _lock = durable::lock_folder(durable::folder_of(destination)).ok();
    let (imported, merged) = prepare(file, text, destination)?;
    write(destination, &merged)?;
    Ok(imported)
}

/// What would be installed, checked, and its text: this file's with what the machine's owner had set.
fn prepare(file: &Path, text: String, destination: &Path) -> anyhow::Result<(Imported, String)> {
    let worker = config::identity(file, &text)?;
    let (text, left_out) = without_owners_keys(file, text)?;
    config::check(file, &text)?;
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
    Ok((Imported { worker: Identity(worker), had_file: existing.is_some(), left_out }, merged))
}

impl Imported {
    fn tell(&self, destination: &Path) {
        for key in &self.left_out {
            println!("{key} was left out: if it is to count, write it into this machine's own file.");
        }
        let WorkerConfig { worker_name, worker_id, .. } = &self.worker.0;
        println!("Worker {worker_name} ({worker_id}) is set up in {}.", destination.display());
        if self.had_file {
            println!("This machine's own settings in that file were kept.");
        }
    }
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
