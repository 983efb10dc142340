//! The SHA-256 of a scene, a frame, a file: 32 bytes, written as 64 small hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names bytes by what they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

/// Why a text is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a SHA-256: 64 digits of 0 to 9 and a to f")]
pub struct Sha256Error(String);

impl Sha256 {
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Sha256 {
        Sha256(bytes)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Sha256, Sha256Error> {
        // Exactly the form that Display writes: it is part of paths and of URLs.
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
            .collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Sha256)
            .ok_or_else(|| Sha256Error(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Sha256Error;

    fn try_from(text: String) -> Result<Sha256, Sha256Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(hash: Sha256) -> String {
        hash.to_string()
    }
}

impl utoipa::PartialSchema for Sha256 {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-f]{64}$"))
            .into()
    }
}

impl utoipa::ToSchema for Sha256 {}

#[cfg(test)]
mod tests {
    use super::Sha256;

    #[test]
    fn text_form_round_trips_and_no_other_is_read() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1], bytes[31]) = (0x0a, 0xff, 0x10);
        let hash = Sha256::from(bytes);
        let text = format!("0aff{}10", "0".repeat(58));
        assert_eq!((hash.to_string(), text.parse()), (text.clone(), Ok(hash)));
        assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{text}\""));
        for other in ["", "0a", &text.to_uppercase(), &text[1..], &format!("{text}00"), &"é".repeat(32)] {
            assert!(other.parse::<Sha256>().is_err(), "{other}");
        }
        let error = "..".parse::<Sha256>().unwrap_err().to_string();
        assert_eq!(error, "'..' is not a SHA-256: 64 digits of 0 to 9 and a to f");
    }
}
