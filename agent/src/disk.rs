//! Free space: the one place that looks at it, and that knows how little is too little.

use std::path::{Path, PathBuf};

/// With less, the next scene or frame may not fit.
const DISK_FREE_BYTES_MIN: u64 = 256 << 20;
/// A few large scenes and their frames.
const DISK_FREE_BYTES_LOW: u64 = 5 << 30;

/// The disk under a folder, as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub folder: PathBuf,
    /// What an ordinary user can still write there; `None` where the system does not say.
    pub free_bytes: Option<u64>,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Too little for a task.
    None(u64),
    /// Soon too little.
    Low(u64),
    Enough(u64),
    Unknown,
}

impl Disk {
    /// Over a network this can take its time.
    pub fn look(folder: &Path) -> Disk {
        Disk { folder: folder.to_owned(), free_bytes: fs4::available_space(folder).ok() }
    }

    pub fn room(&self) -> Room {
        match self.free_bytes {
            Some(free) if free < DISK_FREE_BYTES_MIN => Room::None(free),
            Some(free) if free < DISK_FREE_BYTES_LOW => Room::Low(free),
            Some(free) => Room::Enough(free),
            None => Room::Unknown,
        }
    }

    /// How many bytes must be free before `bytes` more are written, where fewer are.
    pub fn needed_for(&self, bytes: u64) -> Option<u64> {
        let needed = bytes.saturating_add(DISK_FREE_BYTES_MIN);
        self.free_bytes.is_some_and(|free| free < needed).then_some(needed)
    }

    /// What to say where there is no room for a task.
    pub fn shortage(&self) -> Option<String> {
        let Room::None(free) = self.room() else { return None };
        Some(format!(
            "the disk is full: {} MB are free under {}, at least {} are needed. Make room, or choose another disk with --data",
            free >> 20,
            self.folder.display(),
            DISK_FREE_BYTES_MIN >> 20
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_exactly_where_it_has_no_room() {
        for (free, room) in [
            (Some(0), Room::None(0)),
            (Some(DISK_FREE_BYTES_MIN - 1), Room::None(DISK_FREE_BYTES_MIN - 1)),
            (Some(DISK_FREE_BYTES_MIN), Room::Low(DISK_FREE_BYTES_MIN)),
            (Some(DISK_FREE_BYTES_LOW), Room::Enough(DISK_FREE_BYTES_LOW)),
            (None, Room::Unknown),
        ] {
            let disk = Disk { folder: "/data".into(), free_bytes: free };
            assert_eq!(disk.room(), room);
            assert_eq!(disk.shortage().is_some(), matches!(room, Room::None(_)), "{room:?}");
            assert_eq!(disk.needed_for(0).is_some(), disk.shortage().is_some(), "{room:?}");
        }
    }
}
