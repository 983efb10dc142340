//! `[sandbox]` of the config file: what a stranger's scene is shut into, and what it may use.

use std::path::PathBuf;

use serde::Deserialize;

use super::{sandbox, watch::Limits};

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(default)]
    mode: sandbox::Mode,
    bubblewrap: Option<PathBuf>,
    uid: Option<u32>,
    memory_bytes: Option<u64>,
    output_bytes: Option<u64>,
    file_bytes: Option<u64>,
    processes: Option<u64>,
}

impl Table {
    /// Fails with what is wrong.
    pub fn check(&self) -> Result<(), String> {
        match self.uid {
            Some(0) => Err("`uid` under [sandbox] is root, whom no sandbox holds".to_owned()),
            _ => Ok(()),
        }
    }

    /// `host` is this program, see [`crate::inner`].
    pub fn settings(&self, host: PathBuf) -> sandbox::Settings {
        let mut settings = sandbox::Settings::new(self.mode, host);
        if let Some(bubblewrap) = &self.bubblewrap {
            settings.bubblewrap.clone_from(bubblewrap);
        }
        if let Some(uid) = self.uid {
            settings.first_identity = uid;
        }
        settings
    }

    /// The time is each task's own.
    pub fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            memory_bytes: self.memory_bytes.or(usual.memory_bytes),
            output_bytes: self.output_bytes.unwrap_or(usual.output_bytes),
            file_bytes: self.file_bytes.unwrap_or(usual.file_bytes),
            processes: self.processes.unwrap_or(usual.processes),
            wall: usual.wall,
        }
    }
}
