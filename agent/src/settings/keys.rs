//! Which settings can be changed one by one, and what each can be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pictor_blender::Places;
use pictor_ground::process;
use pictor_protocol::WorkerName;
use toml_edit::{Array, Value};

use super::document::Place;
use crate::{idle, probe::Blenders};

/// A setting that its owner can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    WorkerName,
    BlenderPath,
    UpdateEnabled,
    PricePerKwh,
    Currency,
    IdleEnabled,
    IdleCommand,
    IdleAfterSeconds,
}

/// What stands in the file and is not the machine's owner's to change there, and why.
pub(super) const READ_ONLY: [(&str, &str); 3] = [
    ("registry", "is where this worker was made: import the config file of a worker made elsewhere"),
    ("worker_id", "is this worker's for good: import another worker's config file to be that one"),
    ("wallet_address", "is the account's: change it on the account's page in the console"),
];

impl Key {
    pub(super) const ALL: [Key; 8] = [
        Key::WorkerName,
        Key::BlenderPath,
        Key::UpdateEnabled,
        Key::PricePerKwh,
        Key::Currency,
        Key::IdleEnabled,
        Key::IdleCommand,
        Key::IdleAfterSeconds,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Key::WorkerName => "worker_name",
            Key::BlenderPath => "blender.path",
            Key::UpdateEnabled => "update.enabled",
            Key::PricePerKwh => "economics.price_per_kwh",
            Key::Currency => "economics.currency",
            Key::IdleEnabled => "idle.enabled",
            Key::IdleCommand => "idle.command",
            Key::IdleAfterSeconds => "idle.after_seconds",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Key::WorkerName => "What this worker is called, in the console too",
            Key::BlenderPath => "The Blender to use; else the newest one found",
            Key::UpdateEnabled => "Whether the agent updates itself",
            Key::PricePerKwh => "What a kilowatt-hour costs",
            Key::Currency => "Of that price: three letters, such as EUR",
            Key::IdleEnabled => "Whether your own command runs on GPUs that have no task",
            Key::IdleCommand => {
                "That command: a line for the shell, or a list in brackets. CUDA shows it its own GPU alone, as number 0; \
                 with {gpu_index} in it, which becomes the GPU's number, all of them"
            }
            Key::IdleAfterSeconds => "How long a GPU has no task before it runs",
        }
    }

    /// What holds when nothing is written.
    pub(super) fn default(self) -> Option<String> {
        match self {
            Key::UpdateEnabled => Some("true".to_owned()),
            Key::IdleEnabled => Some("false".to_owned()),
            Key::IdleAfterSeconds => Some(idle::AFTER_SECONDS_DEFAULT.to_string()),
            _ => None,
        }
    }

    pub(super) fn place(self) -> Place {
        match self.name().split_once('.') {
            Some((table, key)) => Place { table: Some(table), key },
            None => Place { table: None, key: self.name() },
        }
    }

    /// Understands what was typed; nothing is the default. The error is for who typed it.
    pub(super) fn value(self, text: &str) -> Result<Option<Value>, String> {
        let text = text.trim();
        if text.is_empty() && self != Key::WorkerName {
            return Ok(None);
        }
        let value = match self {
            Key::WorkerName => {
                let name: WorkerName = text.parse().map_err(|error| format!("{error}"))?;
                name.as_str().into()
            }
            Key::BlenderPath if !Path::new(text).is_absolute() => {
                return Err("write its whole path, such as /usr/bin/blender".to_owned());
            }
            Key::BlenderPath => text.into(),
            Key::UpdateEnabled | Key::IdleEnabled => switch(text)?.into(),
            Key::PricePerKwh => amount(text)?.into(),
            Key::Currency => currency(text)?.into(),
            Key::IdleCommand => command(text)?,
            Key::IdleAfterSeconds => seconds(text)?.into(),
        };
        Ok(Some(value))
    }

    /// Looks whether this machine has what the value names.
    pub(super) async fn look(self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Key::BlenderPath, Value::String(path)) => {
                let places = Places { configured: Some(path.value().into()), ..Places::default() };
                Blenders::look(&places).await.chosen.map(drop).map_err(|error| error.to_string())
            }
            (Key::IdleCommand, Value::Array(list)) => {
                let program = list.get(0).and_then(Value::as_str).map(PathBuf::from);
                program.filter(|program| program.components().count() > 1).map_or(Ok(()), |program| {
                    let is_file = fs::metadata(&program).is_ok_and(|file| file.is_file());
                    let is_program = is_file && process::can_run(&program);
                    let said = format!("{} is no program that this user can run", program.display());
                    if is_program { Ok(()) } else { Err(said) }
                })
            }
            _ => Ok(()),
        }
    }
}

/// A value as it is typed and shown.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.value().clone(),
        // Without the comments and line breaks that a list may have.
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Array>().to_string(),
        other => other.clone().decorated("", "").to_string(),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err(format!("{text} is neither true nor false")),
    }
}

fn amount(text: &str) -> Result<f64, String> {
    let number = text.replace(',', ".").parse::<f64>().ok();
    number
        .filter(|number| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| format!("{text} is not an amount: write a number such as 0.32"))
}

fn currency(text: &str) -> Result<String, String> {
    let code = text.to_ascii_uppercase();
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { Ok(code) } else { Err(format!("{text} is not a currency: write three letters such as EUR")) }
}

fn seconds(text: &str) -> Result<i64, String> {
    let (least, most) = idle::AFTER_SECONDS.into_inner();
    let number = text.parse::<u64>().ok().filter(|number| idle::AFTER_SECONDS.contains(number));
    number
        .and_then(|number| i64::try_from(number).ok())
        .ok_or_else(|| format!("{text} is not a time: write whole seconds, {least} to {most}"))
}

fn command(text: &str) -> Result<Value, String> {
    if !text.starts_with('[') {
        return Ok(text.into());
    }
    let list = text.parse::<Value>().ok();
    let list = list.filter(|list| {
        list.as_array().is_some_and(|list| list.iter().all(Value::is_str) && !list.is_empty())
    });
    list.ok_or_else(|| {
        "a list is a program and its arguments, each in quotes: [\"/path/program\", \"--gpu\", \"{gpu_index}\"]".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood_or_refused() {
        for (key, text, expected) in [
            (Key::WorkerName, " rack 1 ", Ok(Some("rack 1"))),
            (Key::WorkerName, "", Err("1 to 64 characters")),
            (Key::WorkerName, "a/b", Err("none of / and \\")),
            (Key::BlenderPath, "blender", Err("whole path")),
            (Key::BlenderPath, "/opt/blender/blender", Ok(Some("/opt/blender/blender"))),
            (Key::BlenderPath, "", Ok(None)),
            (Key::UpdateEnabled, "On", Ok(Some("true"))),
            (Key::IdleEnabled, "false", Ok(Some("false"))),
            (Key::IdleEnabled, "2", Err("neither true nor false")),
            (Key::PricePerKwh, "0,32", Ok(Some("0.32"))),
            (Key::PricePerKwh, "1", Ok(Some("1.0"))),
            (Key::PricePerKwh, "-1", Err("not an amount")),
            (Key::PricePerKwh, "inf", Err("not an amount")),
            (Key::PricePerKwh, "1e400", Err("not an amount")),
            (Key::PricePerKwh, " ", Ok(None)),
            (Key::Currency, "eur", Ok(Some("EUR"))),
            (Key::Currency, "€", Err("three letters")),
            (Key::IdleAfterSeconds, "90", Ok(Some("90"))),
            (Key::IdleAfterSeconds, "1.5", Err("whole seconds, 1 to 86400")),
            (Key::IdleAfterSeconds, "0", Err("1 to 86400")),
            (Key::IdleCommand, "miner -d {gpu_index}", Ok(Some("miner -d {gpu_index}"))),
            (Key::IdleCommand, "['/bin/a', # x\n \"-b\"]", Ok(Some("[\"/bin/a\", \"-b\"]"))),
            (Key::IdleCommand, "[1]", Err("each in quotes")),
            (Key::IdleCommand, "[", Err("each in quotes")),
        ] {
            let value = key.value(text);
            let value = value.as_ref().map(|value| value.as_ref().map(shown));
            match expected {
                Ok(expected) => assert_eq!(value.unwrap().as_deref(), expected, "{text}"),
                Err(says) => assert!(value.clone().unwrap_err().contains(says), "{text}: {value:?}"),
            }
        }
    }
}
