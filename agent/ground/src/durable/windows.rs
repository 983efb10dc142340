//! Here a file's rights are those of its folder: a user's own, or what `service install` gave the service's. And what
//! somebody has open cannot be removed or replaced.

use std::{
    fs::{self, File, Metadata},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_DIR_NOT_EMPTY, ERROR_SHARING_VIOLATION};

/// A folder cannot be locked; this file in it can.
const LOCK: &str = ".pictor-lock";
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// Makes a folder, and the missing ones above it.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Opens a file to write at its end.
pub fn append_private(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    patiently(|| fs::remove_file(path))
}

pub fn remove_folder(path: &Path) -> io::Result<()> {
    patiently(|| fs::remove_dir_all(path))
}

pub(super) fn put_in_place(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let (_, made) = file.keep()?;
    let placed = patiently(|| fs::rename(&made, path));
    if placed.is_err() {
        // What is left of a failure is no more than a file too many.
        let _ = fs::remove_file(&made);
    }
    placed
}

/// Tries again for a moment: who ends, or looks for viruses, has files open for a little longer.
fn patiently(attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && Instant::now() < until => thread::sleep(LOOK),
            result => return result,
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
    let in_use = [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_DIR_NOT_EMPTY];
    code.is_some_and(|code| in_use.contains(&code))
}

/// Keeps others who ask for it from changing the files of a folder, while what it returns lives. Waits its turn.
pub fn lock_folder(folder: &Path) -> io::Result<File> {
    let lock = File::create(folder.join(LOCK))?;
    lock.lock()?;
    Ok(lock)
}

/// NTFS writes the names in a folder through its journal, in order.
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether files can be put there: only an attempt tells.
pub fn can_write(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(drop)
}

/// Who may read the folder, may read the file.
pub fn show_to_group(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whose a file is does not say who may use it.
pub fn other_owner(_: &Path) -> Option<u32> {
    None
}

pub(super) fn give_to_owner_of(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn give_as(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

pub(super) fn give_folder_to_owner_of(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}
