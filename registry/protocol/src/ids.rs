//! Prefixed UUIDv7 identifiers: sortable by creation, and impossible to mistake for one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

/// Why a text is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an identifier of the form {prefix}_…")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// What every identifier of this kind begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A UUIDv7 of this moment (Unix milliseconds) and these random bytes.
            /// The caller brings both: clock and randomness are injected, never ambient.
            pub fn from_parts(unix_millis: u64, random: [u8; 10]) -> Self {
                Self(Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid())
            }

            /// The UUID as one number.
            pub fn as_u128(self) -> u128 {
                self.0.as_u128()
            }

            /// When it was made, in Unix milliseconds, as it says itself.
            pub fn unix_millis(self) -> u64 {
                u64::try_from(self.as_u128() >> 80).unwrap_or(0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // Exactly the form that Display writes: two spellings of one id would be two cache keys.
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| IdError { prefix: $prefix, text: text.chars().take(64).collect() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-f]{32}$")))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

id!(
    /// A person or organisation.
    AccountId,
    "acc"
);
id!(
    /// One registered machine of a provider.
    WorkerId,
    "wrk"
);
id!(
    /// A scene, a frame range and a price.
    JobId,
    "job"
);
id!(
    /// A chunk of a job's frames, the unit that is assigned.
    TaskId,
    "tsk"
);
id!(
    /// One assignment of a task to one slot of one worker; also the name of its lease.
    AttemptId,
    "att"
);
id!(
    /// An access token's public name (never its secret).
    TokenId,
    "tok"
);
id!(
    /// Where an account's notifications go.
    ChannelId,
    "chn"
);
id!(
    /// One message to one channel.
    DeliveryId,
    "dlv"
);
id!(
    /// Something wrong with a worker, from beginning to end.
    IncidentId,
    "inc"
);
id!(
    /// One immutable row of the ledger.
    TransferId,
    "trf"
);
id!(
    /// Money sent to a provider's wallet; also the book that holds it meanwhile.
    PayoutId,
    "pay"
);
id!(
    /// A person signed in with a browser.
    SessionId,
    "ses"
);
id!(
    /// A key that agents trade for workers of their own.
    EnrolmentId,
    "enr"
);
id!(
    /// A scene of the agent's own, rendered on every slot of a worker.
    TestRenderId,
    "tst"
);
id!(
    /// One thing that was done, in the audit log.
    AuditEventId,
    "aud"
);

/// Names one asking for leases: the same one again gets the same leases again. Kept as its asker made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AskId(String);

/// Why a text names no asking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ask_id: 1 to {ASK_ID_CHARS_MAX} characters")]
pub struct AskIdError;

const ASK_ID_CHARS_MAX: usize = 128;

impl AskId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for AskId {
    fn from(uuid: Uuid) -> AskId {
        AskId(uuid.simple().to_string())
    }
}

impl TryFrom<String> for AskId {
    type Error = AskIdError;

    fn try_from(text: String) -> Result<AskId, AskIdError> {
        let fits = (1..=ASK_ID_CHARS_MAX).contains(&text.chars().count());
        if fits { Ok(AskId(text)) } else { Err(AskIdError) }
    }
}

impl From<AskId> for String {
    fn from(ask: AskId) -> String {
        ask.0
    }
}

impl utoipa::PartialSchema for AskId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .min_length(Some(1))
            .max_length(Some(ASK_ID_CHARS_MAX))
            .into()
    }
}

impl utoipa::ToSchema for AskId {}

#[cfg(test)]
mod tests {
    use super::{AskId, JobId, WorkerId};

    #[test]
    fn text_form_round_trips_and_sorts_by_time() {
        let early = WorkerId::from_parts(1_000, [7; 10]);
        let late = WorkerId::from_parts(2_000, [0; 10]);
        assert_eq!(early.to_string().parse::<WorkerId>(), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!((early.unix_millis(), late.unix_millis()), (1_000, 2_000));
    }

    #[test]
    fn an_asking_is_named_by_1_to_128_characters() {
        let read = |text: String| AskId::try_from(text).map(|ask| ask.as_str().to_owned());
        assert_eq!(read("é".repeat(128)), Ok("é".repeat(128)));
        assert_eq!(AskId::from(uuid::Uuid::nil()).as_str(), "0".repeat(32));
        for wrong in [String::new(), "x".repeat(129)] {
            assert_eq!(read(wrong).unwrap_err().to_string(), "ask_id: 1 to 128 characters");
        }
    }

    #[test]
    fn another_kind_or_another_spelling_is_refused() {
        let worker = WorkerId::from_parts(1_000, [7; 10]).to_string();
        assert!(worker.parse::<JobId>().is_err());
        assert!(worker.to_uppercase().parse::<WorkerId>().is_err());
        assert!("wrk_".parse::<WorkerId>().is_err());
    }
}
