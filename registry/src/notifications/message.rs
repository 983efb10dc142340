//! What is said: one message as it is queued, and several that waited as one.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pictor_protocol::{Micros, NotificationEvent, NotificationPhase, UnixMillis, WorkerId, WorkerName};
use url::Url;

use super::incident::Trouble;

/// How many messages one that merges them spells out.
const SPELT_MAX: usize = 50;
const DETAIL_CHARS_MAX: usize = 600;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) event: NotificationEvent,
    pub(super) phase: NotificationPhase,
    pub(super) worker_id: Option<WorkerId>,
    pub(super) title: String,
    pub(super) text: String,
}

impl Message {
    /// Whatever an account wants to hear, and at whatever hour.
    pub(super) fn is_always_sent(&self) -> bool {
        self.event == NotificationEvent::WalletChanged
    }
}

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

/// Something that happened to an account's money.
#[derive(Debug, Clone)]
pub enum Announcement {
    PayoutSent { amount: Micros, currency: String, reference: Option<String> },
    PayoutFailed { amount: Micros, currency: String, reference: Option<String> },
    WalletChanged { to: Option<String> },
}

impl Announcement {
    pub(super) fn message(&self) -> Message {
        let (event, title, text) = match self {
            Announcement::PayoutSent { amount, currency, reference } => (
                NotificationEvent::PayoutSent,
                format!("Payout of {amount} {currency} sent"),
                format!("It is on its way to your wallet.{}", noted(reference.as_deref())),
            ),
            Announcement::PayoutFailed { amount, currency, reference } => (
                NotificationEvent::PayoutFailed,
                format!("Payout of {amount} {currency} failed"),
                format!("The amount is in your balance again.{}", noted(reference.as_deref())),
            ),
            Announcement::WalletChanged { to } => (
                NotificationEvent::WalletChanged,
                "Wallet address changed".to_owned(),
                match to {
                    Some(address) => format!(
                        "Payouts now go to {address}. If this was not you, revoke your access tokens and tell the operator."
                    ),
                    None => "Your account has no wallet address now, so nothing can be paid out. If this was not you, \
                             revoke your access tokens and tell the operator."
                        .to_owned(),
                },
            ),
        };
        let text = cut(&text, DETAIL_CHARS_MAX);
        Message { event, phase: NotificationPhase::Once, worker_id: None, title, text }
    }
}

fn noted(reference: Option<&str>) -> String {
    reference.map_or_else(String::new, |text| format!(" Reference: {text}"))
}

/// What a person reads: one message as it is, or all that waited, each with its time.
pub(super) fn merged(messages: &[(&Message, UnixMillis)], zone: &TimeZone) -> (String, String) {
    let Some((first, _)) = messages.first() else { return (String::new(), String::new()) };
    if messages.len() == 1 {
        return (first.title.clone(), first.text.clone());
    }
    let mut text = String::new();
    for (message, at) in messages.iter().take(SPELT_MAX) {
        text.push_str(&format!("{}: {}\n{}\n\n", exact(*at, zone), message.title, message.text));
    }
    if messages.len() > SPELT_MAX {
        text.push_str(&format!("… and {} more.\n", messages.len() - SPELT_MAX));
    }
    (format!("{}, and {} more", first.title, messages.len() - 1), text.trim_end().to_owned())
}

pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn exact(at: UnixMillis, zone: &TimeZone) -> String {
    let moment = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Q").to_string()
}
