//! How entries lie on disk: `ATTEMPT/00000001-frame-7-SHA256.png`, `…-log.txt`, `…-complete.json`;
//! and `ATTEMPT/traceparent`.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write},
    path::Path,
};

use pictor_ground::durable;
use pictor_protocol::AttemptId;
use pictor_telemetry::TraceParent;

use super::{Content, Ending, Entry};

/// What is not yet whole; swept away at the next start.
const UNFINISHED: &str = "unfinished-";
/// Where an attempt stands in its task's trace.
const PLACE: &str = "traceparent";

/// For the owner only: frames belong to the job's creator.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    durable::make_private_folder(folder)
}

pub(super) fn make_attempt(folder: &Path, attempt: AttemptId, place: TraceParent) -> io::Result<()> {
    let of_attempt = folder.join(attempt.to_string());
    make_folder(&of_attempt)?;
    // Worth no fsync: without it the rest of the trace stands apart, and nothing else is lost.
    fs::write(of_attempt.join(PLACE), place.to_string())?;
    durable::sync_folder(folder)
}

pub(super) fn read_place(folder: &Path, attempt: AttemptId) -> Option<TraceParent> {
    fs::read_to_string(folder.join(attempt.to_string()).join(PLACE)).ok()?.parse().ok()
}

/// On disk when this returns, whole or not at all.
pub(super) fn write(folder: &Path, attempt: AttemptId, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
    let folder = folder.join(attempt.to_string());
    make_folder(&folder)?;
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name(entry)))?;
    durable::sync_folder(&folder)
}

pub(super) fn read(folder: &Path, attempt: AttemptId, entry: &Entry) -> io::Result<Vec<u8>> {
    fs::read(folder.join(attempt.to_string()).join(name(entry)))
}

pub(super) fn remove(folder: &Path, attempt: AttemptId, entry: &Entry) -> io::Result<()> {
    gone(fs::remove_file(folder.join(attempt.to_string()).join(name(entry))))
}

pub(super) fn remove_attempt(folder: &Path, attempt: AttemptId) -> io::Result<()> {
    gone(fs::remove_dir_all(folder.join(attempt.to_string())))?;
    durable::sync_folder(folder)
}

/// Everything that waits, each attempt's entries in order.
pub(super) fn read_attempts(folder: &Path) -> io::Result<Vec<(AttemptId, VecDeque<Entry>)>> {
    let mut attempts = Vec::new();
    for found in fs::read_dir(folder)? {
        let path = found?.path();
        match file_name(&path).parse::<AttemptId>() {
            Ok(attempt) => attempts.push((attempt, read_entries(&path)?)),
            Err(_) => {
                tracing::warn!("{} in the outbox is none of the agent's; it is left alone", path.display());
            }
        }
    }
    Ok(attempts)
}

fn read_entries(folder: &Path) -> io::Result<VecDeque<Entry>> {
    let mut entries = Vec::new();
    for found in fs::read_dir(folder)? {
        let path = found?.path();
        if file_name(&path).starts_with(UNFINISHED) {
            fs::remove_file(&path)?;
        } else if let Some(entry) = parse(&path) {
            entries.push(entry);
        } else if file_name(&path) != PLACE {
            tracing::warn!("{} in the outbox is none of the agent's; it is left alone", path.display());
        }
    }
    entries.sort_by_key(|entry| entry.sequence);
    Ok(entries.into())
}

/// The body of the call that ends an attempt.
pub(super) fn ending_text(ending: &Ending) -> String {
    let text = match ending {
        Ending::Complete(end) => serde_json::to_string(end),
        Ending::Fail(end) => serde_json::to_string(end),
        Ending::Release(end) => serde_json::to_string(end),
    };
    // Two strings and a number always have a JSON form.
    text.unwrap_or_default()
}

fn name(entry: &Entry) -> String {
    let what = match &entry.content {
        Content::Frame { frame, sha256 } => {
            format!("frame_{frame}_{sha256}.png")
        }
        Content::Log => "log.txt".to_owned(),
        Content::End(Ending::Complete(_)) => "complete.json".to_owned(),
        Content::End(Ending::Fail(_)) => "fail.json".to_owned(),
        Content::End(Ending::Release(_)) => "release.json".to_owned(),
    };
    format!("{:08}-{what}", entry.sequence)
}

fn parse(path: &Path) -> Option<Entry> {
    let name = file_name(path);
    let (sequence, what) = name.split_once('-')?;
    let content = match what {
        "log.txt" => Content::Log,
        "complete.json" => Content::End(Ending::Complete(json(path)?)),
        "fail.json" => Content::End(Ending::Fail(json(path)?)),
        "release.json" => Content::End(Ending::Release(json(path)?)),
        frame => {
            let (frame, digest) = frame.strip_prefix("frame_")?.strip_suffix(".png")?.split_once('_')?;
            Content::Frame { frame: frame.parse().ok()?, sha256: digest.parse().ok()? }
        }
    };
    Some(Entry { sequence: sequence.parse().ok()?, content })
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
