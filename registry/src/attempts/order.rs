//! In which order a history is read, and where in it a page ends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pictor_protocol::{AttemptId, HistoryRow};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::Result;
use crate::filter::{Filter, Value};
use crate::lists;

/// What attempts are sorted by; those that stand equal, by when they were leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    StartedAt,
    CompletedAt,
    Status,
    Cost,
    Reward,
    RenderSeconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Asc,
    #[default]
    Desc,
}

/// What has not ended counts as ending last.
const NOT_ENDED: i64 = i64::MAX;

impl Sort {
    /// Ids sort by the time of the lease, so the first order needs no key beside them, and has the index of
    /// the account or worker. The others sort what the filter leaves.
    fn column(self) -> Option<&'static str> {
        match self {
            Sort::StartedAt => None,
            Sort::CompletedAt => Some("COALESCE(attempts.ended_at, 9223372036854775807)"),
            Sort::Status => Some("attempts.status"),
            Sort::Cost => Some("attempts.cost_micros"),
            Sort::Reward => Some("COALESCE(attempts.reward_micros, -1)"),
            Sort::RenderSeconds => Some("COALESCE(attempts.render_seconds, CAST(-1 AS DOUBLE PRECISION))"),
        }
    }

    fn key_of(self, row: &HistoryRow) -> String {
        match self {
            Sort::StartedAt => String::new(),
            Sort::CompletedAt => row.completed_at.map_or(NOT_ENDED, |at| at.0).to_string(),
            Sort::Status => row.status.to_string(),
            Sort::Cost => row.cost_micros.0.to_string(),
            Sort::Reward => row.reward_micros.map_or(-1, |reward| reward.0).to_string(),
            Sort::RenderSeconds => row.render_seconds.unwrap_or(-1.0).to_string(),
        }
    }

    fn key(self, text: &str) -> Option<Value> {
        match self {
            Sort::StartedAt => None,
            Sort::Status => Some(Value::Text(text.to_owned())),
            Sort::CompletedAt | Sort::Cost | Sort::Reward => text.parse().ok().map(Value::Integer),
            Sort::RenderSeconds => text.parse().ok().map(Value::Number),
        }
    }
}

/// The row after which a page begins.
pub(super) struct Position {
    /// What it is sorted by; none where that is the id alone.
    key: Option<Value>,
    key_text: String,
    id: AttemptId,
}

impl Position {
    pub(super) fn of(row: &HistoryRow, sort: Sort) -> Position {
        let key_text = sort.key_of(row);
        Position { key: sort.key(&key_text), key_text, id: row.id }
    }

    pub(super) fn read(cursor: &str, sort: Sort) -> Result<Position> {
        let refused = lists::strange_cursor;
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let text = String::from_utf8(bytes).map_err(|_| refused())?;
        let (key_text, id) = text.rsplit_once(' ').ok_or_else(refused)?;
        let key = sort.key(key_text);
        if key.is_none() && (sort.column().is_some() || !key_text.is_empty()) {
            return Err(refused());
        }
        Ok(Position { key, key_text: key_text.to_owned(), id: id.parse().map_err(|_| refused())? })
    }

    pub(super) fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {}", self.key_text, self.id))
    }

    pub(super) fn apply(&self, filter: &mut Filter, (sort, order): (Sort, Order)) {
        match (sort.column(), self.key.clone()) {
            (Some(column), Some(key)) => {
                filter.after((column, "attempts.id"), order == Order::Desc, key, self.id.to_string());
            }
            _ if order == Order::Desc => {
                filter.text("attempts.id < $?", self.id);
            }
            _ => {
                filter.text("attempts.id > $?", self.id);
            }
        }
    }
}

/// The clause that puts rows in this order.
pub(super) fn ending((sort, order): (Sort, Order)) -> String {
    let word = if order == Order::Desc { "DESC" } else { "ASC" };
    match sort.column() {
        Some(column) => format!("ORDER BY {column} {word}, attempts.id {word}"),
        None => format!("ORDER BY attempts.id {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Position, Sort};
    use pictor_protocol::AttemptId;

    #[test]
    fn cursors_round_trip_and_strangers_are_refused() {
        let id = AttemptId::from_parts(1, [3; 10]);
        for (sort, key_text) in [(Sort::StartedAt, ""), (Sort::Cost, "50000"), (Sort::RenderSeconds, "0.1")] {
            let cursor = Position { key: None, key_text: key_text.to_owned(), id }.cursor();
            let read = Position::read(&cursor, sort).unwrap();
            assert_eq!((read.id, read.key_text.as_str()), (id, key_text));
            assert_eq!(read.key.is_some(), sort != Sort::StartedAt);
            let other = if sort == Sort::StartedAt { Sort::Reward } else { Sort::StartedAt };
            assert!(Position::read(&cursor, other).is_err(), "a cursor of another order");
        }
        assert!(Position::read("x", Sort::StartedAt).is_err());
        assert!(Position::read("YXR0Xw", Sort::StartedAt).is_err());
    }
}
