//! Which GPUs this machine has had, remembered across restarts: one that fell off the bus is missed, not forgotten.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use pictor_ground::durable;
use serde::{Deserialize, Serialize};

use super::{Missing, MissingGpu, sample::GpuSample};

const FILE: &str = "gpus.json";

/// A GPU as it was last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) uuid: String,
    pub(super) index: u32,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) minor: Option<u32>,
}

pub(super) struct Expected {
    path: PathBuf,
    gpus: Vec<Known>,
    is_stored: bool,
}

/// The GPUs that are there next are those expected from then on, also by an agent that is running.
pub fn forget(data: &Path) -> io::Result<()> {
    match fs::remove_file(data.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Those that are remembered and not there, with what is remembered of them.
pub fn remembered(data: &Path, visible: &[GpuSample]) -> Vec<GpuSample> {
    let known = Expected::open(data).gpus;
    let is_absent = |known: &Known| visible.iter().all(|gpu| gpu.uuid != known.uuid);
    let sample =
        |Known { uuid, index, name, minor }| GpuSample { uuid, index, name, minor, ..Default::default() };
    known.into_iter().filter(is_absent).map(sample).collect()
}

/// The same, as a running agent's findings name them.
pub fn missing(data: &Path, visible: &[GpuSample]) -> Vec<MissingGpu> {
    let missing = |gpu: GpuSample| MissingGpu { uuid: gpu.uuid, index: gpu.index, reason: Missing::Absent };
    remembered(data, visible).into_iter().map(missing).collect()
}

impl Expected {
    pub(super) fn open(data: &Path) -> Expected {
        let path = data.join(FILE);
        let gpus = match read(&path) {
            Ok(gpus) => gpus,
            Err(error) => {
                tracing::warn!("{error:#}: the GPUs there now are taken for all of them");
                None
            }
        };
        Expected { path, is_stored: gpus.is_some(), gpus: gpus.unwrap_or_default() }
    }

    /// In the order of their indexes.
    pub(super) fn gpus(&self) -> &[Known] {
        &self.gpus
    }

    /// Remembers the GPUs that are there.
    pub(super) fn see(&mut self, visible: &[GpuSample]) {
        if self.is_stored && !self.path.exists() {
            self.gpus.clear();
        }
        let before = self.gpus.clone();
        for gpu in visible {
            let known =
                Known { uuid: gpu.uuid.clone(), index: gpu.index, name: gpu.name.clone(), minor: gpu.minor };
            match self.gpus.iter_mut().find(|other| other.uuid == gpu.uuid) {
                Some(other) => {
                    let (name, minor) = (known.name.or(other.name.take()), known.minor.or(other.minor));
                    *other = Known { name, minor, ..known };
                }
                None => self.gpus.push(known),
            }
        }
        self.gpus.sort_by(|a, b| (a.index, &a.uuid).cmp(&(b.index, &b.uuid)));
        if self.gpus == before && (self.is_stored || self.gpus.is_empty()) {
            return;
        }
        match self.store() {
            Ok(()) => self.is_stored = true,
            Err(error) => {
                self.is_stored = false;
                tracing::warn!("cannot remember this machine's GPUs in {}: {error:#}", self.path.display());
            }
        }
    }

    fn store(&self) -> anyhow::Result<()> {
        durable::write(&self.path, &serde_json::to_vec_pretty(&self.gpus)?)?;
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<Known>>> {
    match fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is broken", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(uuid: &str, index: u32) -> GpuSample {
        GpuSample { uuid: uuid.to_owned(), index, ..GpuSample::default() }
    }

    fn uuids(expected: &Expected) -> Vec<&str> {
        expected.gpus().iter().map(|gpu| gpu.uuid.as_str()).collect()
    }

    #[test]
    fn gpus_are_expected_until_they_are_forgotten() {
        let data = tempfile::tempdir().unwrap();
        let mut expected = Expected::open(data.path());
        expected.see(&[gpu("b", 0), gpu("a", 1)]);
        assert_eq!(uuids(&expected), ["b", "a"]);

        let mut restarted = Expected::open(data.path());
        restarted.see(&[gpu("a", 0)]);
        assert_eq!(uuids(&restarted), ["a", "b"], "one is gone, and the other moved to its place");
        assert_eq!(uuids(&Expected::open(data.path())), ["a", "b"]);

        forget(data.path()).unwrap();
        restarted.see(&[gpu("a", 0)]);
        assert_eq!(uuids(&restarted), ["a"]);
        forget(data.path()).unwrap();
        forget(data.path()).unwrap();
    }

    #[test]
    fn what_was_known_of_a_gpu_stays_known() {
        let data = tempfile::tempdir().unwrap();
        let mut expected = Expected::open(data.path());
        expected.see(&[GpuSample { minor: Some(3), name: Some("A40".to_owned()), ..gpu("a", 0) }]);
        expected.see(&[gpu("a", 1)]);
        let [known] = remembered(data.path(), &[]).try_into().unwrap();
        assert_eq!((known.index, known.minor, known.name.as_deref()), (1, Some(3), Some("A40")));
    }

    #[test]
    fn what_could_not_be_stored_is_stored_later() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("later");
        let mut expected = Expected::open(&folder);
        expected.see(&[gpu("a", 0)]);
        fs::create_dir(&folder).unwrap();
        expected.see(&[gpu("a", 0)]);
        assert_eq!(uuids(&Expected::open(&folder)), ["a"]);
    }

    #[test]
    fn a_broken_file_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "[{").unwrap();
        let mut expected = Expected::open(data.path());
        assert!(expected.gpus().is_empty());
        expected.see(&[gpu("a", 0)]);
        assert_eq!(uuids(&Expected::open(data.path())), ["a"]);
    }
}
