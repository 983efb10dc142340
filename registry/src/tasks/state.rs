//! The state machines of tasks, jobs and attempts: what may follow what, and nothing else. The statements
//! in the stores are guarded by the state that was applied here, so that both always say the same.

use std::fmt;

use pictor_protocol::{AttemptStatus, JobStatus, TaskStatus};

/// A task is given up at this many failed attempts.
pub const FAILURES_MAX: i64 = 3;
/// A task is given up at this many leases that ran out.
pub const EXPIRIES_MAX: i64 = 5;
/// A job is given up at this many failed tasks.
pub const FAILED_TASKS_MAX: i64 = 3;

/// An event that a state has no answer to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {what} that is {status} cannot take '{event}'")]
pub struct Refused {
    what: &'static str,
    status: &'static str,
    event: String,
}

impl Refused {
    fn new(what: &'static str, status: &'static str, event: impl fmt::Debug) -> Refused {
        Refused { what, status, event: format!("{event:?}") }
    }
}

/// Where a task stands and how often it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskState {
    pub status: TaskStatus,
    /// Failed attempts.
    pub failures: i64,
    /// Leases that ran out, less those taken back.
    pub expiries: i64,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEvent {
    Leased,
    /// The holder of a lease that ran out is heard again before anybody else took the task.
    TakenBack,
    Completed,
    AttemptFailed,
    AttemptExpired,
    AttemptReleased,
    JobPaused,
    JobResumed,
    /// The job was cancelled, or has failed with this task unfinished.
    JobEnded,
}

impl TaskState {
    pub fn apply(self, event: TaskEvent) -> Result<TaskState, Refused> {
        use TaskEvent as Event;
        use TaskStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};
        let to = |status| Ok(TaskState { status, ..self });
        match (self.status, event) {
            (Pending, Event::Leased) => to(Running),
            (Pending, Event::TakenBack) => {
                Ok(TaskState { status: Running, expiries: (self.expiries - 1).max(0), ..self })
            }
            (Running, Event::Completed) => to(Completed),
            (Running, Event::AttemptFailed) => {
                let failures = self.failures + 1;
                Ok(TaskState {
                    status: if failures >= FAILURES_MAX { Failed } else { Pending },
                    failures,
                    ..self
                })
            }
            (Running, Event::AttemptExpired) => {
                let expiries = self.expiries + 1;
                Ok(TaskState {
                    status: if expiries >= EXPIRIES_MAX { Failed } else { Pending },
                    expiries,
                    ..self
                })
            }
            (Running, Event::AttemptReleased) | (Paused, Event::JobResumed) => to(Pending),
            (Pending | Running, Event::JobPaused) => to(Paused),
            (Pending | Running | Paused, Event::JobEnded) => to(Cancelled),
            // Each by name: a new status is to be thought of here.
            (status @ (Pending | Running | Paused | Completed | Failed | Cancelled), event) => {
                Err(Refused::new("task", status.as_str(), event))
            }
        }
    }
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// A task of it was leased for the first time.
    Started,
    Paused,
    Resumed {
        started: bool,
    },
    Completed,
    Failed,
    Cancelled,
}

/// The job's machine.
pub fn apply_to_job(status: JobStatus, event: JobEvent) -> Result<JobStatus, Refused> {
    use JobStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};
    match (status, event) {
        (Pending, JobEvent::Started) | (Paused, JobEvent::Resumed { started: true }) => Ok(Running),
        (Paused, JobEvent::Resumed { started: false }) => Ok(Pending),
        (Pending | Running, JobEvent::Paused) => Ok(Paused),
        (Running | Paused, JobEvent::Completed) => Ok(Completed),
        (Running | Paused, JobEvent::Failed) => Ok(Failed),
        (Pending | Running | Paused, JobEvent::Cancelled) => Ok(Cancelled),
        // Each by name: a new status is to be thought of here.
        (status @ (Pending | Running | Paused | Completed | Failed | Cancelled), event) => {
            Err(Refused::new("job", status.as_str(), event))
        }
    }
}

/// What happens to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEvent {
    /// The first heartbeat, frame or completion that names it.
    Started,
    Completed,
    Failed,
    /// Somebody else took its task, or its time-out has passed.
    Expired,
    Released,
    /// Its job has ended.
    Cancelled,
}

/// The attempt's machine.
pub fn apply_to_attempt(status: AttemptStatus, event: AttemptEvent) -> Result<AttemptStatus, Refused> {
    use AttemptStatus::{Cancelled, Completed, Expired, Failed, Paused, Pending, Released, Running};
    match status {
        Completed | Failed | Expired | Released | Cancelled => {
            Err(Refused::new("attempt", status.as_str(), event))
        }
        Pending | Running | Paused => match event {
            AttemptEvent::Started if status == Pending => Ok(Running),
            AttemptEvent::Started => Err(Refused::new("attempt", status.as_str(), event)),
            AttemptEvent::Completed => Ok(Completed),
            AttemptEvent::Failed => Ok(Failed),
            AttemptEvent::Expired => Ok(Expired),
            AttemptEvent::Released => Ok(Released),
            AttemptEvent::Cancelled => Ok(Cancelled),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AttemptEvent, EXPIRIES_MAX, FAILURES_MAX, JobEvent, TaskEvent, TaskState, apply_to_attempt,
        apply_to_job,
    };
    use pictor_protocol::{AttemptStatus, JobStatus, TaskStatus};

    fn next_status(status: TaskStatus, event: TaskEvent, failures: i64, expiries: i64) -> Option<TaskStatus> {
        TaskState { status, failures, expiries }.apply(event).ok().map(|state| state.status)
    }

    #[test]
    fn every_state_and_event_of_a_task() {
        use TaskEvent as E;
        use TaskStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};
        let allowed = [
            (Pending, E::Leased, Running),
            (Pending, E::TakenBack, Running),
            (Pending, E::JobPaused, Paused),
            (Pending, E::JobEnded, Cancelled),
            (Running, E::Completed, Completed),
            (Running, E::AttemptFailed, Pending),
            (Running, E::AttemptExpired, Pending),
            (Running, E::AttemptReleased, Pending),
            (Running, E::JobPaused, Paused),
            (Running, E::JobEnded, Cancelled),
            (Paused, E::JobResumed, Pending),
            (Paused, E::JobEnded, Cancelled),
        ];
        let events = [
            E::Leased,
            E::TakenBack,
            E::Completed,
            E::AttemptFailed,
            E::AttemptExpired,
            E::AttemptReleased,
            E::JobPaused,
            E::JobResumed,
            E::JobEnded,
        ];
        for status in TaskStatus::ALL {
            for event in events {
                let expected = allowed.iter().find(|(from, on, _)| from == status && *on == event);
                let last_try = match event {
                    E::AttemptFailed | E::AttemptExpired => expected.map(|_| Failed),
                    _ => expected.map(|(_, _, to)| *to),
                };
                assert_eq!(
                    next_status(*status, event, 0, 0),
                    expected.map(|(_, _, to)| *to),
                    "{status} {event:?}"
                );
                let gone_wrong = next_status(*status, event, FAILURES_MAX - 1, EXPIRIES_MAX - 1);
                assert_eq!(gone_wrong, last_try, "{status} {event:?} on the last try");
            }
        }
    }

    #[test]
    fn a_lease_taken_back_is_no_expiry() {
        let running = TaskState { status: TaskStatus::Running, failures: 1, expiries: 2 };
        let lapsed = running.apply(TaskEvent::AttemptExpired).unwrap();
        assert_eq!(lapsed, TaskState { status: TaskStatus::Pending, failures: 1, expiries: 3 });
        assert_eq!(lapsed.apply(TaskEvent::TakenBack), Ok(running));
    }

    #[test]
    fn every_state_and_event_of_a_job() {
        use JobEvent as E;
        use JobStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};
        let allowed = [
            (Pending, E::Started, Running),
            (Pending, E::Paused, Paused),
            (Pending, E::Cancelled, Cancelled),
            (Running, E::Paused, Paused),
            (Running, E::Completed, Completed),
            (Running, E::Failed, Failed),
            (Running, E::Cancelled, Cancelled),
            (Paused, E::Resumed { started: true }, Running),
            (Paused, E::Resumed { started: false }, Pending),
            (Paused, E::Completed, Completed),
            (Paused, E::Failed, Failed),
            (Paused, E::Cancelled, Cancelled),
        ];
        let events = [
            E::Started,
            E::Paused,
            E::Resumed { started: true },
            E::Resumed { started: false },
            E::Completed,
            E::Failed,
            E::Cancelled,
        ];
        for status in JobStatus::ALL {
            for event in events {
                let expected = allowed.iter().find(|(from, on, _)| from == status && *on == event);
                assert_eq!(
                    apply_to_job(*status, event).ok(),
                    expected.map(|(_, _, to)| *to),
                    "{status} {event:?}"
                );
            }
        }
    }

    #[test]
    fn every_state_and_event_of_an_attempt() {
        use AttemptEvent as E;
        let ends = [
            (E::Completed, AttemptStatus::Completed),
            (E::Failed, AttemptStatus::Failed),
            (E::Expired, AttemptStatus::Expired),
            (E::Released, AttemptStatus::Released),
            (E::Cancelled, AttemptStatus::Cancelled),
        ];
        for status in AttemptStatus::ALL {
            let open =
                [AttemptStatus::Pending, AttemptStatus::Running, AttemptStatus::Paused].contains(status);
            for (event, to) in ends {
                assert_eq!(apply_to_attempt(*status, event).ok(), open.then_some(to), "{status} {event:?}");
            }
            let started = (*status == AttemptStatus::Pending).then_some(AttemptStatus::Running);
            assert_eq!(apply_to_attempt(*status, E::Started).ok(), started, "{status} started");
        }
    }
}
