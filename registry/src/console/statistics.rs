//! One worker's Statistics: what it earned and did, over a range of the visitor's choice.

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pictor_look::text;
use pictor_protocol::{Earnings, Role, UnixMillis, WorkerId};
use serde::Deserialize;

use super::chart::Charts;
use super::summary::{RangeLink, all_time_and_range, points_rule, range_links, task_counts};
use super::{Page, Visitor};
use crate::App;
use crate::error::{Error, Path, Query, Result};
use crate::figures::{PeriodQuery, Range, worker_seen_by};

/// Days are the visitor's; both are included.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StatisticsQuery {
    range: Option<Range>,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
}

#[derive(Template)]
#[template(path = "console/statistics.html")]
struct StatisticsPage {
    tab: &'static str,
    worker_id: WorkerId,
    worker_name: String,
    figures: Earnings,
    points_rule: String,
    counts: Vec<(&'static str, &'static str, String)>,
    charts: Charts,
    ranges: Vec<RangeLink>,
    from: String,
    to: String,
    refusal: Option<String>,
    grafana: Option<String>,
}

pub(super) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Path(worker_id): Path<WorkerId>,
    Query(query): Query<StatisticsQuery>,
) -> Result<Html<String>> {
    let (of, worker_name) = worker_seen_by(&app, visitor.with_role(Role::Provider)?, worker_id).await?;
    let of_month = || PeriodQuery { range: Some(Range::Month), ..PeriodQuery::default() };
    let asked = period(&query, &visitor.zone, app.clock.now());
    let (period, mut refusal) = match asked {
        Ok(period) => (period, None),
        Err(refusal) => (of_month(), Some(refusal)),
    };
    let found = all_time_and_range(&app, &visitor, of, period.clone()).await;
    let (shown, (figures, ranged)) = match found {
        // Such as more buckets than a chart can have.
        Err(Error::Invalid(cause)) => {
            refusal = Some(cause);
            (of_month(), all_time_and_range(&app, &visitor, of, of_month()).await?)
        }
        found => (period, found?),
    };
    let page = Page::new(&app, &visitor, &worker_name);
    let ranges = range_links(shown.range);
    let (from, to) = match (shown.from, shown.to, ranges.iter().find(|link| link.is_current)) {
        (Some(from), Some(to), _) => (from.0.to_string(), to.0.to_string()),
        (_, _, current) => (format!("now-{}", current.map_or("30d", |link| link.word)), "now".to_owned()),
    };
    let variables = [("var-worker", worker_id.to_string()), ("from", from), ("to", to)];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    page.show(&StatisticsPage {
        grafana: page.grafana("pictor-worker-statistics", &variables),
        tab: "statistics",
        worker_id,
        worker_name,
        points_rule: points_rule(&app.settings),
        counts: task_counts(&figures),
        charts: Charts::of(&ranged, &page.zone)?,
        ranges,
        from: query.from,
        to: query.to,
        refusal,
        figures,
    })
}

/// What was asked for, or why it cannot be shown.
fn period(
    query: &StatisticsQuery,
    zone: &TimeZone,
    now: UnixMillis,
) -> std::result::Result<PeriodQuery, String> {
    let is_custom = !query.from.trim().is_empty() || !query.to.trim().is_empty();
    if !is_custom {
        let range = Some(query.range.unwrap_or(Range::Month));
        return Ok(PeriodQuery { range, ..PeriodQuery::default() });
    }
    let first = day(&query.from)?.ok_or("Choose the first day as well.")?;
    let from = begin(first, zone)?;
    let to = match day(&query.to)? {
        Some(last) => {
            if last < first {
                return Err("The last day lies before the first.".to_owned());
            }
            begin(last.checked_add(1.day()).map_err(|_| "The last day is too far away.")?, zone)?
        }
        None => now,
    };
    if from >= to {
        return Err("The first day lies in the future.".to_owned());
    }
    Ok(PeriodQuery { from: Some(from), to: Some(to), ..PeriodQuery::default() })
}

fn day(text: &str) -> std::result::Result<Option<Date>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("'{text}' is not a day such as 2026-11-25."))
}

fn begin(day: Date, zone: &TimeZone) -> std::result::Result<UnixMillis, String> {
    let begin = day.to_zoned(zone.clone()).map_err(|_| format!("{day} is too far away."))?;
    Ok(UnixMillis(begin.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::{StatisticsQuery, period};
    use jiff::tz::TimeZone;
    use pictor_protocol::UnixMillis;

    #[test]
    fn days_are_the_visitors_and_both_count() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now: UnixMillis = "2026-11-25T10:00:00Z".parse().unwrap();
        let ask = |from: &str, to: &str| {
            period(&StatisticsQuery { range: None, from: from.to_owned(), to: to.to_owned() }, &zone, now)
        };
        let days = ask("2026-11-01", "2026-11-02").unwrap();
        let text = |at: Option<UnixMillis>| at.unwrap().to_string();
        assert_eq!(
            (text(days.from).as_str(), text(days.to).as_str()),
            ("2026-10-31T23:00:00.000Z", "2026-11-02T23:00:00.000Z")
        );
        assert_eq!(ask("2026-11-01", "").unwrap().to, Some(now));
        for (from, to) in [("", "2026-11-01"), ("2026-11-02", "2026-11-01"), ("x", ""), ("2026-12-24", "")] {
            assert!(ask(from, to).is_err(), "{from} to {to}");
        }
    }
}
