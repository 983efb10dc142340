//! The library's one state: its script, the handles it has given out and its event sets.

use std::{
    ffi::{CStr, OsStr},
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    ptr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper_sys::bindings as nvml;

use crate::{
    script::{Answer, Code, Gpu, Reading, Script, State},
    sets::EventSets,
};

/// Calls come in bursts: one look at the file serves a burst, so that a call costs next to nothing.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

static LIBRARY: LazyLock<Mutex<Library>> = LazyLock::new(|| Mutex::new(Library::load()));

pub(crate) struct Library {
    path: PathBuf,
    script: Arc<Script>,
    /// When the file was last looked at.
    looked: Instant,
    /// What the file was when it was read: inode, time of change in two parts, size.
    seen: Option<(u64, i64, i64, u64)>,
    loaded: Instant,
    /// How often more `nvmlInit` was called than `nvmlShutdown`.
    pub(crate) users: u32,
    /// A GPU's handle is its place here plus one. It outlives the GPU.
    handles: Vec<String>,
    pub(crate) event_sets: EventSets,
}

/// What the script says at one moment.
pub(crate) struct Moment {
    pub(crate) script: Arc<Script>,
    seconds: f64,
}

impl Moment {
    pub(crate) fn read(&self, answer: impl Into<Answer>) -> Result<u64, Code> {
        let reading: Reading = answer.into().ok_or(Code::NOT_SUPPORTED)?;
        reading.at(self.seconds)
    }

    /// Cut to NVML's unsigned int: sentinels are meant to be.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn read_uint(&self, answer: impl Into<Answer>) -> Result<u32, Code> {
        self.read(answer).map(|value| value as u32)
    }
}

/// The library, if it is in use.
pub(crate) fn lock() -> Result<MutexGuard<'static, Library>, Code> {
    let library = lock_at_any_time();
    if library.users == 0 { Err(Code::UNINITIALIZED) } else { Ok(library) }
}

/// The library, before `nvmlInit` too.
pub(crate) fn lock_at_any_time() -> MutexGuard<'static, Library> {
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    library.look();
    library
}

/// Answers a call about no single GPU.
pub(crate) fn answer<T>(function: &str, read: impl Fn(&Moment) -> Result<T, Code>) -> Result<T, Code> {
    unblocked(|| {
        let moment = lock()?.moment();
        moment.script.errors.get(function).map_or(Ok(()), |code| Err(*code))?;
        read(&moment)
    })
}

/// Answers a call about the GPU of a handle.
pub(crate) fn answer_about<T>(
    function: &str,
    device: nvml::nvmlDevice_t,
    read: impl Fn(&Moment, &Gpu) -> Result<T, Code>,
) -> Result<T, Code> {
    unblocked(|| {
        let library = lock()?;
        let uuid = library.uuid(device)?;
        let gpu = library.script.gpus.iter().find(|gpu| gpu.uuid == uuid).ok_or(Code::GPU_IS_LOST)?;
        reachable(gpu, function)?;
        read(&library.moment(), gpu)
    })
}

/// The handle of the GPU that is sought.
pub(crate) fn find(function: &str, sought: impl Fn(usize, &Gpu) -> bool) -> Result<nvml::nvmlDevice_t, Code> {
    unblocked(|| {
        let mut library = lock()?;
        let script = Arc::clone(&library.script);
        let mut gpus = script.gpus.iter().enumerate();
        let (_, gpu) = gpus.find(|(index, gpu)| sought(*index, gpu)).ok_or(Code::NOT_FOUND)?;
        reachable(gpu, function)?;
        Ok(library.handle(&gpu.uuid))
    })
}

fn reachable(gpu: &Gpu, function: &str) -> Result<(), Code> {
    match gpu.state {
        State::Lost => return Err(Code::GPU_IS_LOST),
        State::Hung => return Err(Code::HANG),
        State::Up => {}
    }
    gpu.errors.get(function).map_or(Ok(()), |code| Err(*code))
}

/// Asks again for as long as the script lets the call hang.
fn unblocked<T>(ask: impl Fn() -> Result<T, Code>) -> Result<T, Code> {
    loop {
        match ask() {
            Err(Code::HANG) => thread::sleep(LOOK_AGAIN),
            answer => return answer,
        }
    }
}

impl Library {
    fn load() -> Self {
        let mut path = own_path().into_os_string();
        path.push(".toml");
        let now = Instant::now();
        let mut library = Library {
            path: path.into(),
            script: Arc::default(),
            looked: now,
            seen: None,
            loaded: now,
            users: 0,
            handles: Vec::new(),
            event_sets: EventSets::default(),
        };
        library.read();
        library
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { script: Arc::clone(&self.script), seconds: self.loaded.elapsed().as_secs_f64() }
    }

    /// Where the script is.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn look(&mut self) {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.looked = Instant::now();
            self.read();
        }
    }

    fn read(&mut self) {
        let seen = fs::metadata(&self.path).ok().as_ref().map(identity);
        if seen == self.seen && seen.is_some() {
            return;
        }
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string());
        match text.and_then(|text| Script::parse(&text)) {
            Ok(script) => self.script = Arc::new(script),
            // A test that fails shows the agent's standard error.
            Err(error) if seen != self.seen || self.users == 0 => {
                eprintln!("fake NVML: {}: {error}", self.path.display());
            }
            Err(_) => {}
        }
        self.seen = seen;
    }

    fn uuid(&self, device: nvml::nvmlDevice_t) -> Result<&str, Code> {
        let place = device.addr().checked_sub(1).ok_or(Code::INVALID_ARGUMENT)?;
        self.handles.get(place).map(String::as_str).ok_or(Code::INVALID_ARGUMENT)
    }

    pub(crate) fn handle(&mut self, uuid: &str) -> nvml::nvmlDevice_t {
        let place = self.handles.iter().position(|known| known == uuid).unwrap_or_else(|| {
            self.handles.push(uuid.to_owned());
            self.handles.len() - 1
        });
        ptr::without_provenance_mut(place + 1)
    }
}

fn identity(file: &Metadata) -> (u64, i64, i64, u64) {
    (file.ino(), file.mtime(), file.mtime_nsec(), file.size())
}

/// This library's own file, as it was named to the loader.
fn own_path() -> PathBuf {
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` fills what it is given, and the name that it finds lives as long as the library.
    let name = unsafe {
        if libc::dladdr(ptr::from_ref(&LIBRARY).cast(), found.as_mut_ptr()) == 0 {
            return PathBuf::from("libnvidia-ml.so.1");
        }
        CStr::from_ptr(found.assume_init().dli_fname)
    };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}
