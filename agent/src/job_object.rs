//! A Windows job object around this process and all that it starts: it bounds them, and they end with this process.

#![expect(unsafe_code, reason = "calls of the Windows API")]

use std::{ffi::c_void, io, mem, ptr};

use windows_sys::Win32::{
    Foundation::HANDLE,
    System::{
        JobObjects::{
            AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
            JOB_OBJECT_LIMIT_BREAKAWAY_OK, JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
            JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_UILIMIT_DESKTOP,
            JOB_OBJECT_UILIMIT_DISPLAYSETTINGS, JOB_OBJECT_UILIMIT_EXITWINDOWS,
            JOB_OBJECT_UILIMIT_GLOBALATOMS, JOB_OBJECT_UILIMIT_HANDLES, JOB_OBJECT_UILIMIT_READCLIPBOARD,
            JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS, JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
            JOBOBJECT_BASIC_UI_RESTRICTIONS, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS,
            JobObjectBasicUIRestrictions, JobObjectExtendedLimitInformation, SetInformationJobObject,
        },
        Threading::GetCurrentProcess,
    },
};

/// What all in the job together may use.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    /// Committed memory.
    pub(crate) memory_bytes: Option<u64>,
    /// This one included.
    pub(crate) processes: Option<u32>,
    /// No clipboard, no other program's windows, no end of the session.
    pub(crate) shuts_out_desktop: bool,
    /// What is started so on purpose is not in the job.
    pub(crate) lets_go: bool,
}

/// Enters a job of its own, for good. Jobs nest: whoever started this process may have put it into one.
pub(crate) fn enter(bounds: &Bounds) -> io::Result<()> {
    // SAFETY: no security attributes and no name are allowed values.
    let job = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    // The job is never closed: Windows does so at the end of this process, and ends all in it.
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    let basic = &mut limits.BasicLimitInformation;
    basic.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    if let Some(processes) = bounds.processes {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        basic.ActiveProcessLimit = processes;
    }
    if bounds.lets_go {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_BREAKAWAY_OK;
    }
    if let Some(bytes) = bounds.memory_bytes {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        limits.JobMemoryLimit = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    set(job, JobObjectExtendedLimitInformation, &limits)?;
    if bounds.shuts_out_desktop {
        let desktop = JOBOBJECT_BASIC_UI_RESTRICTIONS {
            UIRestrictionsClass: JOB_OBJECT_UILIMIT_DESKTOP
                | JOB_OBJECT_UILIMIT_DISPLAYSETTINGS
                | JOB_OBJECT_UILIMIT_EXITWINDOWS
                | JOB_OBJECT_UILIMIT_GLOBALATOMS
                | JOB_OBJECT_UILIMIT_HANDLES
                | JOB_OBJECT_UILIMIT_READCLIPBOARD
                | JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS
                | JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
        };
        set(job, JobObjectBasicUIRestrictions, &desktop)?;
    }
    // SAFETY: the job is open, and so is the handle that stands for this process.
    succeeded(unsafe { AssignProcessToJobObject(job, GetCurrentProcess()) })
}

fn set<T>(job: HANDLE, class: JOBOBJECTINFOCLASS, value: &T) -> io::Result<()> {
    let size = u32::try_from(mem::size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the job is open; the value is of the class's type, read during the call, and of this size.
    succeeded(unsafe { SetInformationJobObject(job, class, ptr::from_ref(value).cast::<c_void>(), size) })
}

fn succeeded(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
