//! What a task is: where it stands, who has it, what waits, and the sweep of leases that ran out.

mod outcome;
mod queue;
pub mod sets;
pub mod state;
pub mod store;
mod sweep;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use pictor_protocol::{JobId, TaskStatus, UnixMillis, WorkerId};
use sqlx::AnyConnection;
use tokio::sync::{Notify, watch};

use crate::error::Result;
use state::{AttemptEvent, TaskEvent};
use store::Ending;

pub use outcome::LeaseOutcome;
pub use queue::{LastQueue, Queue, next_job, next_task, queue};
pub use sweep::{sweep_loop, sweep_once};

/// Tells those who wait that there may be something to do; clones share it. It only saves time: whoever
/// waits also looks by itself now and then.
#[derive(Clone)]
pub struct Wakeup {
    pending: Arc<watch::Sender<()>>,
    ended: Arc<EndedTasks>,
}

#[derive(Default)]
struct EndedTasks {
    jobs: Mutex<HashSet<JobId>>,
    some: Notify,
}

impl Wakeup {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Wakeup {
        Wakeup { pending: Arc::new(watch::Sender::new(())), ended: Arc::default() }
    }

    /// A task became pending, or a worker may take tasks again: wakes every asker.
    pub fn task_pending(&self) {
        self.pending.send_replace(());
    }

    /// What an asker waits on.
    pub fn askers(&self) -> watch::Receiver<()> {
        self.pending.subscribe()
    }

    /// A task of this job has ended, and perhaps the job with it.
    pub fn task_ended(&self, job: JobId) {
        self.ended.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
        self.ended.some.notify_one();
    }

    /// Waits for jobs that may have ended, and takes them.
    pub async fn jobs_with_ended_tasks(&self) -> HashSet<JobId> {
        self.ended.some.notified().await;
        std::mem::take(&mut *self.ended.jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gives back everything that a worker holds, as when it is deleted. The caller wakes the askers.
pub async fn release_all(conn: &mut AnyConnection, worker: WorkerId, now: UnixMillis) -> Result<()> {
    for held in store::open_attempts(conn, worker).await? {
        if held.is_latest && held.task.status == TaskStatus::Running {
            store::move_task(conn, &held, TaskEvent::AttemptReleased, now).await?;
        }
        let ending = Ending { error: Some("its worker was deleted".to_owned()), ..Ending::default() };
        store::end_attempt(conn, held.attempt_id, held.status, AttemptEvent::Released, &ending, now).await?;
    }
    Ok(())
}
