//! Owners and modes.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    path::Path,
};

use rustix::{
    fs::{Access, access},
    process::geteuid,
};
use tempfile::NamedTempFile;

/// Makes a folder for its owner alone, and the missing ones above it.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file to write at its end; a new one is for its owner alone.
pub fn append_private(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

pub fn remove_folder(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

pub(super) fn put_in_place(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path)?;
    Ok(())
}

/// Keeps others who ask for it from changing the files of a folder, while what it returns lives. Waits its turn.
pub fn lock_folder(folder: &Path) -> io::Result<File> {
    let lock = File::open(folder)?;
    lock.lock()?;
    Ok(lock)
}

/// Without this, a power cut can bring back what was in a file's place before.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether files can be put there.
pub fn can_write(folder: &Path) -> io::Result<()> {
    Ok(access(folder, Access::WRITE_OK)?)
}

/// Lets the members of the file's group read it: a service's, who may use its app.
pub fn show_to_group(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(0o640))
}

/// The user id of whom a file belongs to, if that is somebody else.
pub fn other_owner(path: &Path) -> Option<u32> {
    let owner = fs::metadata(path).ok()?.uid();
    (owner != geteuid().as_raw()).then_some(owner)
}

pub(super) fn give_to_owner_of(file: &File, folder: &Path) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o600))?;
    match to_give_to(folder)? {
        Some((user, group)) => fchown(file, Some(user), Some(group)),
        None => Ok(()),
    }
}

pub(super) fn give_as(file: &File, before: &Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    let other = |was: u32, is: u32| (was != is).then_some(was);
    let (owner, group) = (other(before.uid(), made.uid()), other(before.gid(), made.gid()));
    if owner.is_some() || group.is_some() {
        fchown(file, owner, group)?;
    }
    // Last: who may read it is never wider than it was.
    file.set_permissions(before.permissions())
}

pub(super) fn give_folder_to_owner_of(path: &Path, folder: &Path) -> io::Result<()> {
    match to_give_to(folder)? {
        Some((user, group)) => chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// User and group of a folder, for root in somebody else's.
fn to_give_to(folder: &Path) -> io::Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let metadata = fs::metadata(folder)?;
    Ok((metadata.uid() != 0).then(|| (metadata.uid(), metadata.gid())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{make_folder, replace, write};

    #[test]
    fn a_replaced_file_keeps_its_rights_and_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.toml");
        assert!(replace(&path, b"new").is_err(), "nothing is there to be replaced");
        write(&path, b"old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let is_root = geteuid().is_root();
        if is_root {
            chown(&path, Some(4_321), Some(4_322)).unwrap();
        }
        let before = fs::metadata(&path).unwrap();
        replace(&path, b"new").unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(after.mode() & 0o7777, 0o640);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert!(!is_root || after.uid() == 4_321);
        assert_ne!(after.ino(), before.ino(), "it was put in place whole");
    }

    /// A user id that nobody here has.
    const SERVICE: u32 = 64_123;

    #[test]
    fn what_root_writes_is_for_whom_the_folder_belongs_to() {
        let folder = tempfile::tempdir().unwrap();
        let is_root = geteuid().is_root();
        if is_root {
            chown(folder.path(), Some(SERVICE), Some(SERVICE)).unwrap();
        }
        let expected = fs::metadata(folder.path()).unwrap().uid();
        let (file, below) = (folder.path().join("file"), folder.path().join("below"));

        write(&file, b"a secret").unwrap();
        make_folder(&below).unwrap();

        let metadata = fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (expected, 0o600));
        assert_eq!(fs::metadata(&below).unwrap().uid(), expected);
    }
}
