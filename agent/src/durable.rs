//! Files that are on disk whole or not at all, also after a power cut, and for their owner only: who writes them, or,
//! when that is root, whose folder it is. So the service reads what `sudo pictor-agent import` wrote for it.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// Where a file lies; a bare name's is the current folder.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Puts a file in the place of what is there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, |file| {
        file.set_permissions(Permissions::from_mode(0o600))?;
        match other_owner(folder_of(path))? {
            Some((user, group)) => fchown(file, Some(user), Some(group)),
            None => Ok(()),
        }
    })
}

/// Puts a file in the place of one that is there and belongs to the same afterwards, with the same rights.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path)?;
    put(path, bytes, |file| {
        let made = file.metadata()?;
        let other = |was: u32, is: u32| (was != is).then_some(was);
        let (owner, group) = (other(before.uid(), made.uid()), other(before.gid(), made.gid()));
        if owner.is_some() || group.is_some() {
            fchown(file, owner, group)?;
        }
        // Last: who may read it is never wider than it was.
        file.set_permissions(before.permissions())
    })
}

/// Keeps others who ask for it from changing the files of a folder, while what it returns lives. Waits its turn.
pub fn lock_folder(folder: &Path) -> io::Result<File> {
    let lock = File::open(folder)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

fn put(path: &Path, bytes: &[u8], prepare: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    prepare(file.as_file())?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Without this, a power cut can bring back what was in a file's place before.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder where there is none.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    match other_owner(folder_of(path))? {
        Some((user, group)) => chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// User and group of a folder, for root in somebody else's.
fn other_owner(folder: &Path) -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let metadata = fs::metadata(folder)?;
    Ok((metadata.uid() != 0).then(|| (metadata.uid(), metadata.gid())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_rights_and_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.toml");
        assert!(replace(&path, b"new").is_err(), "nothing is there to be replaced");
        write(&path, b"old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&path, Some(4_321), Some(4_322)).unwrap();
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
        let is_root = rustix::process::geteuid().is_root();
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
