//! The state of updates on disk, and whose turn it is to change it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use pictor_ground::durable;

use super::state::{Event, State};

/// The folder of updates, in the data folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// The right to change the state: the agent and `pictor-agent update` take turns.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: File,
}

impl Store {
    /// Of this data folder. Touches nothing.
    pub(super) fn at(data: &Path) -> Store {
        Store { folder: data.join("update") }
    }

    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        let made = durable::make_private_folder(&self.folder);
        made.with_context(|| format!("cannot write to {}", self.folder.display()))
    }

    /// Files of another user would be of no use to the agent.
    pub(super) fn is_ours(&self) -> anyhow::Result<()> {
        let data = durable::folder_of(&self.folder);
        if let Some(owner) = durable::other_owner(data) {
            bail!(
                "{} belongs to another user (id {owner}): run this as that user, such as with `sudo -u '#{owner}'`",
                data.display()
            );
        }
        Ok(())
    }

    /// Where a download lies until it is verified.
    pub(super) fn download(&self) -> PathBuf {
        self.folder.join("download")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits for the turn, a moment as a rule.
    pub(super) fn turn(&self) -> io::Result<Turn> {
        let lock = File::create(self.folder.join("lock"))?;
        lock.lock()?;
        Ok(Turn { _lock: lock })
    }

    /// Takes the turn if nobody has it.
    pub(super) fn try_turn(&self) -> io::Result<Option<Turn>> {
        let lock = File::create(self.folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Turn { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// What stands on disk. What cannot be read is as good as nothing: the agent has to start.
    pub(super) fn read(&self) -> State {
        let path = self.path();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::default(),
            text => text,
        };
        let state = text.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_str(&text)?));
        state.unwrap_or_else(|error| {
            tracing::error!("{} cannot be read ({error}): nothing is known of updates", path.display());
            State::default()
        })
    }

    /// Changes it, durably.
    pub(super) fn apply(&self, _turn: &Turn, event: Event) -> anyhow::Result<State> {
        let before = self.read();
        let after = before.clone().apply(event)?;
        if after != before {
            let path = self.path();
            let text = serde_json::to_vec_pretty(&after)?;
            durable::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(after)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.json")
    }
}
