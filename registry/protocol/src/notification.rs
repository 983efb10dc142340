//! What an account is told of its workers: of which events, when, where to, and whether it arrived.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::UnknownWord;
use crate::status::words;
use crate::{ChannelId, DeliveryId, UnixMillis, WorkerId};

words!(
    /// How messages reach somebody.
    ChannelKind {
        Email = "email",
        Webhook = "webhook",
        Telegram = "telegram",
    }
);

words!(
    /// What an account can be told of.
    NotificationEvent {
        /// A worker was not heard of, and did not say goodbye.
        WorkerLost = "worker_lost",
        GpuLost = "gpu_lost",
        /// A health check keeps a slot from working.
        HealthFailed = "health_failed",
        /// A worker failed three attempts in a row.
        RepeatedFailures = "repeated_failures",
        PayoutSent = "payout_sent",
        PayoutFailed = "payout_failed",
        /// Always sent, and at once: it may be somebody else's doing.
        WalletChanged = "wallet_changed",
    }
);

words!(
    /// Where a message of an incident stands in it.
    NotificationPhase {
        Began = "began",
        Ended = "ended",
        /// It is no incident, and has no end.
        Once = "once",
    }
);

words!(
    /// What became of a message.
    DeliveryStatus {
        /// On its way, held back by quiet hours, or to be tried again.
        Pending = "pending",
        Sent = "sent",
        Failed = "failed",
    }
);

/// A time of day, `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    minutes: u16,
}

/// A text that is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time of day is written HH:MM, from 00:00 to 23:59")]
pub struct TimeOfDayError;

impl TimeOfDay {
    /// Since midnight.
    pub fn minutes(self) -> u16 {
        self.minutes
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<TimeOfDay, TimeOfDayError> {
        let (hours, minutes) = text.split_once(':').ok_or(TimeOfDayError)?;
        let number = |text: &str, end: u16| {
            let is_written = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number: &u16| is_written && *number < end).ok_or(TimeOfDayError)
        };
        Ok(TimeOfDay { minutes: number(hours, 24)? * 60 + number(minutes, 60)? })
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = TimeOfDayError;

    fn try_from(text: String) -> Result<TimeOfDay, TimeOfDayError> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> String {
        time.to_string()
    }
}

/// When messages wait: from one time of day to another, over midnight when the second comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    #[schema(value_type = String)]
    pub from: TimeOfDay,
    #[schema(value_type = String)]
    pub to: TimeOfDay,
}

/// `GET /v1/notifications`: what an account wants to hear, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationSettings {
    /// In the account's time zone.
    pub quiet_hours: Option<QuietHours>,
    pub time_zone: String,
    pub events: Vec<NotificationEvent>,
    /// Whether this registry sends e-mail.
    pub sends_email: bool,
}

/// `PATCH /v1/notifications`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNotifications {
    /// Null for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<QuietHours>)]
    pub quiet_hours: Option<Option<QuietHours>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<NotificationEvent>>,
}

/// Tells null from absent.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// `POST /v1/notifications/channels`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewChannel {
    Email {
        address: String,
    },
    Webhook {
        /// Called by POST with JSON.
        url: String,
    },
    Telegram {
        bot_token: String,
        /// A number, or `@name` of a public channel.
        chat_id: String,
    },
}

/// Where messages go. Nothing in it opens anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    pub id: ChannelId,
    pub kind: ChannelKind,
    /// An address, the host of a URL, or a chat.
    pub target: String,
    /// The end of the webhook's signing secret or of the bot's token.
    pub secret_end: Option<String>,
    pub created_at: UnixMillis,
}

/// A channel just made: the one time its secret is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedChannel {
    #[serde(flatten)]
    pub channel: Channel,
    /// What a webhook's calls are signed with; null for other channels.
    pub signing_secret: Option<String>,
}

/// One message to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    pub id: DeliveryId,
    pub channel_id: ChannelId,
    pub channel_kind: ChannelKind,
    pub event: NotificationEvent,
    pub phase: NotificationPhase,
    pub worker_id: Option<WorkerId>,
    pub title: String,
    pub text: String,
    pub status: DeliveryStatus,
    pub tries: u32,
    /// Why the last try came to nothing.
    pub error: Option<String>,
    pub created_at: UnixMillis,
    /// When it is tried next; null once it has ended.
    pub due_at: Option<UnixMillis>,
    pub ended_at: Option<UnixMillis>,
}

#[cfg(test)]
mod tests {
    use super::{PatchNotifications, TimeOfDay};

    #[test]
    fn times_of_day_are_written_one_way() {
        let time: TimeOfDay = "22:05".parse().unwrap();
        assert_eq!((time.minutes(), time.to_string().as_str()), (1_325, "22:05"));
        for refused in ["", "22", "22:5", "24:00", "10:60", "+1:00", "1:000"] {
            assert!(refused.parse::<TimeOfDay>().is_err(), "{refused}");
        }
    }

    #[test]
    fn null_ends_quiet_hours_and_absence_leaves_them() {
        let absent: PatchNotifications = serde_json::from_str("{}").unwrap();
        assert_eq!(absent.quiet_hours, None);
        let none: PatchNotifications = serde_json::from_str(r#"{"quiet_hours": null}"#).unwrap();
        assert_eq!(none.quiet_hours, Some(None));
    }
}
