//! What is said of an incident as it begins and as it ends.

use jiff::tz::TimeZone;
use pictor_protocol::{NotificationEvent, NotificationPhase, UnixMillis, WorkerId, WorkerName};
use url::Url;

use super::trouble::Trouble;
use crate::notifications::{DETAIL_CHARS_MAX, Message, cut, exact};

/// The worker that an incident is about.
pub(super) struct Subject<'a> {
    pub(super) worker_id: WorkerId,
    pub(super) name: &'a WorkerName,
    pub(super) hostname: Option<&'a str>,
    pub(super) last_heartbeat_at: Option<UnixMillis>,
}

pub(super) fn began(trouble: &Trouble, worker: &Subject<'_>, zone: &TimeZone, registry: &Url) -> Message {
    let name = worker.name;
    let (title, mut text) = match trouble.event {
        NotificationEvent::WorkerLost => {
            let machine = worker.hostname.map_or_else(String::new, |host| format!(" of the machine {host}"));
            let since = worker
                .last_heartbeat_at
                .map_or_else(|| "for a while".to_owned(), |at| format!("since {}", exact(at, zone)));
            (
                format!("Worker {name} is lost"),
                format!(
                    "It was not heard {since}, and did not say goodbye. Look at power and network{machine}."
                ),
            )
        }
        NotificationEvent::GpuLost => (format!("Worker {name} has lost a GPU"), trouble.detail.clone()),
        NotificationEvent::RepeatedFailures => (
            format!("Worker {name} keeps failing tasks"),
            "Its last three attempts failed. Its Task History says why.".to_owned(),
        ),
        _ => (
            format!("Worker {name} cannot work: {}", trouble.subject.replace('_', " ")),
            trouble.detail.clone(),
        ),
    };
    text = cut(&text, DETAIL_CHARS_MAX);
    of_worker(trouble.event, NotificationPhase::Began, worker, registry, (title, text))
}

pub(super) fn ended(
    event: NotificationEvent,
    subject: &str,
    worker: &Subject<'_>,
    registry: &Url,
) -> Message {
    let name = worker.name;
    let (title, text) = match event {
        NotificationEvent::WorkerLost => (format!("Worker {name} is back"), "It is heard again."),
        NotificationEvent::GpuLost => (format!("Worker {name} has its GPUs again"), "All of them are there."),
        NotificationEvent::RepeatedFailures => {
            (format!("Worker {name} completes tasks again"), "Its last attempt was a success.")
        }
        _ => (
            format!("Worker {name} is well again: {}", subject.replace('_', " ")),
            "The health check passes.",
        ),
    };
    of_worker(event, NotificationPhase::Ended, worker, registry, (title, text.to_owned()))
}

fn of_worker(
    event: NotificationEvent,
    phase: NotificationPhase,
    worker: &Subject<'_>,
    registry: &Url,
    (title, text): (String, String),
) -> Message {
    let page = registry.join(&format!("workers/{}", worker.worker_id));
    let page = page.map_or_else(|_| String::new(), |page| format!("\n{page}"));
    Message { event, phase, worker_id: Some(worker.worker_id), title, text: format!("{text}{page}") }
}
