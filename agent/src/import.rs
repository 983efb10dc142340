//! `pictor-agent import`: installs a config file, downloaded or traded for an enrolment key, and keeps what the machine's owner had set.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use anyhow::{Context, bail};
use pictor_protocol::EnrolRequest;
use toml_edit::{DocumentMut, Item};
use url::Url;

use crate::{
    config::{self, ConfigError, ImportFlags},
    durable, registry,
};

/// Installs the file that was downloaded, or that an enrolment key is traded for.
pub async fn import(flags: ImportFlags) -> anyhow::Result<()> {
    let destination = flags.config.clone().map_or_else(config::default_path, Ok)?;
    match (&flags.file, &flags.enrol, &flags.registry) {
        (Some(file), ..) => {
            let text = fs::read_to_string(file)
                .map_err(|source| ConfigError::Unreadable { path: file.clone(), source })?;
            install(file, text, &destination, &flags)
        }
        (None, Some(key), Some(registry)) => enrol(key, registry, &destination, &flags).await,
        _ => bail!("name the downloaded file, or a key with --enrol and its --registry"),
    }
}

/// A machine that is a worker already stays it, so that a script may run this at every start.
async fn enrol(key: &str, registry: &Url, destination: &Path, flags: &ImportFlags) -> anyhow::Result<()> {
    let existing = config::read(destination).ok();
    if let Some(worker) = existing.and_then(|text| config::identity(destination, &text).ok()) {
        let (name, file) = (worker.worker_name, destination.display());
        println!("This machine is worker {name} already, by {file}: the key was not used.");
        return Ok(());
    }
    // The key is spent on a worker only when its config can be kept.
    let folder = durable::folder_of(destination);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| tempfile::tempfile_in(folder)).with_context(|| {
        format!("cannot write to {}: choose another place with --config FILE", folder.display())
    })?;
    let ask = EnrolRequest {
        key: key.to_owned(),
        hostname: hostname::get().ok().map(|name| name.to_string_lossy().into_owned()),
    };
    let worker = registry::enrol(registry, &ask).await.context("the key was not traded for a worker")?;
    let text = toml::to_string(&worker).context("the registry's answer is no config file")?;
    install(Path::new("the registry's answer"), text, destination, flags)
}

/// Checks the file's text, writes it where the agent looks, and says what to do next.
fn install(file: &Path, text: String, destination: &Path, flags: &ImportFlags) -> anyhow::Result<()> {
    let identity = config::identity(file, &text)?;
    let text = without_release_key(file, text)?;
    let existing = match config::read(destination) {
        Ok(existing) => Some(existing),
        Err(ConfigError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let merged = match &existing {
        Some(existing) => merge(file, &text, destination, existing)?,
        None => text,
    };
    config::identity(destination, &merged)?;
    write(destination, &merged)?;
    println!(
        "Worker {} ({}) is set up in {}.",
        identity.worker_name,
        identity.worker_id,
        destination.display()
    );
    if existing.is_some() {
        println!("This machine's own settings in that file were kept. A running agent must be restarted.");
    }
    let option =
        flags.config.as_ref().map_or_else(String::new, |path| format!(" --config {}", path.display()));
    println!("Check the machine: pictor-agent doctor{option}");
    println!("Start rendering:   pictor-agent run{option}");
    Ok(())
}

/// Whose releases this machine runs is its owner's to say, in its own file: whoever made the downloaded one, or changed
/// it on its way, would get to run programs here.
fn without_release_key(file: &Path, text: String) -> anyhow::Result<String> {
    let mut new: DocumentMut = text.parse().with_context(|| format!("cannot read {}", file.display()))?;
    let table = new.get_mut("update").and_then(Item::as_table_like_mut);
    if table.and_then(|table| table.remove("public_key")).is_none() {
        return Ok(text);
    }
    println!(
        "`public_key` under [update] of {} was left out: if it is to count, write it into this machine's own file.",
        file.display()
    );
    Ok(new.to_string())
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
    let made = DirBuilder::new().recursive(true).mode(0o700).create(durable::folder_of(destination));
    made.and_then(|()| durable::write(destination, text.as_bytes())).with_context(|| {
        format!(
            "cannot write {}: choose another place with --config FILE, or run as a user who may",
            destination.display()
        )
    })
}
