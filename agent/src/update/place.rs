//! Where the agent's program lies, and how another one gets its place: whole or not at all.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use pictor_ground::{digest, durable, process};

use super::state::Release;

const NEXT: &str = ".next";
const PREVIOUS: &str = ".previous";
/// How copies begin that are not yet in their place.
const COPY: &str = ".pictor-agent-";
/// Another agent may be making one.
const COPY_AGE_MAX: Duration = Duration::from_secs(3600);
/// A program that was just written may be held open by a process that is about to become another.
pub(super) const BUSY_TRIES: u32 = 20;
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The installed program and its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    installed: PathBuf,
    /// Whether this process runs the neighbour that is on trial.
    is_next: bool,
}

/// Who replaces the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// It does so itself.
    Itself,
    /// Somebody else, in words.
    Other(String),
}

impl Keeper {
    pub fn other(self) -> Option<String> {
        match self {
            Keeper::Itself => None,
            Keeper::Other(why) => Some(why),
        }
    }
}

impl Place {
    /// Of the program that runs. To be called early: once it is replaced, its own path is gone.
    pub fn find() -> io::Result<Place> {
        Ok(Place::of(env::current_exe()?))
    }

    fn of(program: PathBuf) -> Place {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_suffix(NEXT) {
            Some(installed) if !installed.is_empty() => {
                Place { installed: program.with_file_name(installed), is_next: true }
            }
            _ => Place { installed: program, is_next: false },
        }
    }

    pub fn installed(&self) -> &Path {
        &self.installed
    }

    pub(super) fn is_next(&self) -> bool {
        self.is_next
    }

    /// Where a version lies while it is on trial.
    pub(super) fn next(&self) -> PathBuf {
        self.neighbour(NEXT)
    }

    /// The version before the installed one.
    pub(super) fn previous(&self) -> PathBuf {
        self.neighbour(PREVIOUS)
    }

    fn neighbour(&self, suffix: &str) -> PathBuf {
        let mut name = self.installed.file_name().map_or_else(OsString::new, OsString::from);
        name.push(suffix);
        self.installed.with_file_name(name)
    }

    /// Who replaces the program here.
    pub fn keeper(&self) -> Keeper {
        if !process::CAN_BECOME_ANOTHER {
            return Keeper::Other(
                "on Windows it does not replace itself: run the newer program's `service install`, or put it in this one's place".to_owned(),
            );
        }
        let is_of_system = self.installed.starts_with("/usr") && !self.installed.starts_with("/usr/local");
        if is_of_system {
            return Keeper::Other(
                "it was installed as a package: install the newer package, or run install.sh again"
                    .to_owned(),
            );
        }
        let Err(error) = tempfile::tempfile_in(durable::folder_of(&self.installed)) else {
            return Keeper::Itself;
        };
        let in_container = ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists());
        Keeper::Other(if in_container {
            "it is part of a container's image: pull the new image, and make the container again".to_owned()
        } else {
            format!(
                "this user cannot replace {} ({error}): whoever installed it updates it",
                self.installed.display()
            )
        })
    }

    /// Copies a verified program to where it can be tried. What is there afterwards is what was verified, or nothing new.
    pub(super) fn put_next(&self, from: &Path, release: &Release) -> io::Result<()> {
        let copy = self.copy(from)?;
        if !is(copy.path(), release)? {
            return Err(io::Error::other("the download changed while it was copied"));
        }
        persist(copy, &self.next())
    }

    /// Whether the program on trial is still what was verified.
    pub(super) fn next_is(&self, release: &Release) -> io::Result<bool> {
        match is(&self.next(), release) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other,
        }
    }

    /// Puts the program on trial in the installed one's place, and keeps that one.
    pub(super) fn install_next(&self) -> io::Result<()> {
        persist(self.copy(&self.installed)?, &self.previous())?;
        // From here on the new one is what starts, and not before.
        fs::rename(self.next(), &self.installed)?;
        durable::sync_folder(durable::folder_of(&self.installed))
    }

    /// Nothing waits there any more; nor do copies that a kill left half made.
    pub(super) fn tidy(&self) {
        let folder = fs::read_dir(durable::folder_of(&self.installed));
        let is_copy =
            |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(COPY.as_bytes());
        let is_old = |entry: &fs::DirEntry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > COPY_AGE_MAX))
        };
        let copies = folder.into_iter().flatten().flatten().filter(|entry| is_copy(entry) && is_old(entry));
        for left in copies.map(|entry| entry.path()).chain([self.next()]) {
            match fs::remove_file(&left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!("cannot remove {}: {error}", left.display());
                }
                _ => {}
            }
        }
    }

    /// A copy on disk, beside the installed program and with its permissions.
    fn copy(&self, from: &Path) -> io::Result<tempfile::NamedTempFile> {
        let folder = durable::folder_of(&self.installed);
        let mut copy = tempfile::Builder::new().prefix(COPY).tempfile_in(folder)?;
        io::copy(&mut File::open(from)?, &mut copy)?;
        copy.flush()?;
        copy.as_file().set_permissions(fs::metadata(&self.installed)?.permissions())?;
        copy.as_file().sync_all()?;
        Ok(copy)
    }
}

fn persist(copy: tempfile::NamedTempFile, to: &Path) -> io::Result<()> {
    // Closed first: a program that is open for writing cannot be started.
    copy.into_temp_path().persist(to)?;
    durable::sync_folder(durable::folder_of(to))
}

/// Whether a file is a release's program.
pub(super) fn is(file: &Path, release: &Release) -> io::Result<bool> {
    let file = File::open(file)?;
    if file.metadata()?.len() != release.size_bytes {
        return Ok(false);
    }
    Ok(digest::of(file)? == *release.sha256.as_bytes())
}

/// Becomes another program with the same arguments and the same process id; returns only when that fails.
pub(super) fn become_program(program: &Path) -> io::Error {
    let mut tries = 0;
    loop {
        let error = process::become_program(program);
        if error.kind() != io::ErrorKind::ExecutableFileBusy || tries == BUSY_TRIES {
            return error;
        }
        tries += 1;
        thread::sleep(BUSY_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(bytes: &[u8]) -> Release {
        Release {
            version: semver::Version::new(1, 0, 0),
            size_bytes: bytes.len() as u64,
            sha256: digest::of(bytes).unwrap().into(),
        }
    }

    #[test]
    fn a_program_on_trial_knows_whose_neighbour_it_is() {
        let installed = Place::of("/opt/pictor-agent".into());
        assert!(!installed.is_next());
        assert_eq!(installed.next(), Path::new("/opt/pictor-agent.next"));
        let next = Place::of("/opt/pictor-agent.next".into());
        assert_eq!((next.installed(), next.is_next()), (installed.installed(), true));
        assert!(!Place::of("/opt/.next".into()).is_next());
        assert!(
            matches!(Place::of("/usr/bin/pictor-agent".into()).keeper(), Keeper::Other(why) if why.contains("package"))
        );
    }

    #[test]
    fn a_program_is_put_whole_and_the_one_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path().join("pictor-agent"));
        assert_eq!(place.keeper(), Keeper::Itself);
        fs::write(place.installed(), "old").unwrap();
        let download = folder.path().join("download");
        fs::write(&download, "new").unwrap();
        place.put_next(&download, &release(b"another")).unwrap_err();
        assert!(!place.next().exists());
        assert!(!place.next_is(&release(b"new")).unwrap());
        place.put_next(&download, &release(b"new")).unwrap();
        assert!(place.next_is(&release(b"new")).unwrap());
        assert!(!place.next_is(&release(b"nex")).unwrap());
        place.install_next().unwrap();
        assert_eq!(fs::read_to_string(place.installed()).unwrap(), "new");
        assert_eq!(fs::read_to_string(place.previous()).unwrap(), "old");
        place.install_next().unwrap_err();
        assert_eq!(fs::read_to_string(place.installed()).unwrap(), "new");
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["download", "pictor-agent", "pictor-agent.previous"], "nothing half done stays");
    }
}
