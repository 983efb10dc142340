//! Changes single settings in the config file, for the worker app and for `pictor-agent set`: checked, written so that
//! comments stay, and taken over by the running agent where it can be.

mod document;
mod keys;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use pictor_blender::Places;
use pictor_ground::durable;
use pictor_protocol::WorkerName;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use toml_edit::{DocumentMut, Value};

use crate::{
    config::{self, Changeable, ConfigError},
    economics::Economics,
    idle,
    registry::{CallError, Registry},
};

use keys::{Key, READ_ONLY, shown};

/// Reads and changes the settings of one config file.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
    live: Option<Live>,
    /// One change at a time: the running agent takes them over in the order of the file.
    turn: Mutex<()>,
}

/// What a running agent takes over at once.
#[derive(Debug)]
pub struct Live {
    pub economics: Arc<Economics>,
    pub idle: watch::Sender<idle::Settings>,
    pub places: watch::Sender<Places>,
    /// Whether `--blender` named the one to use, so that the file's does not count.
    pub blender_is_given: bool,
    pub update_enabled: watch::Sender<bool>,
}

/// What the file says now.
#[derive(Debug, Clone, Serialize)]
pub struct Current {
    pub path: PathBuf,
    /// Why nothing can be changed here.
    pub unwritable: Option<String>,
    pub settings: Vec<Setting>,
}

/// One setting, as a field of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// As [`Settings::set`] takes it.
    pub key: &'static str,
    /// As it is typed; `None` when the file does not say.
    pub value: Option<String>,
    /// What holds then, where that is one value.
    pub default: Option<String>,
    pub about: &'static str,
    pub read_only: bool,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub key: String,
    /// As it stands in the file now; `None` for the default.
    pub value: Option<String>,
    /// What else is to be done before it counts.
    pub restart: Option<String>,
}

/// Why a setting was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    /// The key, to show the message at its field.
    pub field: String,
    pub message: String,
    /// What to write by hand where the file could not be written.
    pub to_write: Option<ToWrite>,
}

impl SettingError {
    /// With what to write by hand, for a terminal.
    pub fn explained(&self) -> String {
        let line = self.to_write.as_ref().map(|to_write| format!("\n\n{to_write}")).unwrap_or_default();
        format!("{}: {}{line}", self.field, self.message)
    }
}

/// A line of the config file. Its `Display` form has the table above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToWrite {
    pub path: PathBuf,
    /// Under this one; `None`: above all tables.
    pub table: Option<&'static str>,
    pub line: String,
}

impl fmt::Display for ToWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = self.table {
            writeln!(f, "[{table}]")?;
        }
        f.write_str(&self.line)
    }
}

impl Settings {
    /// Of a file alone, whether or not an agent runs with it.
    pub fn of_file(path: PathBuf) -> Settings {
        Settings { path, live: None, turn: Mutex::default() }
    }

    /// Of the running agent, whose file it is.
    pub fn of_agent(path: PathBuf, live: Live) -> Settings {
        Settings { path, live: Some(live), turn: Mutex::default() }
    }

    /// Everything that can be shown and changed, as the file says it now.
    pub fn current(&self) -> Result<Current, ConfigError> {
        let text = config::read(&self.path)?;
        config::changeable(&self.path, &text)?;
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            ConfigError::Value { path: self.path.clone(), message: error.message().to_owned() }
        })?;
        let fixed = READ_ONLY.map(|(key, why)| Setting {
            key,
            value: document.get(key).and_then(|item| item.as_value()).map(shown),
            default: None,
            about: why,
            read_only: true,
        });
        let changeable = Key::ALL.map(|key| Setting {
            key: key.name(),
            value: document::value(&document, key.place()).map(shown),
            default: key.default(),
            about: key.about(),
            read_only: false,
        });
        let folder = self.target();
        let folder = durable::folder_of(&folder);
        let unwritable = durable::can_write(folder).err();
        Ok(Current {
            path: self.path.clone(),
            unwritable: unwritable.map(|error| cannot_write(folder, &error)),
            settings: fixed.into_iter().chain(changeable).collect(),
        })
    }

    /// Changes one setting; an empty value goes back to the default.
    pub async fn set(&self, key: &str, value: &str) -> Result<Applied, SettingError> {
        let key = named(key)?;
        let refused = |message: String| refusal(key, message);
        let mut value = key.value(value).map_err(refused)?;
        let _turn = self.turn.lock().await;
        if let Some(value) = &value {
            key.look(value).await.map_err(refused)?;
        }
        // Whether the whole would be right, before anybody else is told of it.
        let (_, after) = self.preview(key, value.clone())?;
        let mut renamed = String::new();
        if key == Key::WorkerName {
            let name = rename(&after).await.map_err(refused)?;
            renamed = format!("the worker is called {name} at the registry now, but ");
            value = Some(name.as_str().into());
        }
        let after = self.write(key, value.clone(), &renamed).await?;
        Ok(Applied {
            key: key.name().to_owned(),
            value: value.as_ref().map(shown),
            restart: self.take_over(key, after),
        })
    }

    /// The file's text with the change, and what it then says.
    fn preview(&self, key: Key, value: Option<Value>) -> Result<(String, Changeable), SettingError> {
        let refused = |message: String| refusal(key, message);
        let before = config::read(&self.path).map_err(|error| refused(error.to_string()))?;
        let was = config::changeable(&self.path, &before).map_err(|error| {
            refused(format!("the config file has a mistake; correct that first: {error}"))
        })?;
        let is_removed = value.is_none();
        let text = document::changed(&before, key.place(), value)
            .map_err(|error| refused(error.message().to_owned()))?;
        let after = config::changeable(&self.path, &text).map_err(|error| match error {
            ConfigError::Value { .. } if key == Key::PricePerKwh && was.economics.currency.is_none() => {
                refused("choose the currency first, such as EUR: a price is in one".to_owned())
            }
            ConfigError::Value { .. } if key == Key::Currency && is_removed => {
                refused("take the prices out first: they are in this currency".to_owned())
            }
            ConfigError::Line { message, .. } | ConfigError::Value { message, .. } => refused(message),
            error => refused(error.to_string()),
        })?;
        Ok((text, after))
    }

    /// Puts the change into the file as it is now, whoever changed it meanwhile.
    async fn write(&self, key: Key, value: Option<Value>, renamed: &str) -> Result<Changeable, SettingError> {
        let target = self.target();
        let this = Settings::of_file(self.path.clone());
        let said = renamed.to_owned();
        let writing = tokio::task::spawn_blocking(move || {
            let failed = |error: &std::io::Error| {
                let place = key.place();
                let under = place.table.map_or(String::new(), |table| format!(" under [{table}]"));
                let (todo, to_write) = match &value {
                    Some(value) => {
                        (format!("write this line into it yourself{under}"), Some(this.to_write(key, value)))
                    }
                    None => (format!("take the line of `{}`{under} out of it yourself", place.key), None),
                };
                let cannot = cannot_write(&target, error);
                let message = format!("{said}{cannot}: {todo}, then restart the agent");
                SettingError { to_write, ..refusal(key, message) }
            };
            let _lock = durable::lock_folder(durable::folder_of(&target)).map_err(|error| failed(&error))?;
            let (text, after) = this.preview(key, value.clone())?;
            durable::replace(&target, text.as_bytes()).map_err(|error| failed(&error))?;
            Ok(after)
        });
        writing.await.map_err(|_| refusal(key, "the agent ends".to_owned()))?
    }

    /// Gives the running agent what it can take over; what is left to do otherwise.
    fn take_over(&self, key: Key, after: Changeable) -> Option<String> {
        const RESTART: &str = "an agent that runs takes it over when it is restarted";
        let live = match (&self.live, key) {
            // The heartbeat brings the new name.
            (_, Key::WorkerName) => return None,
            (None, _) => return Some(RESTART.to_owned()),
            (Some(live), _) => live,
        };
        match key {
            Key::WorkerName => None,
            Key::UpdateEnabled => {
                live.update_enabled.send_replace(after.update_enabled.unwrap_or(true));
                None
            }
            Key::PricePerKwh | Key::Currency => {
                live.economics.set(after.economics);
                None
            }
            Key::IdleEnabled | Key::IdleCommand | Key::IdleAfterSeconds => {
                live.idle.send_if_modified(|idle| {
                    let is_news = *idle != after.idle;
                    *idle = after.idle;
                    is_news
                });
                None
            }
            Key::BlenderPath if live.blender_is_given => Some(
                "the agent was started with --blender or PICTOR_BLENDER, which wins over the file".to_owned(),
            ),
            Key::BlenderPath => {
                live.places.send_modify(|places| places.configured = after.blender);
                None
            }
        }
    }

    /// The file itself, where the path is a link to it.
    fn target(&self) -> PathBuf {
        dunce::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    fn to_write(&self, key: Key, value: &Value) -> ToWrite {
        let place = key.place();
        ToWrite { path: self.path.clone(), table: place.table, line: document::line(place, value) }
    }
}

fn refusal(key: Key, message: String) -> SettingError {
    SettingError { field: key.name().to_owned(), message, to_write: None }
}

fn named(name: &str) -> Result<Key, SettingError> {
    let refused = |message| SettingError { field: name.to_owned(), message, to_write: None };
    if let Some(key) = Key::ALL.into_iter().find(|key| key.name() == name) {
        return Ok(key);
    }
    if let Some((key, why)) = READ_ONLY.into_iter().find(|(key, _)| *key == name) {
        return Err(refused(format!("`{key}` {why}")));
    }
    let names = Key::ALL.map(Key::name).join(", ");
    Err(refused(format!("`{name}` is no setting that can be changed here; there are {names}")))
}

/// Only the registry knows whether a name is free.
async fn rename(after: &Changeable) -> Result<WorkerName, String> {
    let worker = &after.identity.0;
    let registry = Registry::new(worker).map_err(|error| format!("{error:#}"))?;
    registry.rename(worker.worker_name.clone()).await.map_err(|error| match error {
        CallError::Refused { detail, .. } => detail,
        CallError::Retry { reason, .. } => {
            format!("the registry at {} cannot be asked ({reason}): the name stays as it was", registry.url())
        }
        error => error.to_string(),
    })
}

fn cannot_write(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written ({error})", path.display())
}
