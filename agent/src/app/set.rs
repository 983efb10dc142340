//! `pictor-agent set`: a change by the running agent where there is one, else in the file alone.

use std::{
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use anyhow::{Context, anyhow};
use reqwest::{Method, StatusCode};

use super::{
    link::{self, Link},
    settings::ProgramsChange,
};
use crate::{
    config::{self, CONFIG_DEFAULT, RunFlags},
    settings::{Applied, Settings},
};

/// A rename asks the registry.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Which setting, such as economics.price_per_kwh
    #[arg(requires = "value")]
    pub key: Option<String>,
    /// What it becomes; "" goes back to the default
    #[arg(allow_hyphen_values = true)]
    pub value: Option<String>,
    #[arg(long, env = "PICTOR_CONFIG", value_name = "FILE", help = format!("The worker's config file [default: {CONFIG_DEFAULT}]"))]
    pub config: Option<PathBuf>,
    /// The data folder of the agent that runs with it, as `run` was told
    #[arg(long, env = "PICTOR_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Changes a setting, or lists them.
pub async fn set(flags: Flags) -> anyhow::Result<()> {
    let path = config::path_of(flags.config.as_deref())?;
    let settings = Settings::of_file(path.clone());
    let (Some(key), Some(value)) = (flags.key, flags.value) else { return list(&settings) };
    let applied = match of_running(&path, flags.data, &key, &value).await? {
        Some(applied) => applied,
        None => settings.set(&key, &value).await.map_err(|error| anyhow!(error.explained()))?,
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

/// By the agent that runs with this file, which takes it over at once; `None` where none does.
async fn of_running(
    path: &Path,
    data: Option<PathBuf>,
    key: &str,
    value: &str,
) -> anyhow::Result<Option<Applied>> {
    let flags = RunFlags { config: Some(path.to_owned()), data, ..RunFlags::default() };
    // The agent looks at it from another folder.
    let config = absolute(path)?;
    let change = ProgramsChange { config, key: key.to_owned(), value: value.to_owned() };
    let client = link::client(TIMEOUT)?;
    for link in Link::candidates(&config::data_of(&flags)?) {
        let answer = match link.call(&client, Method::POST, "/app/settings").json(&change).send().await {
            Ok(answer) => answer,
            // One that was killed leaves its link.
            Err(error) if error.is_connect() => continue,
            Err(error) => return Err(error).context("the agent does not say whether it made the change"),
        };
        match answer.status() {
            StatusCode::OK => return Ok(Some(answer.json().await?)),
            StatusCode::UNPROCESSABLE_ENTITY => return Err(anyhow!(answer.text().await?)),
            // Another agent's, or one of another start.
            _ => {}
        }
    }
    Ok(None)
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
