//! What lists have in common: how many items at once, where a page begins and ends, and as what they are sent.

use std::str::FromStr;

use pictor_protocol::List;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};

pub const LIMIT_DEFAULT: u32 = 100;
pub const LIMIT_MAX: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    Csv,
}

/// How many items a page has.
pub fn limit(asked: Option<u32>) -> Result<u32> {
    Ok(limit_if_asked(asked)?.unwrap_or(LIMIT_DEFAULT))
}

/// As [`limit`], of what is sent whole unless somebody asked for less.
pub fn limit_if_asked(asked: Option<u32>) -> Result<Option<u32>> {
    if asked.is_some_and(|limit| limit == 0 || limit > LIMIT_MAX) {
        return Err(Error::Invalid(format!("limit must be from 1 to {LIMIT_MAX}")));
    }
    Ok(asked)
}

/// A parameter with something in it.
pub fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// The item after which a page begins, in a list whose cursors are its items' ids.
pub fn after<T: FromStr>(cursor: Option<&str>) -> Result<Option<T>> {
    cursor.filter(|cursor| !cursor.is_empty()).map(str::parse).transpose().map_err(|_| strange_cursor())
}

pub fn strange_cursor() -> Error {
    Error::Invalid("cursor is not one that this list gave".to_owned())
}

/// A page of `items`, of which one more than `limit` was read: it tells whether there is a next page.
pub fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> String) -> List<T> {
    let has_next = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| has_next).map(cursor);
    List { items, next_cursor }
}

/// A LIKE pattern, with `\` as its escape, for texts that hold `part` to the letter.
pub fn holding(part: &str) -> String {
    format!("%{}%", part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}

#[cfg(test)]
mod tests {
    use super::{after, holding, limit, page};

    #[test]
    fn a_page_tells_where_the_next_begins() {
        let id = |item: &i32| item.to_string();
        assert_eq!(page(vec![1, 2, 3], 2, id).next_cursor.as_deref(), Some("2"));
        assert_eq!(page(vec![1, 2, 3], 2, id).items, [1, 2]);
        assert_eq!(page(vec![1, 2], 2, id).next_cursor, None);
        assert!(after::<i32>(Some("2")).unwrap() == Some(2) && after::<i32>(Some("")).unwrap().is_none());
        assert!(after::<i32>(Some("x")).is_err() && limit(Some(0)).is_err() && limit(Some(1_001)).is_err());
    }

    #[test]
    fn a_part_is_no_pattern() {
        assert_eq!(holding(r"50%_a\b"), r"%50\%\_a\\b%");
    }
}
