//! Files that are on disk whole or not at all, also after a power cut, and for their owner only: who writes them, or,
//! when that is root, whose folder it is. So the service reads what `sudo pictor-agent import` wrote for it.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub use system::{
    append_private, can_write, lock_folder, make_private_folder, other_owner, remove_file, remove_folder,
    show_to_group, sync_folder,
};

/// Where a file lies; a bare name's is the current folder.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Puts a file in the place of what is there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, |file| system::give_to_owner_of(file, folder_of(path)))
}

/// Puts a file in the place of one that is there and belongs to the same afterwards, with the same rights.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path)?;
    put(path, bytes, |file| system::give_as(file, &before))
}

fn put(path: &Path, bytes: &[u8], prepare: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    prepare(file.as_file())?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    system::put_in_place(file, path)?;
    sync_folder(folder)
}

/// Makes a folder where there is none.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    system::give_folder_to_owner_of(path, folder_of(path))
}
