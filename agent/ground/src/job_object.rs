//! A Windows job object around this process and all that it starts: it bounds them, and they end with this process.

#![expect(unsafe_code, reason = "calls of the Windows API")]

use std::{
    ffi::c_void,
    io, mem, ptr, thread,
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{CloseHandle, HANDLE},
    System::{
        JobObjects::{
            AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
            JOB_OBJECT_LIMIT_BREAKAWAY_OK, JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
            JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_BASIC_PROCESS_ID_LIST,
            JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectBasicProcessIdList,
            JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
        },
        Threading::{GetCurrentProcess, OpenProcess, PROCESS_TERMINATE, TerminateProcess},
    },
};

/// More processes than these are ended in several rounds.
const IDS_MAX: usize = 256;
const LOOK: Duration = Duration::from_millis(20);

/// What all in the job together may use, this process included.
#[derive(Debug, Default)]
pub struct Bounds {
    pub processes: Option<u32>,
    /// What is started so on purpose is not in the job.
    pub lets_go: bool,
}

/// The job that this process is in. It is never closed: Windows does so at the end of this process, and ends all in it.
#[derive(Debug, Clone, Copy)]
pub struct Job(usize);

/// Enters a job of its own, for good. Jobs nest: whoever started this process may have put it into one.
pub fn enter(bounds: &Bounds) -> io::Result<Job> {
    // SAFETY: no security attributes and no name are allowed values.
    let handle = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
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
    let size = u32::try_from(mem::size_of_val(&limits)).map_err(io::Error::other)?;
    let limits = ptr::from_ref(&limits).cast::<c_void>();
    // SAFETY: the job is open; the value is of the class's type, read during the call, and of this size.
    succeeded(unsafe { SetInformationJobObject(handle, JobObjectExtendedLimitInformation, limits, size) })?;
    // SAFETY: the job is open, and so is the handle that stands for this process.
    succeeded(unsafe { AssignProcessToJobObject(handle, GetCurrentProcess()) })?;
    Ok(Job(handle.expose_provenance()))
}

impl Job {
    /// Ends everything in the job but this process, and waits until it is gone.
    pub fn end_others(self, patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let others = self.others()?;
            if others.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            others.into_iter().for_each(end);
            thread::sleep(LOOK);
        }
    }

    fn others(self) -> io::Result<Vec<u32>> {
        #[repr(C)]
        struct Ids {
            list: JOBOBJECT_BASIC_PROCESS_ID_LIST,
            /// The list's own array is of one.
            more: [usize; IDS_MAX - 1],
        }
        let mut ids = Ids { list: JOBOBJECT_BASIC_PROCESS_ID_LIST::default(), more: [0; IDS_MAX - 1] };
        let size = u32::try_from(mem::size_of::<Ids>()).map_err(io::Error::other)?;
        let handle: HANDLE = ptr::with_exposed_provenance_mut(self.0);
        let place = ptr::from_mut(&mut ids).cast::<c_void>();
        // SAFETY: the job is open; the place is as large as is said, and begins with the class's type.
        let answer = unsafe {
            QueryInformationJobObject(handle, JobObjectBasicProcessIdList, place, size, ptr::null_mut())
        };
        // Where there are more than it has room for, those that it has are there all the same.
        if answer == 0 && ids.list.NumberOfProcessIdsInList == 0 {
            return Err(io::Error::last_os_error());
        }
        let count = usize::try_from(ids.list.NumberOfProcessIdsInList).map_err(io::Error::other)?;
        let all = ids.list.ProcessIdList.iter().chain(&ids.more).take(count);
        let own = std::process::id();
        Ok(all.filter_map(|id| u32::try_from(*id).ok()).filter(|id| *id != own).collect())
    }
}

/// One that has ended meanwhile cannot be opened any more.
fn end(id: u32) {
    // SAFETY: any number may be asked for.
    let process = unsafe { OpenProcess(PROCESS_TERMINATE, 0, id) };
    if !process.is_null() {
        // SAFETY: it was just opened, for this.
        unsafe { TerminateProcess(process, 1) };
        // SAFETY: it is open, and not used any more.
        unsafe { CloseHandle(process) };
    }
}

fn succeeded(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
