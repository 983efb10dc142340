//! Moments on the wire: RFC 3339 in UTC with exactly three decimals.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment in milliseconds since the Unix epoch, as stored; RFC 3339 as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Seconds from `earlier` to this moment; negative when it lies after it.
    pub fn seconds_since(self, earlier: UnixMillis) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let millis = (self.0 - earlier.0) as f64;
        millis / 1_000.0
    }

    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> UnixMillis {
        UnixMillis(self.0.saturating_add(seconds.saturating_mul(1_000)))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for UnixMillis {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<UnixMillis, jiff::Error> {
        text.parse::<Timestamp>().map(|moment| UnixMillis(moment.as_millisecond()))
    }
}

impl TryFrom<String> for UnixMillis {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<UnixMillis, jiff::Error> {
        text.parse()
    }
}

impl From<UnixMillis> for String {
    fn from(moment: UnixMillis) -> String {
        moment.to_string()
    }
}

impl utoipa::PartialSchema for UnixMillis {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for UnixMillis {}

#[cfg(test)]
mod tests {
    use super::UnixMillis;

    #[test]
    fn three_decimals_always() {
        assert_eq!(UnixMillis(0).to_string(), "1970-01-01T00:00:00.000Z");
        let moment = UnixMillis(1_795_000_000_120);
        assert_eq!(moment.to_string().parse::<UnixMillis>().unwrap(), moment);
        assert!(moment.to_string().ends_with(".120Z"));
    }
}
