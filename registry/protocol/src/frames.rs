//! A range of frames as people write it: `1-10`, or `7` for one frame.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// First and last frame, both rendered; `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FrameRange {
    first: i32,
    last: i32,
}

/// Why a text is not a frame range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameRangeError {
    #[error("'{0}' is not a frame range: write 1-10, or 7 for one frame")]
    Form(String),
    #[error("frames {first}-{last} run backwards: the first frame must not come after the last")]
    Backwards { first: i32, last: i32 },
    #[error("frame {0} is outside what Blender can render (-{max} to {max})", max = FrameRange::FRAME_MAX)]
    Outside(i32),
}

impl FrameRange {
    /// Blender's own bound on frame numbers (`MAXFRAME`).
    pub const FRAME_MAX: i32 = 1_048_574;

    pub fn new(first: i32, last: i32) -> Result<FrameRange, FrameRangeError> {
        if let Some(outside) = [first, last].into_iter().find(|frame| frame.abs() > Self::FRAME_MAX) {
            return Err(FrameRangeError::Outside(outside));
        }
        if first > last {
            return Err(FrameRangeError::Backwards { first, last });
        }
        Ok(FrameRange { first, last })
    }

    pub fn first(self) -> i32 {
        self.first
    }

    pub fn last(self) -> i32 {
        self.last
    }

    /// How many frames the range holds, at least one.
    pub fn count(self) -> i64 {
        i64::from(self.last) - i64::from(self.first) + 1
    }

    pub fn contains(self, frame: i32) -> bool {
        (self.first..=self.last).contains(&frame)
    }

    pub fn iter(self) -> impl Iterator<Item = i32> {
        self.first..=self.last
    }

    /// The range in chunks of at most `per_chunk` frames (at least one), in order.
    pub fn chunks(self, per_chunk: u32) -> impl Iterator<Item = FrameRange> {
        let step = i32::try_from(per_chunk.max(1)).unwrap_or(i32::MAX);
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let first = next?;
            let last = first.saturating_add(step - 1).min(self.last);
            next = (last < self.last).then(|| last + 1);
            Some(FrameRange { first, last })
        })
    }
}

impl fmt::Display for FrameRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for FrameRange {
    type Err = FrameRangeError;

    fn from_str(text: &str) -> Result<FrameRange, FrameRangeError> {
        let refused = || FrameRangeError::Form(text.chars().take(40).collect());
        let text = text.trim();
        // The dash that separates is the first one after the first character: frames can be negative.
        let dash = text.char_indices().skip(1).find(|(_, c)| *c == '-').map(|(at, _)| at);
        let (first, last) = match dash {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, text),
        };
        let number = |part: &str| part.trim().parse::<i32>().map_err(|_| refused());
        FrameRange::new(number(first)?, number(last)?)
    }
}

impl TryFrom<String> for FrameRange {
    type Error = FrameRangeError;

    fn try_from(text: String) -> Result<FrameRange, FrameRangeError> {
        text.parse()
    }
}

impl From<FrameRange> for String {
    fn from(range: FrameRange) -> String {
        range.to_string()
    }
}

impl utoipa::PartialSchema for FrameRange {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^-?[0-9]+(-{1}-?[0-9]+)?$"))
            .into()
    }
}

impl utoipa::ToSchema for FrameRange {}

#[cfg(test)]
mod tests {
    use super::{FrameRange, FrameRangeError};

    #[test]
    fn written_as_people_write_it() {
        for (text, first, last) in
            [("1-10", 1, 10), ("7", 7, 7), ("-5-3", -5, 3), ("-5--3", -5, -3), (" 1 - 2 ", 1, 2)]
        {
            assert_eq!(text.parse(), FrameRange::new(first, last), "{text}");
        }
        assert_eq!("10-1".parse::<FrameRange>(), Err(FrameRangeError::Backwards { first: 10, last: 1 }));
        for text in ["", "-", "1-", "a", "1-2-3", "1.5", "99999999999"] {
            assert!(text.parse::<FrameRange>().is_err(), "{text}");
        }
        assert!("1-1048575".parse::<FrameRange>().is_err());
    }

    #[test]
    fn chunks_cover_the_range_once() {
        let range = FrameRange::new(-3, 7).unwrap();
        for per_chunk in [0, 1, 2, 3, 11, 50, u32::MAX] {
            let frames: Vec<i32> = range.chunks(per_chunk).flat_map(FrameRange::iter).collect();
            assert_eq!(frames, range.iter().collect::<Vec<_>>());
        }
        assert_eq!(range.chunks(4).count(), 3);
    }
}
