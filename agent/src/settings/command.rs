//! `pictor-agent set`.

use anyhow::bail;

use super::Settings;
use crate::config::{self, SetFlags};

/// Changes a setting, or lists them.
pub async fn set(flags: SetFlags) -> anyhow::Result<()> {
    let settings = Settings::of_file(flags.config.map_or_else(config::default_path, Ok)?);
    let (Some(key), Some(value)) = (flags.key, flags.value) else { return list(&settings) };
    let applied = match settings.set(&key, &value).await {
        Ok(applied) => applied,
        Err(error) => match error.to_write {
            Some(to_write) => bail!("{key}: {}\n\n{to_write}", error.message),
            None => bail!("{key}: {}", error.message),
        },
    };
    match applied.value {
        Some(value) => println!("{key} = {value}"),
        None => println!("{key} is the default again"),
    }
    if let Some(restart) = applied.restart {
        println!("Note: {restart}.");
    }
    Ok(())
}

fn list(settings: &Settings) -> anyhow::Result<()> {
    let current = settings.current()?;
    println!("{}", current.path.display());
    for setting in current.settings.into_iter().filter(|setting| !setting.read_only) {
        let value = setting.value.or(setting.default).unwrap_or_else(|| "not set".to_owned());
        println!("  {} = {value}\n      {}", setting.key, setting.about);
    }
    if let Some(unwritable) = current.unwritable {
        println!("{unwritable}");
    }
    Ok(())
}
