//! The NVML library of this process. It is loaded once and never let go: each loading costs a file descriptor for good.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nvml_wrapper::{Nvml, error::NvmlError};

/// A driver installed meanwhile is found after this long.
const LOAD_AGAIN: Duration = Duration::from_secs(60);

struct Attempt {
    path: Option<PathBuf>,
    at: Instant,
    result: Result<&'static Nvml, String>,
}

static LAST: Mutex<Option<Attempt>> = Mutex::new(None);

/// The library, or why it is not there. It may hang as long as the driver does.
pub(super) fn library(path: Option<&Path>) -> Result<&'static Nvml, String> {
    // An attempt is replaced whole: a panic elsewhere leaves nothing half done.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(attempt) = &*last
        && attempt.path.as_deref() == path
        && (attempt.result.is_ok() || attempt.at.elapsed() < LOAD_AGAIN)
    {
        return attempt.result.clone();
    }
    let result = load(path).map(|nvml| &*Box::leak(Box::new(nvml)));
    let result = result.map_err(|error| format!("NVML is not there: {error}"));
    *last = Some(Attempt { path: path.map(Path::to_owned), at: Instant::now(), result: result.clone() });
    result
}

fn load(path: Option<&Path>) -> Result<Nvml, NvmlError> {
    match path {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    }
}
