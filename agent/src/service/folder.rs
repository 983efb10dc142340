//! The service's folder. Any user may make folders where it lies, so it counts only when an administrator made it.

#![expect(unsafe_code, reason = "calls of the Windows API")]

use std::{
    ffi::OsStr,
    fs, io,
    os::windows::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    ptr,
};

use anyhow::{Context, bail};
use windows_sys::Win32::{
    Foundation::{ERROR_ALREADY_EXISTS, ERROR_SUCCESS, LocalFree},
    Security::{
        Authorization::{
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
            SE_FILE_OBJECT,
        },
        IsWellKnownSid, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
        WinBuiltinAdministratorsSid, WinLocalSystemSid,
    },
    Storage::FileSystem::{CreateDirectoryW, FILE_ATTRIBUTE_REPARSE_POINT},
};

/// Of administrators; all rights for SYSTEM and them, and all but those over rights for the service's own account, whose
/// number follows from its name: `sc showsid pictor-agent`. Nothing is inherited from the folder above.
const RIGHTS: &str = "O:BAG:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)\
     (A;OICI;0x1301bf;;;S-1-5-80-1735777782-1580521499-3317305884-3635021554-2559042460)";

/// Makes the folder, or makes sure of the one that is there.
pub(super) fn make(folder: &Path) -> anyhow::Result<()> {
    let made = create(folder);
    match made {
        Err(error) if is(&error, ERROR_ALREADY_EXISTS) => check(folder),
        made => made.with_context(|| format!("cannot make {}", folder.display())),
    }
}

fn create(folder: &Path) -> io::Result<()> {
    let (folder, rights) = (wide(folder.as_os_str()), wide(OsStr::new(RIGHTS)));
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the text ends with a zero; the descriptor is written, and its length is not asked for.
    let answer = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            rights.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            ptr::null_mut(),
        )
    };
    if answer == 0 {
        return Err(io::Error::last_os_error());
    }
    let size = u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).map_err(io::Error::other)?;
    let attributes =
        SECURITY_ATTRIBUTES { nLength: size, lpSecurityDescriptor: descriptor, bInheritHandle: 0 };
    // SAFETY: the path ends with a zero, and the descriptor is whole.
    let answer = unsafe { CreateDirectoryW(folder.as_ptr(), &raw const attributes) };
    let error = io::Error::last_os_error();
    // SAFETY: it came from there, and is not used any more.
    unsafe { LocalFree(descriptor) };
    if answer == 0 { Err(error) } else { Ok(()) }
}

/// Whoever made a folder can change its rights for ever, and a link leads elsewhere.
fn check(folder: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    let is_link = metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0;
    if !metadata.is_dir() || is_link || !is_of_administrators(folder)? {
        bail!(
            "{} was not made by an administrator: look into it, remove it, then try again",
            folder.display()
        );
    }
    Ok(())
}

fn is_of_administrators(folder: &Path) -> io::Result<bool> {
    let folder = wide(folder.as_os_str());
    let (mut owner, mut descriptor): (PSID, PSECURITY_DESCRIPTOR) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the path ends with a zero; owner and descriptor are written, the rest is not asked for.
    let answer = unsafe {
        GetNamedSecurityInfoW(
            folder.as_ptr(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    if answer != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(i32::try_from(answer).unwrap_or_default()));
    }
    // SAFETY: the owner lies in the descriptor, which is there until it is freed below.
    let is = |kind| unsafe { IsWellKnownSid(owner, kind) } != 0;
    let is_theirs = is(WinBuiltinAdministratorsSid) || is(WinLocalSystemSid);
    // SAFETY: it came from there, and is not used any more.
    unsafe { LocalFree(descriptor) };
    Ok(is_theirs)
}

fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error().and_then(|error| u32::try_from(error).ok()) == Some(code)
}
