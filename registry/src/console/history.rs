//! Task History: what a worker, or the whole fleet, was given to do; and one attempt, opened.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pictor_look::text;
use pictor_protocol::{Attempt, AttemptId, AttemptStatus, HistoryRow, List, Role, UnixMillis, WorkerId};
use serde::Deserialize;
use url::form_urlencoded;

use super::{Page, Visitor};
use crate::App;
use crate::attempts::{self, HistoryQuery, Order, Sort};
use crate::error::{Error, Path, Query, Result};
use crate::figures::worker_seen_by;
use crate::lists::Format;

const ROWS: u32 = 50;
/// A column that sorts, by the word that the API knows it by.
const SORTS: &[(&str, Sort)] = &[
    ("started_at", Sort::StartedAt),
    ("completed_at", Sort::CompletedAt),
    ("status", Sort::Status),
    ("cost", Sort::Cost),
    ("reward", Sort::Reward),
    ("render_seconds", Sort::RenderSeconds),
];

/// What the page's own form and links say; days are the visitor's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    search: String,
    status: String,
    from: String,
    to: String,
    worker: String,
    gpu: String,
    tag: String,
    sort: String,
    order: String,
    cursor: String,
    format: String,
}

#[derive(Template)]
#[template(path = "console/history.html")]
struct HistoryPage<'a> {
    page: &'a Page,
    /// Whose history it is; none: the whole fleet's.
    worker: Option<NamedWorker>,
    asked: Asked,
    /// Why what was asked for cannot be answered: the field, and the words.
    refusal: Option<(&'static str, String)>,
    rows: Vec<HistoryRow>,
    next: Option<String>,
    path: String,
}

struct NamedWorker {
    id: WorkerId,
    name: String,
}

#[derive(Template)]
#[template(path = "console/attempt.html")]
struct AttemptPage<'a> {
    page: &'a Page,
    attempt: Attempt,
    log: Option<String>,
    /// Whether this session may read logs.
    reads_logs: bool,
    frames: String,
}

pub(super) async fn of_worker(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<WorkerId>,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    let caller = visitor.with_role(Role::Provider)?;
    let (_, name) = worker_seen_by(&app, caller, id).await?;
    let asked = Asked { worker: id.to_string(), ..asked };
    show(&app, &visitor, Some(NamedWorker { id, name }), asked).await
}

pub(super) async fn of_fleet(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    show(&app, &visitor, None, asked).await
}

async fn show(app: &App, visitor: &Visitor, worker: Option<NamedWorker>, asked: Asked) -> Result<Response> {
    let caller = visitor.with_role(Role::Provider)?;
    let (query, refusal) = match asked.query(&visitor.zone) {
        Ok(query) => (query, None),
        Err(refusal) => (HistoryQuery::default(), Some(refusal)),
    };
    if query.format == Format::Csv {
        return attempts::as_csv(app, caller, &query);
    }
    let List { items, next_cursor } = match refusal {
        None => attempts::attempts(app, caller, &query).await?,
        Some(_) => List { items: Vec::new(), next_cursor: None },
    };
    let title =
        worker.as_ref().map_or_else(|| "History".to_owned(), |worker| format!("Tasks of {}", worker.name));
    let path = match &worker {
        Some(worker) => format!("/workers/{}/tasks", worker.id),
        None => "/attempts".to_owned(),
    };
    let page = Page::new(app, visitor, &title);
    let content = HistoryPage { page: &page, worker, asked, refusal, rows: items, next: next_cursor, path };
    Ok(page.show(&content)?.into_response())
}

impl Asked {
    /// The API's query, or the field that cannot be understood and why.
    fn query(&self, zone: &TimeZone) -> std::result::Result<HistoryQuery, (&'static str, String)> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let from = moment(&self.from, 0, zone).map_err(|why| ("from", why))?;
        let to = moment(&self.to, 1, zone).map_err(|why| ("to", why))?;
        if let (Some(from), Some(to)) = (from, to)
            && to <= from
        {
            return Err(("to", "The last day comes before the first: give a later one.".to_owned()));
        }
        Ok(HistoryQuery {
            worker: given(&self.worker),
            gpu: given(&self.gpu),
            tag: given(&self.tag),
            status: given(&self.status),
            from,
            to,
            search: given(&self.search),
            sort: self.sort(),
            order: if self.order == "asc" { Order::Asc } else { Order::Desc },
            limit: (self.format != "csv").then_some(ROWS),
            cursor: given(&self.cursor),
            format: if self.format == "csv" { Format::Csv } else { Format::Json },
        })
    }

    fn sort(&self) -> Sort {
        SORTS.iter().find(|(word, _)| *word == self.sort).map_or(Sort::default(), |(_, sort)| *sort)
    }

    fn is_filtered(&self) -> bool {
        [&self.search, &self.status, &self.from, &self.to, &self.gpu, &self.tag]
            .iter()
            .any(|text| !text.is_empty())
    }

    /// The link to this view with some of it changed.
    fn link(&self, changes: &[(&str, &str)]) -> String {
        let mut link = form_urlencoded::Serializer::new(String::new());
        let all = [
            ("search", &self.search),
            ("status", &self.status),
            ("from", &self.from),
            ("to", &self.to),
            ("gpu", &self.gpu),
            ("tag", &self.tag),
            ("sort", &self.sort),
            ("order", &self.order),
        ];
        for (name, value) in all {
            let value =
                changes.iter().find(|(changed, _)| *changed == name).map_or(value.as_str(), |(_, to)| to);
            if !value.is_empty() {
                link.append_pair(name, value);
            }
        }
        for (name, value) in changes.iter().filter(|(name, _)| matches!(*name, "cursor" | "format")) {
            link.append_pair(name, value);
        }
        link.finish()
    }
}

/// When a day begins, or the day `days` later.
fn moment(day: &str, days: i64, zone: &TimeZone) -> std::result::Result<Option<UnixMillis>, String> {
    let day = day.trim();
    if day.is_empty() {
        return Ok(None);
    }
    let start = day
        .parse::<Date>()
        .and_then(|date| date.checked_add(jiff::Span::new().days(days)))
        .and_then(|date| date.to_zoned(zone.clone()));
    match start {
        Ok(start) => Ok(Some(UnixMillis(start.timestamp().as_millisecond()))),
        Err(_) => Err(format!("‘{day}’ is not a day: write it as 2026-01-31.")),
    }
}

impl HistoryPage<'_> {
    fn heading(&self) -> &str {
        self.worker.as_ref().map_or("History", |worker| &worker.name)
    }

    fn statuses(&self) -> &'static [AttemptStatus] {
        AttemptStatus::ALL
    }

    fn is_status(&self, status: &AttemptStatus) -> bool {
        self.asked.status == status.as_str()
    }

    fn refusal_of(&self, field: &str) -> Option<&str> {
        self.refusal.as_ref().filter(|(refused, _)| *refused == field).map(|(_, why)| why.as_str())
    }

    /// The link of a column's head: again, the other way round.
    fn sorted_by(&self, word: &str) -> String {
        let order = if self.sorting(word) == "descending" { "asc" } else { "desc" };
        self.asked.link(&[("sort", word), ("order", order)])
    }

    /// What `aria-sort` says of a column.
    fn sorting(&self, word: &str) -> &'static str {
        let is_sorted = SORTS.iter().any(|(known, sort)| *known == word && *sort == self.asked.sort());
        match (is_sorted, self.asked.order == "asc") {
            (false, _) => "none",
            (true, true) => "ascending",
            (true, false) => "descending",
        }
    }

    fn mark(&self, word: &str) -> &'static str {
        match self.sorting(word) {
            "ascending" => " ↑",
            "descending" => " ↓",
            _ => "",
        }
    }
}

impl AttemptPage<'_> {
    fn frames_of_task(&self) -> String {
        let (first, last) = (self.attempt.row.first_frame, self.attempt.row.last_frame);
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    }
}

pub(super) async fn attempt(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<AttemptId>,
) -> Result<Response> {
    let caller = visitor.with_role(Role::Provider)?;
    let attempt = attempts::attempt(&app, caller, id).await?;
    let reads_logs = caller.require_full().is_ok();
    let log = match attempts::log_of_attempt(&app, caller, id).await {
        Ok(log) => log,
        Err(Error::Forbidden(_)) => None,
        Err(error) => return Err(error),
    };
    let frames = runs(&attempt.frames);
    let page = Page::new(&app, &visitor, &format!("Attempt at {}", attempt.row.task_id));
    Ok(page.show(&AttemptPage { page: &page, attempt, log, reads_logs, frames })?.into_response())
}

/// Numbers in order, neighbours taken together: `1–3, 7`.
fn runs(numbers: &[i64]) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let text = |(first, last): &(i64, i64)| {
        if first == last { first.to_string() } else { format!("{first}–{last}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use pictor_protocol::UnixMillis;

    use super::{Asked, runs};

    #[test]
    fn days_are_the_visitors() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let asked =
            |from: &str, to: &str| Asked { from: from.to_owned(), to: to.to_owned(), ..Asked::default() };
        let query = asked("2026-01-31", "2026-01-31").query(&zone).unwrap();
        let midnight = "2026-01-30T23:00:00Z".parse::<UnixMillis>().unwrap();
        assert_eq!((query.from, query.to), (Some(midnight), Some(midnight.plus_seconds(24 * 3_600))));
        assert_eq!(asked("31.1.", "").query(&zone).unwrap_err().0, "from");
        assert_eq!(asked("2026-02-01", "2026-01-31").query(&zone).unwrap_err().0, "to");
    }

    #[test]
    fn neighbours_are_taken_together() {
        assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), "1–3, 7, 9–10");
        assert_eq!(runs(&[]), "");
    }
}
