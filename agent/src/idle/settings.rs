//! `[idle]` of the config file: the owner's own program for GPUs that have no task.

use std::{ops::RangeInclusive, time::Duration};

use serde::Deserialize;

pub const AFTER_SECONDS_DEFAULT: u64 = 60;
pub const AFTER_SECONDS: RangeInclusive<u64> = 1..=86_400;

/// Runs a line.
pub(super) const SHELL: [&str; 2] = if cfg!(windows) { ["cmd.exe", "/C"] } else { ["/bin/sh", "-c"] };

/// A command with it is told its GPU's number, and sees all GPUs: what it is told would mean another one otherwise.
pub const GPU_INDEX: &str = "{gpu_index}";
/// What a command may say of its GPU.
const PLACEHOLDERS: [&str; 3] = [GPU_INDEX, "{gpu_uuid}", "{slot}"];

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(default)]
    enabled: bool,
    command: Option<Command>,
    after_seconds: Option<u64>,
}

/// What is run on each GPU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a command line, or a list of a program and its arguments")]
pub enum Command {
    /// One line for the shell.
    Line(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

/// What was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `None` when there is nothing to run, or it is switched off.
    pub command: Option<Command>,
    /// How long a slot is idle before it runs.
    pub after: Duration,
}

/// What is started on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// It, then its arguments.
    pub words: Vec<String>,
    /// The only GPU that CUDA shows it, by its uuid, as number 0. `None`: CUDA shows it all of them, numbered as NVML
    /// numbers them, for it was told its GPU's number.
    pub only_gpu: Option<String>,
}

/// The GPU of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub slot: u32,
    pub index: u32,
    pub uuid: String,
}

impl Table {
    /// Checks the table; the error is for its owner.
    pub fn settings(self) -> Result<Settings, String> {
        if let Some(command) = &self.command {
            command.check()?;
        }
        if self.enabled && self.command.is_none() {
            return Err("`enabled` under [idle] needs a `command`: what is to run on an idle GPU".to_owned());
        }
        let after_seconds = self.after_seconds.unwrap_or(AFTER_SECONDS_DEFAULT);
        if !AFTER_SECONDS.contains(&after_seconds) {
            let (least, most) = AFTER_SECONDS.into_inner();
            return Err(format!(
                "`after_seconds` under [idle] is {after_seconds}; it can be {least} to {most}"
            ));
        }
        let command = self.command.filter(|_| self.enabled);
        Ok(Settings { command, after: Duration::from_secs(after_seconds) })
    }
}

impl Command {
    fn check(&self) -> Result<(), String> {
        let texts = self.texts();
        if texts.first().is_none_or(|text| text.trim().is_empty()) {
            return Err("`command` under [idle] is empty".to_owned());
        }
        if texts.iter().any(|text| text.contains('\0')) {
            return Err("`command` under [idle] has a character that no command can have".to_owned());
        }
        match texts.iter().find_map(|text| unknown_placeholder(text)) {
            Some(unknown) => Err(format!(
                "`command` under [idle] has {unknown}, which stands for nothing; there are {}",
                PLACEHOLDERS.join(", ")
            )),
            None => Ok(()),
        }
    }

    /// What to start on this GPU.
    pub fn of(&self, gpu: &Gpu) -> Program {
        let fill = |text: &String| {
            text.replace(GPU_INDEX, &gpu.index.to_string())
                .replace("{gpu_uuid}", &gpu.uuid)
                .replace("{slot}", &gpu.slot.to_string())
        };
        let words = match self {
            Command::Line(line) => SHELL.map(str::to_owned).into_iter().chain([fill(line)]).collect(),
            Command::Program(program) => program.iter().map(fill).collect(),
        };
        let is_numbered = self.texts().iter().any(|text| text.contains(GPU_INDEX));
        Program { words, only_gpu: (!is_numbered).then(|| gpu.uuid.clone()) }
    }

    fn texts(&self) -> &[String] {
        match self {
            Command::Line(line) => std::slice::from_ref(line),
            Command::Program(program) => program,
        }
    }
}

/// What looks like one of ours and is none. Other braces are the shell's, or the program's.
fn unknown_placeholder(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(start) = rest.find("{gpu") {
        let found = &rest[start..];
        let end = found.find('}')? + 1;
        if !PLACEHOLDERS.contains(&&found[..end]) {
            return Some(&found[..end]);
        }
        rest = &found[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        toml::from_str::<Table>(text).map_err(|error| error.message().to_owned())?.settings()
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, says) in [
            ("enabled = true", "needs a `command`"),
            ("command = []", "is empty"),
            ("command = ' '", "is empty"),
            ("command = [\"a\\u0000b\"]", "no command can have"),
            ("command = 7", "a command line, or a list"),
            ("command = ['/bin/miner', '--gpu={gpu_id}']", "{gpu_id}, which stands for nothing"),
            ("after_seconds = 0", "1 to 86400"),
            ("enabeld = true", "unknown field"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(settings("").unwrap(), Settings { command: None, after: Duration::from_secs(60) });
        assert_eq!(settings("command = 'miner'").unwrap().command, None, "it is off unless switched on");
    }

    #[test]
    fn a_command_is_told_its_gpu() {
        let gpu = Gpu { slot: 1, index: 3, uuid: "GPU-7".to_owned() };
        let command = |text: &str| {
            let Program { words, only_gpu } = settings(text).unwrap().command.unwrap().of(&gpu);
            (words, only_gpu)
        };
        assert_eq!(
            command(
                "enabled = true\ncommand = ['/bin/miner', '-d', '{gpu_index}', '{gpu_uuid}.{slot}', '{}']"
            ),
            (["/bin/miner", "-d", "3", "GPU-7.1", "{}"].map(str::to_owned).to_vec(), None)
        );
        assert_eq!(
            command("enabled = true\ncommand = 'miner -d {gpu_uuid} | tee ${HOME}/log'"),
            (
                ["/bin/sh", "-c", "miner -d GPU-7 | tee ${HOME}/log"].map(str::to_owned).to_vec(),
                Some("GPU-7".to_owned())
            ),
            "number 0 is its own, unless it is told another number"
        );
    }
}
