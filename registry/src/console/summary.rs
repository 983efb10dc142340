//! What the account has earned and done, what it holds, and what was sent to it.

use askama::Template;
use axum::extract::State;
use axum::response::{Html, Response};
use pictor_look::text;
use pictor_protocol::{Earnings, EarningsGroup, Micros, Payout, Role, TaskCounts};
use serde::Deserialize;

use super::chart::Charts;
use super::{Page, Visitor};
use crate::App;
use crate::config::Settings;
use crate::error::{Query, Result};
use crate::figures::{self, By, Of, PeriodQuery, Range};
use crate::payouts;

/// How many groups and payouts a table shows.
const ROWS_MAX: usize = 20;

#[derive(Debug, Default, Deserialize)]
pub(super) struct SummaryQuery {
    #[serde(default)]
    range: Option<Range>,
}

/// One table of figures by something.
struct Grouped {
    title: &'static str,
    column: &'static str,
    rows: Vec<GroupRow>,
    /// How many more there are than the table shows.
    more: usize,
    /// Where the time online is known for its rows.
    has_online: bool,
}

struct GroupRow {
    name: String,
    link: Option<String>,
    earnings: String,
    per_hour: String,
    success: String,
    completed: i64,
    failed: i64,
}

#[derive(Template)]
#[template(path = "console/summary.html")]
struct SummaryPage<'a> {
    page: &'a Page,
    figures: Earnings,
    points_rule: String,
    counts: Vec<(&'static str, &'static str, String)>,
    charts: Charts,
    ranges: Vec<RangeLink>,
    groups: Vec<Grouped>,
    payouts: Vec<Payout>,
    more_payouts: bool,
    is_operator: bool,
    /// No worker has ever been given a task.
    is_empty: bool,
    grafana: Option<String>,
}

/// A range that can be chosen.
pub(super) struct RangeLink {
    pub(super) label: &'static str,
    pub(super) word: &'static str,
    pub(super) is_current: bool,
}

pub(super) fn range_links(current: Option<Range>) -> Vec<RangeLink> {
    let ranges =
        [(Range::Day, "24 hours", "24h"), (Range::Week, "7 days", "7d"), (Range::Month, "30 days", "30d")];
    ranges
        .into_iter()
        .map(|(range, label, word)| RangeLink { label, word, is_current: Some(range) == current })
        .collect()
}

/// How points are counted, by this registry's settings.
pub(super) fn points_rule(settings: &Settings) -> String {
    format!(
        "{} for each completed frame and {} for each full hour online and able to work. Points are never spent.",
        text::count(settings.points_per_frame, "point", "points"),
        text::count(settings.points_per_hour, "point", "points"),
    )
}

/// Attempts by where they stand: status, label and count.
pub(super) fn task_counts(figures: &Earnings) -> Vec<(&'static str, &'static str, String)> {
    let tasks = &figures.tasks;
    let counts = [
        ("completed", "Completed", tasks.completed),
        ("failed", "Failed", tasks.failed),
        ("running", "Running", tasks.running),
        ("pending", "Pending", tasks.pending),
        ("paused", "Paused", tasks.paused),
        ("expired", "Expired", tasks.expired),
        ("released", "Released", tasks.released),
        ("cancelled", "Cancelled", tasks.cancelled),
    ];
    counts.map(|(status, label, count)| (status, label, text::thousands(count))).to_vec()
}

/// All-time figures, and the series of a range: 30 days come with the former.
pub(super) async fn all_time_and_range(
    app: &App,
    visitor: &Visitor,
    of: Of,
    query: PeriodQuery,
) -> Result<(Earnings, Earnings)> {
    let tz = visitor.zone.iana_name().map(str::to_owned);
    let all_time = PeriodQuery { tz: tz.clone(), ..PeriodQuery::default() };
    let figures = figures::figures(app, of, &all_time).await?;
    let ranged = match query.range {
        Some(Range::Month) => figures.clone(),
        _ => figures::figures(app, of, &PeriodQuery { tz, ..query }).await?,
    };
    Ok((figures, ranged))
}

pub(super) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(query): Query<SummaryQuery>,
) -> Result<Html<String>> {
    let caller = visitor.with_role(Role::Provider)?;
    let of = Of::account(caller.account_filter());
    let range = query.range.unwrap_or(Range::Month);
    let period = PeriodQuery { range: Some(range), ..PeriodQuery::default() };
    let (figures, ranged) = all_time_and_range(&app, &visitor, of, period).await?;
    let [workers, models, tags] = figures::groups(&app, of, [By::Worker, By::GpuName, By::Tag]).await?;
    let payouts = payouts::page(&app, caller, None, ROWS_MAX as u32).await?;
    let page = Page::new(&app, &visitor, "Summary");
    let ranges = range_links(Some(range));
    let word = ranges.iter().find(|link| link.is_current).map_or("30d", |link| link.word);
    let currency = &figures.currency;
    page.show(&SummaryPage {
        grafana: page.grafana("pictor-summary", &[("from", &format!("now-{word}")), ("to", "now")]),
        points_rule: points_rule(&app.settings),
        counts: task_counts(&figures),
        charts: Charts::of(&ranged, &page.zone)?,
        ranges,
        groups: vec![
            grouped("By worker", "Worker", &workers, currency, true),
            grouped("By GPU model", "GPU model", &models, currency, false),
            grouped("By tag", "Tag", &tags, currency, true),
        ],
        more_payouts: payouts.next_cursor.is_some(),
        payouts: payouts.items,
        is_operator: caller.is_operator(),
        is_empty: figures.tasks == TaskCounts::default(),
        figures,
        page: &page,
    })
}

fn grouped(
    title: &'static str,
    column: &'static str,
    groups: &[EarningsGroup],
    currency: &str,
    has_online: bool,
) -> Grouped {
    let row = |group: &EarningsGroup| GroupRow {
        name: group.name.clone(),
        link: group.key.starts_with("wrk_").then(|| format!("/workers/{}/statistics", group.key)),
        earnings: text::money(&group.earnings_micros, currency),
        per_hour: money_or_unknown(group.earnings_per_hour_online_micros, currency),
        success: text::percent_or_unknown(&group.success_ratio),
        completed: group.completed,
        failed: group.failed,
    };
    Grouped {
        title,
        column,
        rows: groups.iter().take(ROWS_MAX).map(row).collect(),
        more: groups.len().saturating_sub(ROWS_MAX),
        has_online,
    }
}

fn money_or_unknown(amount: Option<Micros>, currency: &str) -> String {
    amount.map_or_else(|| text::UNKNOWN.to_owned(), |amount| text::money(&amount, currency))
}

/// The visitor's payouts, all of them.
pub(super) async fn payouts_csv(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    payouts::csv(&app, visitor.with_role(Role::Provider)?, None, None).await
}
