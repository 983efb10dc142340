//! The one that sends: attempt by attempt in order, each entry until the registry has answered for good.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use pictor_protocol::{AttemptId, FailRequest, ReleaseRequest};
use pictor_telemetry::TraceParent;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::{Instrument, Span, info_span};

use super::{Content, Ending, Entry, Outbox, disk};
use crate::{
    counters::{Counters, Phase, TaskResult},
    registry::{CallError, Registry},
    slots::{Slots, Stop},
};

/// How long to leave a registry alone that does not know this worker.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// With nothing to send, nothing happens before a new entry rings.
const IDLE: Duration = Duration::from_secs(3600);

/// Sends what the outbox holds.
#[derive(Debug)]
pub struct Sender {
    pub outbox: Arc<Outbox>,
    pub registry: Registry,
    pub slots: Arc<Slots>,
    pub counters: Arc<Counters>,
}

impl Sender {
    /// Sends for ever.
    pub async fn run(&self) -> Infallible {
        loop {
            match self.outbox.next() {
                Ok((attempt, entry)) => self.send(attempt, entry).await,
                Err(wait) => {
                    let _ = tokio::time::timeout(wait, self.outbox.wake.notified()).await;
                }
            }
        }
    }

    async fn send(&self, attempt: AttemptId, entry: Entry) {
        let span = match &entry.content {
            Content::Frame { frame, .. } => info_span!("frame uploaded", pictor.frame = *frame),
            Content::Log => info_span!("log uploaded"),
            Content::End(_) => info_span!("result uploaded"),
        };
        if let Some(place) = self.outbox.place(attempt) {
            pictor_telemetry::follow(&span, place);
        }
        self.send_traced(attempt, entry).instrument(span).await;
    }

    async fn send_traced(&self, attempt: AttemptId, entry: Entry) {
        let started = Instant::now();
        let answer = match self.call(attempt, &entry).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%attempt, %error, "a finished frame cannot be read back from the outbox");
                let reason = format!("the agent lost a finished frame: {error}");
                return self.end_instead(attempt, Ending::Release(ReleaseRequest { reason })).await;
            }
        };
        if let Err(error) = &answer {
            pictor_telemetry::failed(&Span::current(), error);
        }
        match answer {
            Ok(()) => self.accepted(attempt, entry, started.elapsed()).await,
            Err(CallError::Retry { reason, after }) => {
                tracing::debug!(%attempt, reason, "the outbox tries again later");
                self.outbox.postpone(attempt, after);
            }
            Err(CallError::Unauthorized(_) | CallError::DuplicateWorker(_)) => {
                self.outbox.postpone(attempt, Some(REFUSED_PAUSE));
            }
            // A registry that keeps no logs, or no more of them, ends nothing.
            Err(CallError::LeaseLost(detail) | CallError::Refused { detail, .. })
                if matches!(entry.content, Content::Log) =>
            {
                tracing::debug!(%attempt, detail, "the registry does not take this log");
                self.accepted(attempt, entry, Duration::ZERO).await;
            }
            Err(CallError::LeaseLost(detail)) => {
                tracing::warn!(%attempt, "{detail}");
                self.slots.stop(attempt, &Stop::Lost);
                if self.abandon(attempt).await {
                    self.counters.task_ended(TaskResult::Expired);
                }
            }
            Err(CallError::Refused { detail, .. }) => self.rejected(attempt, &entry, detail).await,
        }
    }

    /// The registry's answer; an error when the disk has no answer.
    async fn call(&self, attempt: AttemptId, entry: &Entry) -> io::Result<Result<(), CallError>> {
        let registry = &self.registry;
        Ok(match &entry.content {
            Content::Frame { frame, sha256 } => {
                let bytes = self.read(attempt, entry).await?;
                if Sha256::digest(&bytes)[..] != sha256.as_bytes()[..] {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
                }
                registry.put_frame(attempt, *frame, *sha256, bytes).await.map(drop)
            }
            Content::Log => registry.log(attempt, self.read(attempt, entry).await?).await,
            Content::End(Ending::Complete(end)) => registry.complete(attempt, end).await.map(drop),
            Content::End(Ending::Fail(end)) => registry.fail(attempt, end).await.map(drop),
            Content::End(Ending::Release(end)) => registry.release(attempt, end).await.map(drop),
        })
    }

    async fn read(&self, attempt: AttemptId, entry: &Entry) -> io::Result<Bytes> {
        let (outbox, entry) = (Arc::clone(&self.outbox), entry.clone());
        let read = tokio::task::spawn_blocking(move || disk::read(&outbox.folder, attempt, &entry)).await;
        Ok(read.map_err(io::Error::other)??.into())
    }

    async fn accepted(&self, attempt: AttemptId, entry: Entry, took: Duration) {
        match &entry.content {
            Content::Frame { .. } => self.counters.frame_sent(),
            Content::Log => {}
            Content::End(ending) => {
                let result = match ending {
                    Ending::Complete(_) => TaskResult::Completed,
                    Ending::Fail(_) => TaskResult::Failed,
                    Ending::Release(_) => TaskResult::Released,
                };
                tracing::info!(%attempt, "task {}", result.as_str());
                self.counters.task_ended(result);
                if let Some(upload) = self.outbox.upload(attempt).filter(|_| result == TaskResult::Completed)
                {
                    self.counters.phase(Phase::Upload, (upload + took).as_secs_f64());
                }
                self.abandon(attempt).await;
                return;
            }
        }
        let outbox = Arc::clone(&self.outbox);
        blocking(move || outbox.sent(attempt, &entry, took)).await;
    }

    /// A 4xx that will not change: told to the job's creator as the attempt's failure, where that still can be told.
    async fn rejected(&self, attempt: AttemptId, entry: &Entry, detail: String) {
        tracing::warn!(%attempt, "the registry does not take a result: {detail}");
        match entry.content {
            Content::Frame { .. } | Content::Log | Content::End(Ending::Complete(_)) => {
                self.slots.stop(attempt, &Stop::Rejected(detail.clone()));
                let error = format!("the registry did not take what was rendered: {detail}");
                self.end_instead(attempt, Ending::Fail(FailRequest { error, render_seconds: None })).await;
            }
            Content::End(Ending::Fail(_) | Ending::Release(_)) => {
                self.abandon(attempt).await;
            }
        }
    }

    async fn end_instead(&self, attempt: AttemptId, ending: Ending) {
        let outbox = Arc::clone(&self.outbox);
        blocking(move || outbox.end_instead(attempt, ending)).await;
    }

    async fn abandon(&self, attempt: AttemptId) -> bool {
        let outbox = Arc::clone(&self.outbox);
        blocking(move || outbox.abandon(attempt)).await.unwrap_or(false)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // The runtime refuses only when it ends, and then the next start does it.
    tokio::task::spawn_blocking(work).await.ok()
}

impl Outbox {
    /// The next thing to send, the oldest attempt first, or how long there is nothing.
    fn next(&self) -> Result<(AttemptId, Entry), Duration> {
        let now = Instant::now();
        let mut wait = IDLE;
        for (attempt, waiting) in self.lock().iter() {
            let Some(entry) = waiting.entries.front() else { continue };
            match waiting.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)) {
                Duration::ZERO => return Ok((*attempt, entry.clone())),
                left => wait = wait.min(left),
            }
        }
        Err(wait)
    }

    fn postpone(&self, attempt: AttemptId, after: Option<Duration>) {
        if let Some(waiting) = self.lock().get_mut(&attempt) {
            let delay = waiting.backoff.delay();
            waiting.not_before = Some(Instant::now() + after.unwrap_or(delay));
        }
    }

    fn sent(&self, attempt: AttemptId, entry: &Entry, took: Duration) {
        // First the file: sent twice is an answer of 200, forgotten is lost.
        self.remove_file(attempt, entry);
        if let Some(waiting) = self.lock().get_mut(&attempt) {
            waiting.entries.retain(|waiting| waiting.sequence != entry.sequence);
            waiting.not_before = None;
            waiting.backoff.reset();
            waiting.upload += took;
        }
    }

    fn place(&self, attempt: AttemptId) -> Option<TraceParent> {
        self.lock().get(&attempt)?.place
    }

    fn upload(&self, attempt: AttemptId) -> Option<Duration> {
        self.lock().get(&attempt).map(|waiting| waiting.upload)
    }
}
