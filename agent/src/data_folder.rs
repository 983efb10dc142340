//! The data folder, which is one agent's at a time.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use pictor_ground::durable;

const LOCK: &str = "lock";
/// Who only looks whether a folder is taken is done in less.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// The data folder, which no other agent uses while this lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder and keeps other agents out of it.
    pub fn open(path: &Path) -> anyhow::Result<DataFolder> {
        let cannot_write = || {
            format!(
                "cannot write to {}: choose another folder with --data, or run as a user who may",
                path.display()
            )
        };
        let path = std::path::absolute(path).with_context(cannot_write)?;
        let made = durable::make_private_folder(&path);
        let lock = made.and_then(|()| File::create(path.join(LOCK))).with_context(cannot_write)?;
        while lock.try_lock().is_err() {
            // An agent lets nobody share it; who looks whether there is one does.
            if lock.try_lock_shared().is_err() {
                bail!("another agent uses {}: stop it, or choose another folder with --data", path.display());
            }
            lock.unlock().with_context(cannot_write)?;
            thread::sleep(LOOK_PAUSE);
        }
        // Only what nobody renders into any more.
        match durable::remove_folder(&path.join("render")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(cannot_write);
            }
            _ => {}
        }
        Ok(DataFolder { path, _lock: lock })
    }

    /// The folder at `path`: the one that is held, unless it is another one.
    pub fn held_or_open(held: Option<DataFolder>, path: &Path) -> anyhow::Result<DataFolder> {
        match held {
            Some(held) if std::path::absolute(path).is_ok_and(|path| path == held.path) => Ok(held),
            _ => DataFolder::open(path),
        }
    }

    /// Whether an agent holds it.
    pub fn is_taken(path: &Path) -> bool {
        File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock_shared().is_err())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn it_is_one_agents_and_a_look_does_not_keep_it_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        assert!(!DataFolder::is_taken(&path));
        let held = DataFolder::open(&path).unwrap();
        assert!(DataFolder::is_taken(&path));
        let error = DataFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains("another agent uses"), "{error}");
        let held = DataFolder::held_or_open(Some(held), &path).unwrap();
        let other = DataFolder::held_or_open(Some(held), &folder.path().join("other")).unwrap();
        assert!(!DataFolder::is_taken(&path));
        drop(other);

        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    DataFolder::is_taken(&path);
                }
            });
            let opened: Vec<_> = (0..300).map(|_| DataFolder::open(&path).map(drop)).collect();
            is_over.store(true, Ordering::Relaxed);
            assert!(opened.iter().all(Result::is_ok), "{:?}", opened.into_iter().find(Result::is_err));
        });
    }
}
