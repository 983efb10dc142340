//! Checks what a sandboxed Blender left behind, outside the sandbox, before any of it is trusted.

use std::{
    fs::File,
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use image::{ImageFormat, ImageReader};
use sha2::{Digest, Sha256};

/// A picture of 8K in 16 bit RGBA takes half of this; a decompression bomb takes more.
const DECODED_BYTES_MAX: u64 = 512 << 20;

/// A frame that passed.
#[derive(Debug)]
pub struct Frame {
    pub path: PathBuf,
    /// The whole file, read once: what was checked is what is uploaded.
    pub bytes: Vec<u8>,
    pub sha256: [u8; 32],
    /// In pixels.
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("Blender wrote no {name}")]
    Missing { name: String },
    #[error("{name} is {what}, not a plain file")]
    NotAFile { name: String, what: &'static str },
    #[error("{name} has {links} names; a frame has one")]
    Linked { name: String, links: u64 },
    #[error("{name} is {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge { name: String, bytes: u64, bytes_max: u64 },
    #[error("{name} is not a whole PNG: {reason}")]
    NotAPicture { name: String, reason: String },
    #[error("{name} is {}x{}, not the {}x{} asked for", found.0, found.1, asked.0, asked.1)]
    WrongSize { name: String, found: (u32, u32), asked: (u32, u32) },
    #[error("cannot read {name}: {source}")]
    Io { name: String, source: std::io::Error },
}

/// Reads and checks the file `name` in the output folder: a plain file with one name, no larger than
/// `bytes_max`, that decodes as PNG and has the `asked` width and height. Never blocks on a pipe, never
/// follows a link. Reads and decodes at once: call it where blocking is allowed.
pub fn check(
    folder: &Path,
    name: &str,
    asked: Option<(u32, u32)>,
    bytes_max: u64,
) -> Result<Frame, OutputError> {
    let bytes = read_plain_file(folder, name, bytes_max)?;
    let (width, height) = decode(&bytes)
        .map_err(|error| OutputError::NotAPicture { name: name.to_owned(), reason: error.to_string() })?;
    match asked {
        Some(asked) if asked != (width, height) => {
            Err(OutputError::WrongSize { name: name.to_owned(), found: (width, height), asked })
        }
        _ => {
            let sha256 = Sha256::digest(&bytes).into();
            Ok(Frame { path: folder.join(name), bytes, sha256, width, height })
        }
    }
}

fn read_plain_file(folder: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, OutputError> {
    let file = open_plain_file(folder, name)?;
    let read_error = |source| OutputError::Io { name: name.to_owned(), source };
    let metadata = file.metadata().map_err(read_error)?;
    let too_large = |bytes| OutputError::TooLarge { name: name.to_owned(), bytes, bytes_max };
    if metadata.len() > bytes_max {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file can grow while it is read, so the bound is on the reading.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(read_error)?;
    let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if read > bytes_max { Err(too_large(read)) } else { Ok(bytes) }
}

#[cfg(unix)]
fn open_plain_file(folder: &Path, name: &str) -> Result<File, OutputError> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use rustix::fs::{Mode, OFlags};

    let io = |error: rustix::io::Errno| OutputError::Io { name: name.to_owned(), source: error.into() };
    let not_a_file = |what| OutputError::NotAFile { name: name.to_owned(), what };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty()).map_err(io)?;
    // NONBLOCK: opening a named pipe would wait for a writer that never comes.
    let opened = rustix::fs::openat(&folder, name, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty());
    let file = match opened {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Err(OutputError::Missing { name: name.to_owned() }),
        Err(rustix::io::Errno::LOOP) => return Err(not_a_file("a symbolic link")),
        // What opening a socket gives.
        Err(rustix::io::Errno::NXIO) => return Err(not_a_file("a socket")),
        Err(error) => return Err(io(error)),
    };
    let metadata = file.metadata().map_err(|source| OutputError::Io { name: name.to_owned(), source })?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        return Err(not_a_file(match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a named pipe",
            () => "a special file",
        }));
    }
    match metadata.nlink() {
        1 => Ok(file),
        links => Err(OutputError::Linked { name: name.to_owned(), links }),
    }
}

/// A second name is not noticed here: the standard library does not count them on Windows.
#[cfg(windows)]
fn open_plain_file(folder: &Path, name: &str) -> Result<File, OutputError> {
    use std::{io::ErrorKind, os::windows::fs::OpenOptionsExt};

    use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT};

    let io = |source| OutputError::Io { name: name.to_owned(), source };
    let not_a_file = |what| OutputError::NotAFile { name: name.to_owned(), what };
    // Links are opened themselves, not what they lead to; and folders, to say what they are.
    let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
    let file = match File::options().read(true).custom_flags(flags).open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(OutputError::Missing { name: name.to_owned() });
        }
        Err(error) => return Err(io(error)),
    };
    let kind = file.metadata().map_err(io)?.file_type();
    if kind.is_symlink() {
        Err(not_a_file("a link"))
    } else if kind.is_file() {
        Ok(file)
    } else {
        Err(not_a_file("a folder"))
    }
}

/// Decodes all of it: a truncated picture has a perfectly good header.
fn decode(bytes: &[u8]) -> image::ImageResult<(u32, u32)> {
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    reader.limits(limits);
    let picture = reader.decode()?;
    Ok((picture.width(), picture.height()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const BYTES_MAX: u64 = 1 << 20;

    fn folder_with_frame() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let picture = image::RgbaImage::from_fn(64, 36, |x, y| image::Rgba([x as u8, y as u8, 7, 255]));
        picture.save_with_format(folder.path().join("frame.png"), ImageFormat::Png).unwrap();
        folder
    }

    fn refused(folder: &tempfile::TempDir, name: &str) -> OutputError {
        check(folder.path(), name, None, BYTES_MAX).unwrap_err()
    }

    #[test]
    fn a_good_frame_passes_with_its_hash() {
        let folder = folder_with_frame();
        let frame = check(folder.path(), "frame.png", Some((64, 36)), BYTES_MAX).unwrap();
        let bytes = std::fs::read(folder.path().join("frame.png")).unwrap();
        assert_eq!(frame.bytes, bytes);
        assert_eq!(frame.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_eq!((frame.width, frame.height), (64, 36));
        assert!(matches!(
            check(folder.path(), "frame.png", Some((65, 36)), BYTES_MAX),
            Err(OutputError::WrongSize { found: (64, 36), asked: (65, 36), .. })
        ));
        assert!(matches!(check(folder.path(), "frame.png", None, 10), Err(OutputError::TooLarge { .. })));
    }

    #[test]
    fn what_is_not_a_plain_file_is_refused() {
        let folder = folder_with_frame();
        let at = |name: &str| folder.path().join(name);
        symlink("/etc/passwd", at("link.png")).unwrap();
        symlink("frame.png", at("inside.png")).unwrap();
        std::fs::create_dir(at("folder.png")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("pipe.png")).status().unwrap();
        assert!(made.success());
        let _listener = std::os::unix::net::UnixListener::bind(at("socket.png")).unwrap();
        for name in ["link.png", "inside.png", "folder.png", "pipe.png", "socket.png"] {
            let error = refused(&folder, name);
            assert!(matches!(error, OutputError::NotAFile { .. }), "{name}: {error}");
        }
        assert!(matches!(refused(&folder, "none.png"), OutputError::Missing { .. }));
        std::fs::hard_link(at("frame.png"), at("twin.png")).unwrap();
        assert!(matches!(refused(&folder, "frame.png"), OutputError::Linked { links: 2, .. }));
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        let folder = folder_with_frame();
        let at = |name: &str| folder.path().join(name);
        let bytes = std::fs::read(at("frame.png")).unwrap();
        std::fs::write(at("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
        std::fs::write(at("empty.png"), b"").unwrap();
        std::fs::write(at("text.png"), b"not a picture").unwrap();
        // A file of holes: large to read, nothing on disk.
        File::create(at("holes.png")).unwrap().set_len(1 << 40).unwrap();
        for name in ["cut.png", "empty.png", "text.png"] {
            assert!(matches!(refused(&folder, name), OutputError::NotAPicture { .. }), "{name}");
        }
        assert!(matches!(refused(&folder, "holes.png"), OutputError::TooLarge { .. }));
    }
}
