//! Files that are on disk whole or not at all, also after a power cut, and for their owner only: who writes them, or,
//! when that is root, whose folder it is. So the service reads what `sudo pictor-agent import` wrote for it.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown},
    path::Path,
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
    let folder = folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file().set_permissions(Permissions::from_mode(0o600))?;
    if let Some((user, group)) = other_owner(folder)? {
        fchown(file.as_file(), Some(user), Some(group))?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // Without this a power cut can bring the old file back.
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
