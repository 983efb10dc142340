//! The queue as an idle slot meets it: how many tasks wait, and which of them matching keeps from a worker.
//! Asked for all workers at once, and again after some seconds.

mod store;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pictor_protocol::{ReasonCode, SlotReason, WorkerId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::App;
use crate::error::Result;

pub use store::{next_job, next_task};

const KEPT_FOR: Duration = Duration::from_secs(3);

/// The tasks that wait at one moment.
#[derive(Debug, Default)]
pub struct Queue {
    pub pending: u64,
    /// Of these, the ones that each worker failed and others are asked for first.
    pub failed_here: HashMap<WorkerId, u64>,
}

/// The last look, shared by all who ask within its time.
#[derive(Default)]
pub struct LastQueue(Mutex<Option<(Instant, Arc<Queue>)>>);

impl Queue {
    /// Why a slot of this worker that could run has no task.
    pub fn reasons(&self, worker: WorkerId) -> Vec<SlotReason> {
        if self.pending == 0 {
            return vec![SlotReason::new(ReasonCode::QueueEmpty)];
        }
        let failed_here = self.failed_here.get(&worker).copied().unwrap_or(0);
        if failed_here >= self.pending {
            return vec![SlotReason::counted(ReasonCode::FailedHere, failed_here)];
        }
        vec![SlotReason::counted(ReasonCode::AboutToStart, self.pending - failed_here)]
    }
}

/// The queue now, or as it was some seconds ago.
pub async fn queue(app: &App) -> Result<Arc<Queue>> {
    // Held while the database is asked: whoever comes meanwhile wants the same answer.
    let mut last = app.queue.0.lock().await;
    if let Some((at, queue)) = &*last
        && at.elapsed() < KEPT_FOR
    {
        return Ok(queue.clone());
    }
    let waited_since = app.clock.now().plus_seconds(-i64::from(app.settings.lease_seconds));
    let queue = Arc::new(store::queue(&mut *app.db.read().await?, waited_since).await?);
    *last = Some((Instant::now(), queue.clone()));
    Ok(queue)
}

#[cfg(test)]
mod tests {
    use pictor_protocol::{ReasonCode, SlotReason, WorkerId};

    use super::Queue;

    #[test]
    fn an_idle_slot_has_one_reason() {
        let (worker, other) = (WorkerId::from_parts(1, [1; 10]), WorkerId::from_parts(1, [2; 10]));
        let queue = |pending, failed| Queue { pending, failed_here: [(worker, failed)].into() };
        for (queue, worker, reason) in [
            (Queue::default(), worker, SlotReason::new(ReasonCode::QueueEmpty)),
            (queue(2, 2), worker, SlotReason::counted(ReasonCode::FailedHere, 2)),
            (queue(3, 2), worker, SlotReason::counted(ReasonCode::AboutToStart, 1)),
            (queue(2, 2), other, SlotReason::counted(ReasonCode::AboutToStart, 2)),
        ] {
            assert_eq!(queue.reasons(worker), [reason]);
        }
    }
}
