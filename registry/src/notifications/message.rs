//! What is said: one message as it is queued, and several that waited as one.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pictor_protocol::{Micros, NotificationEvent, NotificationPhase, UnixMillis, WorkerId};

/// How many messages one that merges them spells out.
const SPELT_MAX: usize = 50;
pub(crate) const DETAIL_CHARS_MAX: usize = 600;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) event: NotificationEvent,
    pub(crate) phase: NotificationPhase,
    pub(crate) worker_id: Option<WorkerId>,
    pub(crate) title: String,
    pub(crate) text: String,
}

impl Message {
    /// Whatever an account wants to hear, and at whatever hour.
    pub(super) fn is_always_sent(&self) -> bool {
        self.event == NotificationEvent::WalletChanged
    }
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

pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A moment as a person reads it.
pub(crate) fn exact(at: UnixMillis, zone: &TimeZone) -> String {
    let moment = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Q").to_string()
}
