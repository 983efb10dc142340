//! Here a file's rights are those of its folder: a user's own, or what `service install` gave the service's.

use std::{
    fs::{self, File, Metadata},
    io,
    path::Path,
};

/// A folder cannot be locked; this file in it can.
const LOCK: &str = ".pictor-lock";

/// Makes a folder, and the missing ones above it.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
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
