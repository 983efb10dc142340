//! The size that the window had when it was last closed.

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
}

#[derive(Serialize, Deserialize)]
struct Kept {
    width: f64,
    height: f64,
}

impl Remembered {
    pub(super) fn of(folder: &Path) -> Remembered {
        Remembered { file: folder.join("window.json") }
    }

    pub(super) fn size(&self) -> LogicalSize<f64> {
        let kept = fs::read(&self.file).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let is_sound = |kept: &Kept| {
            (SMALLEST.width..LARGEST).contains(&kept.width)
                && (SMALLEST.height..LARGEST).contains(&kept.height)
        };
        kept.filter(is_sound).map_or(USUAL, |kept| LogicalSize::new(kept.width, kept.height))
    }

    pub(super) fn keep(&self, size: LogicalSize<f64>) {
        if let Err(error) = self.write(&Kept { width: size.width, height: size.height }) {
            tracing::debug!(%error, "the window's size is not remembered");
        }
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.file, serde_json::to_vec(kept)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_remembered_and_nonsense_is_not() {
        let home = tempfile::tempdir().unwrap();
        let remembered = Remembered::of(&home.path().join("state"));
        assert_eq!(remembered.size(), USUAL);
        let size = LogicalSize::new(900.0, 700.0);
        remembered.keep(size);
        assert_eq!(remembered.size(), size);
        remembered.keep(LogicalSize::new(1.0, 700.0));
        assert_eq!(remembered.size(), USUAL);
    }
}
