//! `pictor-agent import`: installs a downloaded config file, and keeps what the machine's owner had set.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use anyhow::{Context, bail};
use toml_edit::DocumentMut;

use crate::{
    config::{self, ConfigError, ImportFlags},
    durable,
};

/// Checks the file, writes it where the agent looks, and says what to do next.
pub fn import(flags: &ImportFlags) -> anyhow::Result<()> {
    let text = fs::read_to_string(&flags.file)
        .map_err(|source| ConfigError::Unreadable { path: flags.file.clone(), source })?;
    let identity = config::identity(&flags.file, &text)?;
    let destination = flags.config.clone().map_or_else(config::default_path, Ok)?;
    let existing = match config::read(&destination) {
        Ok(existing) => Some(existing),
        Err(ConfigError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let merged = match &existing {
        Some(existing) => merge(&flags.file, &text, &destination, existing)?,
        None => text,
    };
    config::identity(&destination, &merged)?;
    write(&destination, &merged)?;
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
