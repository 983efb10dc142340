//! What the window remembers: its size from start to start, and over a new version, whether it was hidden.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tao::dpi::LogicalSize;

const USUAL: LogicalSize<f64> = LogicalSize::new(1_080.0, 800.0);
pub(super) const SMALLEST: LogicalSize<f64> = LogicalSize::new(360.0, 360.0);
/// No screen is larger; a file that says so is wrong.
const LARGEST: f64 = 10_000.0;

#[derive(Debug)]
pub(super) struct Remembered {
    file: PathBuf,
    kept: Kept,
    process: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    width: f64,
    height: f64,
    /// While the app runs.
    #[serde(default)]
    process: Option<u32>,
    #[serde(default)]
    is_hidden: bool,
}

impl Remembered {
    /// A process's; a new version of the agent has the id of the one before.
    pub(super) fn of(folder: &Path, process: u32) -> Remembered {
        let file = folder.join("window.json");
        let kept = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let usual = Kept { width: USUAL.width, height: USUAL.height, process: None, is_hidden: false };
        let is_sound = |kept: &Kept| {
            (SMALLEST.width..LARGEST).contains(&kept.width)
                && (SMALLEST.height..LARGEST).contains(&kept.height)
        };
        Remembered { file, kept: kept.filter(is_sound).unwrap_or(usual), process }
    }

    pub(super) fn size(&self) -> LogicalSize<f64> {
        LogicalSize::new(self.kept.width, self.kept.height)
    }

    /// Where a new version took over from this process, whether its window was hidden.
    pub(super) fn was_hidden(&self) -> Option<bool> {
        (self.kept.process == Some(self.process)).then_some(self.kept.is_hidden)
    }

    pub(super) fn set_hidden(&mut self, is_hidden: bool) {
        (self.kept.process, self.kept.is_hidden) = (Some(self.process), is_hidden);
        self.write();
    }

    pub(super) fn set_size(&mut self, size: LogicalSize<f64>) {
        (self.kept.width, self.kept.height) = (size.width, size.height);
        self.write();
    }

    /// The app ends: whoever has this id later is somebody else.
    pub(super) fn end(&mut self) {
        self.kept.process = None;
        self.write();
    }

    fn write(&self) {
        let attempt = || -> io::Result<()> {
            if let Some(folder) = self.file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&self.file, serde_json::to_vec(&self.kept)?)
        };
        if let Err(error) = attempt() {
            tracing::debug!(%error, "the window is not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_remembered_and_nonsense_is_not() {
        let home = tempfile::tempdir().unwrap();
        let open = || Remembered::of(&home.path().join("state"), 7);
        assert_eq!(open().size(), USUAL);
        let size = LogicalSize::new(900.0, 700.0);
        open().set_size(size);
        assert_eq!(open().size(), size);
        open().set_size(LogicalSize::new(1.0, 700.0));
        assert_eq!(open().size(), USUAL);
    }

    #[test]
    fn a_new_version_of_the_same_process_stays_hidden() {
        let home = tempfile::tempdir().unwrap();
        let open = |process| Remembered::of(home.path(), process);
        let mut first = open(7);
        assert_eq!(first.was_hidden(), None);
        first.set_hidden(true);
        assert_eq!((open(7).was_hidden(), open(8).was_hidden()), (Some(true), None));
        first.set_hidden(false);
        assert_eq!(open(7).was_hidden(), Some(false));
        first.end();
        assert_eq!(open(7).was_hidden(), None);
    }
}
