//! What the machine's owner wants of the worker here: kept on disk, for a pause must outlast a restart.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use pictor_ground::durable;
use pictor_protocol::DesiredState;
use tokio::sync::Notify;

use crate::slots::Slots;

/// The one place where this machine's own pause is changed.
#[derive(Debug)]
pub struct Pause {
    file: PathBuf,
    slots: Arc<Slots>,
    /// Rings the heartbeat.
    news: Arc<Notify>,
    turn: Mutex<()>,
}

impl Pause {
    /// As it was left.
    pub fn open(data: &Path, slots: Arc<Slots>, news: Arc<Notify>) -> Pause {
        let file = data.join("pause");
        let kept = fs::read_to_string(&file).ok();
        let here = kept.and_then(|word| word.trim().parse().ok()).unwrap_or(DesiredState::Active);
        slots.set_desired_here(here);
        Pause { file, slots, news, turn: Mutex::default() }
    }

    pub fn desired(&self) -> DesiredState {
        self.slots.desired_here()
    }

    /// One change at a time, so that the file says what holds. It holds at once; the error says that it will not outlast a restart.
    pub fn set(&self, desired: DesiredState) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.slots.set_desired_here(desired) {
            self.news.notify_one();
        }
        durable::write(&self.file, format!("{desired}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pictor_blender::Device;

    #[test]
    fn a_pause_outlasts_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let opened = || {
            let slots = Arc::new(Slots::new(vec![Device::Cpu]));
            Pause::open(folder.path(), slots, Arc::default())
        };
        assert_eq!(opened().desired(), DesiredState::Active);
        opened().set(DesiredState::Paused).unwrap();
        assert_eq!(opened().desired(), DesiredState::Paused);
        opened().set(DesiredState::Active).unwrap();
        assert_eq!(opened().desired(), DesiredState::Active);
    }
}
