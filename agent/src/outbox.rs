//! Everything that goes to the registry about an attempt waits here, on disk, until the registry has it.
//!
//! A folder an attempt, an entry a file, written with fsync and rename. Entries are sent in order ([`sender`]); the
//! last one ends the attempt. The folder of an attempt that never got to its end, because the agent died, turns into
//! a release at the next start: what it held is needed elsewhere, now.

mod disk;
pub mod sender;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pictor_ground::backoff::Backoff;
use pictor_protocol::{AttemptId, CompleteRequest, FailRequest, ReleaseRequest, Sha256};
use pictor_telemetry::TraceParent;
use tokio::{sync::Notify, time::Instant};

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// How an attempt ends.
#[derive(Debug, Clone)]
pub enum Ending {
    Complete(CompleteRequest),
    Fail(FailRequest),
    Release(ReleaseRequest),
}

/// What an entry says.
#[derive(Debug, Clone)]
pub enum Content {
    Frame { frame: i32, sha256: Sha256 },
    Log,
    End(Ending),
}

/// One thing to send.
#[derive(Debug, Clone)]
pub struct Entry {
    sequence: u32,
    content: Content,
}

/// An attempt with something to send, now or later.
#[derive(Debug)]
struct Waiting {
    next_sequence: u32,
    entries: VecDeque<Entry>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// How long its frames took to send so far.
    upload: Duration,
    /// Where it stands in its task's trace; what an older agent left does not say.
    place: Option<TraceParent>,
}

impl Waiting {
    fn new(place: Option<TraceParent>) -> Self {
        Self {
            next_sequence: 1,
            entries: VecDeque::new(),
            not_before: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            upload: Duration::ZERO,
            place,
        }
    }

    /// Nothing is added after the end.
    fn has_ended(&self) -> bool {
        self.entries.back().is_some_and(|entry| matches!(entry.content, Content::End(_)))
    }
}

/// Unsent results. What writes to disk blocks: call it where blocking is allowed.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    attempts: Mutex<BTreeMap<AttemptId, Waiting>>,
    /// Rings when there is something new to send.
    wake: Notify,
}

impl Outbox {
    /// Reads what an earlier run left, and ends what it had not ended.
    pub fn open(folder: &Path) -> io::Result<Outbox> {
        disk::make_folder(folder)?;
        let mut attempts = BTreeMap::new();
        for (attempt, entries) in disk::read_attempts(folder)? {
            let next_sequence = entries.back().map_or(1, |entry| entry.sequence.saturating_add(1));
            let place = disk::read_place(folder, attempt);
            attempts.insert(attempt, Waiting { next_sequence, entries, ..Waiting::new(place) });
        }
        let outbox =
            Outbox { folder: folder.to_owned(), attempts: Mutex::new(attempts), wake: Notify::new() };
        outbox.release_unfinished("the agent was restarted");
        Ok(outbox)
    }

    /// Gives back every attempt that nobody ended.
    pub fn release_unfinished(&self, reason: &str) {
        let unfinished: Vec<AttemptId> = self
            .lock()
            .iter()
            .filter(|(_, waiting)| !waiting.has_ended())
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in unfinished {
            tracing::info!(%attempt, "releasing an unfinished task: {reason}");
            self.end(attempt, Ending::Release(ReleaseRequest { reason: reason.to_owned() }));
        }
    }

    /// Makes room for an attempt, so that a restarted agent knows of it. After an error the attempt can still be ended.
    pub fn begin(&self, attempt: AttemptId, place: TraceParent) -> io::Result<()> {
        self.lock().entry(attempt).or_insert_with(|| Waiting::new(Some(place)));
        disk::make_attempt(&self.folder, attempt, place)
    }

    /// Adds a frame that passed its checks. Does nothing when the attempt has ended meanwhile.
    pub fn add_frame(&self, attempt: AttemptId, frame: i32, sha256: Sha256, bytes: &[u8]) -> io::Result<()> {
        self.add(attempt, Content::Frame { frame, sha256 }, bytes)
    }

    /// Adds what Blender printed.
    pub fn add_log(&self, attempt: AttemptId, text: &str) -> io::Result<()> {
        self.add(attempt, Content::Log, text.as_bytes())
    }

    /// Ends the attempt; the first end stands. A release takes back what of it was not sent, since the registry would
    /// drop that anyway, and so makes room on a full disk.
    pub fn end(&self, attempt: AttemptId, ending: Ending) {
        if self.lock().get(&attempt).is_none_or(Waiting::has_ended) {
            return;
        }
        if matches!(ending, Ending::Release(_)) {
            self.clear(attempt);
        }
        self.push_end(attempt, ending);
    }

    /// Ends the attempt otherwise than planned: what waits of it is dropped.
    pub fn end_instead(&self, attempt: AttemptId, ending: Ending) {
        self.clear(attempt);
        self.push_end(attempt, ending);
    }

    /// Forgets the attempt; false if there was nothing of it.
    pub fn abandon(&self, attempt: AttemptId) -> bool {
        let was_there = self.lock().remove(&attempt).is_some();
        if let Err(error) = disk::remove_attempt(&self.folder, attempt) {
            tracing::warn!(%attempt, %error, "cannot remove an ended attempt's folder from the outbox");
        }
        was_there
    }

    /// Every attempt that the registry has not seen the end of.
    pub fn attempts(&self) -> Vec<AttemptId> {
        self.lock().keys().copied().collect()
    }

    /// How many things wait to be sent.
    pub fn entries(&self) -> usize {
        self.lock().values().map(|waiting| waiting.entries.len()).sum()
    }

    fn add(&self, attempt: AttemptId, content: Content, bytes: &[u8]) -> io::Result<()> {
        let Some(entry) = self.next_entry(attempt, content) else { return Ok(()) };
        disk::write(&self.folder, attempt, &entry, bytes)?;
        self.queue(attempt, entry);
        Ok(())
    }

    fn push_end(&self, attempt: AttemptId, ending: Ending) {
        let text = disk::ending_text(&ending);
        let Some(entry) = self.next_entry(attempt, Content::End(ending)) else { return };
        // Without its file the end is lost only with this process, and the next one then releases the attempt.
        if let Err(error) = disk::write(&self.folder, attempt, &entry, text.as_bytes()) {
            tracing::warn!(%attempt, %error, "the outbox cannot keep the end of an attempt on disk");
        }
        self.queue(attempt, entry);
    }

    fn next_entry(&self, attempt: AttemptId, content: Content) -> Option<Entry> {
        let mut attempts = self.lock();
        let waiting = attempts.get_mut(&attempt).filter(|waiting| !waiting.has_ended())?;
        let sequence = waiting.next_sequence;
        waiting.next_sequence = sequence.saturating_add(1);
        Some(Entry { sequence, content })
    }

    fn queue(&self, attempt: AttemptId, entry: Entry) {
        if let Some(waiting) = self.lock().get_mut(&attempt)
            && !waiting.has_ended()
        {
            waiting.entries.push_back(entry);
        }
        self.wake.notify_one();
    }

    fn clear(&self, attempt: AttemptId) {
        let dropped = match self.lock().get_mut(&attempt) {
            Some(waiting) => {
                waiting.not_before = None;
                std::mem::take(&mut waiting.entries)
            }
            None => return,
        };
        for entry in dropped {
            self.remove_file(attempt, &entry);
        }
    }

    fn remove_file(&self, attempt: AttemptId, entry: &Entry) {
        if let Err(error) = disk::remove(&self.folder, attempt, entry) {
            tracing::warn!(%attempt, %error, "cannot remove a sent entry from the outbox");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Waiting>> {
        // Every change is one call on a map or a queue: a panic elsewhere leaves nothing half done.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
