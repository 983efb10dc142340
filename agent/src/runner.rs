//! Gets tasks and renders them: one asker for the worker, one loop a slot.

mod scenes;
mod task;

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use pictor_blender::Limits;
use pictor_ground::backoff::Backoff;
use pictor_protocol::{Check, Lease, LeaseRequest, LeasesResponse, ReleaseRequest};
use pictor_telemetry::TraceParent;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};
use tracing::{Instrument, Span, info_span};
use uuid::Uuid;

pub use scenes::SceneCache;

use crate::{
    connection::Connection,
    counters::Counters,
    disk::Disk,
    idle::Idle,
    outbox::{Ending, Outbox, sender::Sender},
    readiness::{Readiness, Verdict},
    registry::{CallError, Registry},
    slots::{Slots, StopSignal},
    task_log::TaskLogs,
};

/// The longest that the registry lets an asker wait for work.
const LEASE_WAIT_SECONDS: u32 = 25;
/// At most one answer in this time has nothing.
const EMPTY_ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// How long a slot that cannot render takes no task.
const FAULT_PAUSE: Duration = Duration::from_secs(60);
/// After an answer that trying again at once would not change.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// What asking and rendering share.
#[derive(Debug)]
pub struct Runner {
    pub registry: Registry,
    pub slots: Arc<Slots>,
    pub outbox: Arc<Outbox>,
    pub scenes: Arc<SceneCache>,
    pub readiness: Arc<Readiness>,
    pub idle: Arc<Idle>,
    pub connection: watch::Receiver<Connection>,
    pub counters: Arc<Counters>,
    pub logs: Arc<TaskLogs>,
    /// Rings the heartbeat.
    pub news: Arc<Notify>,
    pub limits: Limits,
    /// Where outputs lie while they are rendered.
    pub render_folder: PathBuf,
    /// Where the disk must not be full.
    pub data: PathBuf,
}

/// A lease on its way to its slot.
#[derive(Debug)]
pub struct Assignment {
    lease: Lease,
    stop: StopSignal,
    /// When the task's time-out ends.
    deadline: Instant,
    /// All of the attempt on this machine, but for what the sender does.
    span: Span,
}

impl Runner {
    /// What sends the results.
    pub fn sender(&self) -> Sender {
        Sender {
            outbox: Arc::clone(&self.outbox),
            registry: self.registry.clone(),
            slots: Arc::clone(&self.slots),
            counters: Arc::clone(&self.counters),
        }
    }

    /// Asks for tasks for all free slots at once, for ever. Dropping it between two leases loses none.
    pub async fn ask(&self, slots: &[mpsc::Sender<Assignment>]) -> Infallible {
        loop {
            let free = self.can_take().await;
            // The same id until it is answered: a lost answer must not cost a lease.
            let ask =
                LeaseRequest { ask_id: Uuid::now_v7().into(), slots: free, wait_seconds: LEASE_WAIT_SECONDS };
            let (response, asked) = self.answer(&ask).instrument(info_span!("tasks asked")).await;
            // A registry that stops sends its askers away at once.
            if response.leases.is_empty() {
                tokio::time::sleep_until(asked + EMPTY_ANSWER_PAUSE).await;
            }
            for lease in response.leases {
                self.assign(lease, asked, slots).await;
            }
        }
    }

    /// Renders one slot's tasks until the asker is gone.
    pub async fn work(self: Arc<Self>, mut assignments: mpsc::Receiver<Assignment>) {
        let mut next = assignments.recv().await;
        while let Some(assignment) = next {
            let (slot, span) = (assignment.lease.slot, assignment.span.clone());
            self.run_task(assignment).instrument(span).await;
            self.slots.leave(slot);
            if !self.slots.free().contains(&slot) {
                // A slot that stops is shown as stopped at once.
                self.news.notify_one();
            }
            next = self.next(slot, &mut assignments).await;
        }
    }

    /// A slot's next task; after a fault of its own the slot sits out for a while first.
    async fn next(&self, slot: u32, assignments: &mut mpsc::Receiver<Assignment>) -> Option<Assignment> {
        if self.slots.faults().iter().any(|(at_fault, _)| *at_fault == slot) {
            // A slot that is held gets no task: before the time is up this ends when the agent does.
            if let Ok(next) = timeout(FAULT_PAUSE, assignments.recv()).await {
                return next;
            }
            self.slots.set_fault(slot, None);
        }
        assignments.recv().await
    }

    /// Waits until the registry is there, this machine can render, and a slot is free.
    async fn can_take(&self) -> Vec<u32> {
        let mut connection = self.connection.clone();
        let mut readiness = self.readiness.subscribe();
        loop {
            let is_awaited = {
                let connection = connection.borrow_and_update();
                connection.is_up() && connection.accepts_told
            };
            let is_ready = matches!(readiness.borrow_and_update().verdict, Verdict::Ready(_));
            let free = self.slots.free();
            if is_awaited && is_ready && !free.is_empty() {
                if self.readiness.has_room(&self.data) {
                    return free;
                }
                continue;
            }
            // Both senders live as long as the agent.
            tokio::select! {
                _ = connection.changed() => {}
                _ = readiness.changed() => {}
                () = self.slots.changed() => {}
            }
        }
    }

    async fn answer(&self, ask: &LeaseRequest) -> (LeasesResponse, Instant) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        loop {
            let asked = Instant::now();
            match self.registry.leases(ask).await {
                Ok(response) => return (response, asked),
                Err(CallError::Retry { reason, after }) => {
                    tracing::debug!(reason, "asking for tasks again later");
                    let delay = backoff.delay();
                    tokio::time::sleep(after.unwrap_or(delay)).await;
                }
                Err(error @ (CallError::Unauthorized(_) | CallError::DuplicateWorker(_))) => {
                    // The heartbeat says it aloud.
                    tracing::debug!(%error, "asking for tasks again later");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!("the registry gives no tasks: {error}");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    return (LeasesResponse { leases: Vec::new() }, asked);
                }
            }
        }
    }

    async fn assign(&self, lease: Lease, asked: Instant, slots: &[mpsc::Sender<Assignment>]) {
        let (span, place) = task_span(&lease);
        self.assign_traced(lease, asked, slots, place).instrument(span).await;
    }

    async fn assign_traced(
        &self,
        lease: Lease,
        asked: Instant,
        slots: &[mpsc::Sender<Assignment>],
        place: TraceParent,
    ) {
        let (attempt, frames) = (lease.id, lease.frames);
        let outbox = Arc::clone(&self.outbox);
        // Known on disk before anything else: a restarted agent gives it back.
        let begun = tokio::task::spawn_blocking(move || outbox.begin(attempt, place)).await;
        if let Ok(Err(error)) = begun {
            let reason = format!("the outbox cannot be written: {error}");
            let reason = Disk::look(&self.data).shortage().unwrap_or(reason);
            self.readiness.fault(Check::Disk, reason.clone());
            return self.release(&lease, reason).await;
        }
        let Some(stop) = self.slots.take(&lease) else {
            return self.release(&lease, "the slot takes no tasks at present".to_owned()).await;
        };
        let number = usize::try_from(lease.slot).unwrap_or(usize::MAX);
        let deadline = asked + Duration::from_secs(lease.timeout_seconds.into());
        tracing::info!(%attempt, job = %lease.job_id, slot = lease.slot, "task taken: frames {frames}");
        let span = Span::current();
        let (slot, assignment) = (lease.slot, Assignment { lease: lease.clone(), stop, deadline, span });
        let is_taken = match slots.get(number) {
            Some(sender) => sender.try_send(assignment).is_ok(),
            None => false,
        };
        if is_taken {
            self.news.notify_one();
        } else {
            self.slots.leave(slot);
            self.release(&lease, "the slot takes no tasks at present".to_owned()).await;
        }
    }

    async fn release(&self, lease: &Lease, reason: String) {
        self.end(lease, Ending::Release(ReleaseRequest { reason })).await;
    }

    async fn end(&self, lease: &Lease, ending: Ending) {
        let (outbox, attempt) = (Arc::clone(&self.outbox), lease.id);
        if tokio::task::spawn_blocking(move || outbox.end(attempt, ending)).await.is_err() {
            tracing::debug!(%attempt, "the agent ends; its next start releases the task");
        }
    }
}

/// The span of an attempt on this machine, below its lease, and where it stands.
fn task_span(lease: &Lease) -> (Span, TraceParent) {
    let span = info_span!(
        "task",
        pictor.task.id = %lease.task_id,
        pictor.attempt.id = %lease.id,
        pictor.job.id = %lease.job_id,
        pictor.slot = lease.slot,
        pictor.frames = %lease.frames,
    );
    let given = lease.traceparent.as_deref().and_then(|text| text.parse().ok());
    let lease = given.unwrap_or_else(|| TraceParent::of_lease(lease.task_id, lease.id));
    pictor_telemetry::follow(&span, lease);
    let place = pictor_telemetry::of(&span).unwrap_or(lease);
    (span, place)
}
