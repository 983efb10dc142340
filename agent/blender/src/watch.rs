//! Limits that the kernel does not keep for us: memory of a whole process tree, bytes in a folder, time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A hostile scene could otherwise make the watcher walk for ever.
const OUTPUT_ENTRIES_MAX: u64 = 20_000;

/// What one Blender may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Resident memory of all its processes together; without it the machine's memory is the limit.
    pub memory_bytes: Option<u64>,
    /// Everything in its output folder.
    pub output_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// One file.
    pub file_bytes: u64,
    /// From its start to its end.
    pub wall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: None,
            output_bytes: 4 << 30,
            // A machine of 256 threads starts some 600 for a render.
            processes: 2048,
            file_bytes: 2 << 30,
            wall: Duration::from_secs(3600),
        }
    }
}

/// A limit that was passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("Blender used {used_bytes} bytes of memory, more than the {limit_bytes} allowed")]
    Memory { used_bytes: u64, limit_bytes: u64 },
    #[error("Blender wrote {used_bytes} bytes, more than the {limit_bytes} allowed")]
    Output { used_bytes: u64, limit_bytes: u64 },
    #[error("Blender left more than {OUTPUT_ENTRIES_MAX} files")]
    Files,
    #[error("Blender wrote a file larger than the {limit_bytes} bytes allowed")]
    FileSize { limit_bytes: u64 },
    #[error("Blender ran longer than the {} s allowed", limit.as_secs_f64())]
    Time { limit: Duration },
}

/// Measures one process tree and its output folder.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    root: u32,
    output: PathBuf,
    limits: Limits,
    started: Instant,
    peak: Arc<AtomicU64>,
}

impl Watch {
    pub(super) fn new(root: u32, output: PathBuf, limits: Limits) -> Self {
        Self { root, output, limits, started: Instant::now(), peak: Arc::default() }
    }

    /// The most memory it measured so far, in bytes.
    pub(super) fn peak(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.peak)
    }

    /// Measures once; reads many small files.
    pub(super) fn breach(&self) -> Option<Breach> {
        let Limits { memory_bytes, output_bytes, wall, .. } = self.limits;
        if self.started.elapsed() > wall {
            return Some(Breach::Time { limit: wall });
        }
        if let Some(limit_bytes) = memory_bytes {
            let used_bytes = tree_bytes(self.root);
            self.peak.fetch_max(used_bytes, Ordering::Relaxed);
            if used_bytes > limit_bytes {
                return Some(Breach::Memory { used_bytes, limit_bytes });
            }
        }
        let mut entries = 0;
        match folder_bytes(&self.output, &mut entries) {
            None => Some(Breach::Files),
            Some(used_bytes) if used_bytes > output_bytes => {
                Some(Breach::Output { used_bytes, limit_bytes: output_bytes })
            }
            Some(_) => None,
        }
    }
}

/// Resident bytes of a process and all its descendants.
#[cfg(unix)]
fn tree_bytes(root: u32) -> u64 {
    let mut sum = 0;
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        sum += resident_bytes(pid);
        waiting.extend(children(pid));
    }
    sum
}

#[cfg(windows)]
fn tree_bytes(root: u32) -> u64 {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

    let Ok(mut system) = System::new() else { return 0 };
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        false,
        ProcessRefreshKind::nothing().with_memory(),
    );
    let mut sum = 0;
    let mut waiting = vec![Pid::from_u32(root)];
    while let Some(pid) = waiting.pop() {
        let Some(process) = system.process(pid) else { continue };
        sum += process.memory();
        // Who has an ended parent's id may be older than those it seems to have.
        let is_child = |other: &&sysinfo::Process| {
            other.parent() == Some(pid) && other.start_time() >= process.start_time()
        };
        waiting.extend(system.processes().values().filter(is_child).map(sysinfo::Process::pid));
    }
    sum
}

/// A process that has just ended counts as nothing.
#[cfg(unix)]
fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map_or(0, |kibibytes| kibibytes.saturating_mul(1024))
}

/// The kernel keeps a list per thread that forked.
#[cfg(unix)]
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads
        .filter_map(Result::ok)
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Of a file with holes, less than its length.
#[cfg(unix)]
fn bytes_on_disk(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;

    metadata.blocks().saturating_mul(512)
}

#[cfg(windows)]
fn bytes_on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// Bytes on disk, links not followed; `None` when there are too many entries to count.
fn folder_bytes(folder: &Path, entries: &mut u64) -> Option<u64> {
    let mut sum = 0_u64;
    let Ok(found) = fs::read_dir(folder) else { return Some(0) };
    for entry in found.filter_map(Result::ok) {
        *entries += 1;
        if *entries > OUTPUT_ENTRIES_MAX {
            return None;
        }
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        sum = sum.saturating_add(bytes_on_disk(&metadata));
        if metadata.is_dir() {
            sum = sum.saturating_add(folder_bytes(&entry.path(), entries)?);
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_this_process_and_its_child() {
        let own = resident_bytes(std::process::id());
        assert!(own > 1 << 20);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn counts_bytes_without_following_links() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/data"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        let bytes = folder_bytes(folder.path(), &mut 0).unwrap();
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        let limits = Limits { output_bytes: 50_000, ..Limits::default() };
        let watch = Watch::new(std::process::id(), folder.path().to_owned(), limits);
        assert!(matches!(watch.breach(), Some(Breach::Output { limit_bytes: 50_000, .. })));
    }
}
