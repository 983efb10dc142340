//! The list of workers: searched, filtered, sorted, by pages.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pictor_protocol::{
    AccountId, Micros, OfflineReason, SlotStatus, Worker, WorkerFilter, WorkerId, WorkerList, WorkerStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Standing, standings, standings_of};
use crate::App;
use crate::auth::{Caller, Provider};
use crate::error::{Error, Json, Query, Result};
use crate::ledger::store::earned_of;
use crate::lists::{self, Format};
use crate::spreadsheet::{self, Column, or_empty};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    Name,
    /// What needs attention first.
    Status,
    CreatedAt,
    UpdatedAt,
}

impl Sort {
    pub const fn as_str(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Status => "status",
            Sort::CreatedAt => "created_at",
            Sort::UpdatedAt => "updated_at",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Asc,
    Desc,
}

impl Order {
    pub const fn as_str(self) -> &'static str {
        match self {
            Order::Asc => "asc",
            Order::Desc => "desc",
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// A part of a name, an id, a GPU's name or UUID, an IP address or a tag.
    pub search: Option<String>,
    /// Statuses, separated by commas.
    pub status: Option<String>,
    /// Workers that carry this tag.
    pub tag: Option<String>,
    /// These workers alone, separated by commas.
    pub ids: Option<String>,
    #[serde(default)]
    #[param(inline)]
    pub sort: Sort,
    #[serde(default)]
    #[param(inline)]
    pub order: Order,
    /// At most 1,000; 100 unless given.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    pub format: Format,
}

impl ListQuery {
    pub fn of_filter(filter: &WorkerFilter) -> ListQuery {
        let WorkerFilter { search, status, tag } = filter.clone();
        ListQuery { search, status, tag, ..ListQuery::default() }
    }
}

/// A page of the list, and what stands around it.
pub struct Listed {
    pub workers: Vec<Worker>,
    /// The account of each, for operators.
    pub accounts: Vec<String>,
    pub next_cursor: Option<String>,
    /// How many match, on all pages.
    pub total: usize,
    /// Every tag of the workers among which was looked: of all the owner's, unless some were named.
    pub tags: Vec<String>,
}

/// The caller's workers; an operator's are the whole network's.
#[utoipa::path(get, path = "/v1/workers", params(ListQuery), responses((status = 200, body = WorkerList)))]
pub(super) async fn get(
    State(app): State<App>,
    Provider(caller): Provider,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    if query.format == Format::Csv {
        return csv(&app, &caller, &query).await;
    }
    let Listed { workers, next_cursor, total, .. } = list(&app, &caller, &query).await?;
    Ok(Json(WorkerList { items: workers, next_cursor, total: total as u64 }).into_response())
}

/// One page.
pub async fn list(app: &App, caller: &Caller, query: &ListQuery) -> Result<Listed> {
    let limit = lists::limit(query.limit)?;
    let after = query.cursor.as_deref().filter(|cursor| !cursor.is_empty()).map(position).transpose()?;
    let descending = query.order == Order::Desc;
    let all = looked_at(app, caller, query).await?;
    let tags: BTreeSet<&String> = all.iter().flat_map(|standing| &standing.row.tags).collect();
    let tags = tags.into_iter().cloned().collect();
    let matching = matching(all, query)?;
    let total = matching.len();
    let mut found: Vec<((String, String), Standing)> = matching
        .into_iter()
        .map(|standing| ((sort_text(&standing, query.sort), standing.row.id.to_string()), standing))
        .filter(|(key, _)| after.as_ref().is_none_or(|after| compare(key, after, descending).is_gt()))
        .collect();
    found.sort_by(|(left, _), (right, _)| compare(left, right, descending));
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = found.last().filter(|_| more).map(|(key, _)| cursor(key)).transpose()?;
    let accounts = found.iter().map(|(_, standing)| standing.row.account_name.clone()).collect();
    let workers = shown(app, found.iter().map(|(_, standing)| standing)).await?;
    Ok(Listed { workers, accounts, next_cursor, total, tags })
}

/// Every worker of this owner's that a filter means.
pub(super) async fn meant(
    app: &App,
    owner: Option<AccountId>,
    filter: &WorkerFilter,
) -> Result<Vec<Standing>> {
    matching(standings(app, owner).await?, &ListQuery::of_filter(filter))
}

/// Workers with what they have earned.
async fn shown(app: &App, standings: impl Iterator<Item = &Standing> + Clone) -> Result<Vec<Worker>> {
    let ids: Vec<WorkerId> = standings.clone().map(|standing| standing.row.id).collect();
    let earned = earned_of(&mut *app.db.read().await?, &ids).await?;
    let worker = |standing: &Standing| {
        standing.worker(earned.get(&standing.row.id).copied().unwrap_or((Micros::ZERO, 0)))
    };
    Ok(standings.map(worker).collect())
}

/// The workers that the query names, or all of the caller's.
async fn looked_at(app: &App, caller: &Caller, query: &ListQuery) -> Result<Vec<Standing>> {
    let ids = ids(query.ids.as_deref())?;
    standings_of(app, caller.account_filter(), ids.as_deref()).await
}

/// Which of them match what the query says besides.
fn matching(all: Vec<Standing>, query: &ListQuery) -> Result<Vec<Standing>> {
    let statuses = statuses(query.status.as_deref())?;
    let search = query.search.as_deref().unwrap_or_default().trim().to_lowercase();
    let tag = query.tag.as_deref().filter(|tag| !tag.is_empty());
    let is_meant = |standing: &Standing| {
        (statuses.is_empty() || statuses.contains(&standing.status))
            && tag.is_none_or(|tag| standing.row.tags.iter().any(|own| own == tag))
            && (search.is_empty() || has(standing, &search))
    };
    Ok(all.into_iter().filter(is_meant).collect())
}

fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn statuses(text: Option<&str>) -> Result<Vec<WorkerStatus>> {
    words(text).map(|word| word.parse().map_err(|error| Error::Invalid(format!("status: {error}")))).collect()
}

/// `None`: not asked for.
fn ids(text: Option<&str>) -> Result<Option<Vec<WorkerId>>> {
    let ids: Result<Vec<WorkerId>> = words(text)
        .map(|word| word.parse().map_err(|error| Error::Invalid(format!("ids: {error}"))))
        .collect();
    Ok(Some(ids?).filter(|ids| !ids.is_empty()))
}

fn has(standing: &Standing, search: &str) -> bool {
    let hit = |text: &str| text.to_lowercase().contains(search);
    let row = &standing.row;
    if hit(row.name.as_str()) || hit(&row.id.to_string()) || row.tags.iter().any(|tag| hit(tag)) {
        return true;
    }
    standing.seen.as_ref().is_some_and(|seen| {
        let gpu = |gpu: &pictor_protocol::Gpu| hit(&gpu.uuid) || gpu.name.as_deref().is_some_and(hit);
        seen.ip.is_some_and(|ip| hit(&ip.to_string()))
            || seen.report.local_ip.as_deref().is_some_and(hit)
            || seen.report.gpus.iter().any(gpu)
    })
}

/// What the list can be sorted by, as text that sorts like it.
fn sort_text(standing: &Standing, sort: Sort) -> String {
    match sort {
        Sort::Name => standing.row.name.as_str().to_lowercase(),
        Sort::Status => {
            let rank = WorkerStatus::ALL.iter().position(|status| *status == standing.status);
            // Of those offline, only one that is lost asks for somebody.
            let is_quiet = standing.offline_reason.is_some_and(|reason| reason != OfflineReason::Lost);
            format!("{}{}", rank.unwrap_or_default(), u8::from(is_quiet))
        }
        Sort::CreatedAt => format!("{:020}", standing.row.created_at.0),
        Sort::UpdatedAt => format!("{:020}", standing.updated_at().0),
    }
}

fn compare(left: &(String, String), right: &(String, String), descending: bool) -> Ordering {
    if descending { right.cmp(left) } else { left.cmp(right) }
}

/// A cursor is the place after the last item, so that a list which changes meanwhile skips nothing.
fn cursor(key: &(String, String)) -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).map_err(anyhow::Error::from)?))
}

fn position(cursor: &str) -> Result<(String, String)> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice(&json).ok());
    decoded.ok_or_else(lists::strange_cursor)
}

/// What the workers that carry one tag come to together.
#[derive(Debug, Default)]
pub struct TagTotal {
    /// `None`: those without a tag.
    pub tag: Option<String>,
    pub workers: usize,
    pub online: usize,
    pub slots_busy: usize,
    pub slots: usize,
    pub earnings: Micros,
}

/// Those that match, by tag; a worker counts for each of its tags.
pub async fn totals_by_tag(app: &App, caller: &Caller, query: &ListQuery) -> Result<Vec<TagTotal>> {
    let found = matching(looked_at(app, caller, query).await?, query)?;
    let mut totals: BTreeMap<Option<String>, TagTotal> = BTreeMap::new();
    for worker in shown(app, found.iter()).await? {
        let mut tags: Vec<Option<String>> = worker.tags.iter().cloned().map(Some).collect();
        if tags.is_empty() {
            tags.push(None);
        }
        for tag in tags {
            let total = totals.entry(tag.clone()).or_insert_with(|| TagTotal { tag, ..TagTotal::default() });
            total.workers += 1;
            total.online += usize::from(worker.status != WorkerStatus::Offline);
            total.slots += worker.slots.len();
            total.slots_busy += busy_slots(&worker);
            total.earnings = total.earnings + worker.earnings_micros;
        }
    }
    Ok(totals.into_values().collect())
}

fn busy_slots(worker: &Worker) -> usize {
    worker.slots.iter().filter(|slot| slot.status == SlotStatus::Busy).count()
}

/// A worker as CSV has it.
struct Line {
    worker: Worker,
    account: String,
    currency: String,
}

const COLUMNS: [Column<Line>; 21] = [
    Column("id", |line| line.worker.id.to_string()),
    Column("name", |line| line.worker.name.to_string()),
    Column("status", |line| line.worker.status.to_string()),
    Column("offline_reason", |line| or_empty(line.worker.offline_reason)),
    Column("account", |line| line.account.clone()),
    Column("tags", |line| line.worker.tags.join(",")),
    Column("created_at", |line| line.worker.created_at.to_string()),
    Column("updated_at", |line| line.worker.updated_at.to_string()),
    Column("last_heartbeat_at", |line| or_empty(line.worker.last_heartbeat_at)),
    Column("uptime_seconds", |line| or_empty(line.worker.uptime_seconds)),
    Column("availability_ratio", |line| or_empty(line.worker.availability_ratio)),
    Column("os", |line| or_empty(line.worker.os.as_ref())),
    Column("ip", |line| or_empty(line.worker.ip.as_ref())),
    Column("agent_version", |line| or_empty(line.worker.agent_version.as_ref())),
    Column("gpus", |line| gpu_names(&line.worker)),
    Column("memory_total_bytes", |line| or_empty(line.worker.memory_total_bytes)),
    Column("slots_busy", |line| busy_slots(&line.worker).to_string()),
    Column("slots", |line| line.worker.slots.len().to_string()),
    Column("currency", |line| line.currency.clone()),
    Column("earnings_micros", |line| line.worker.earnings_micros.0.to_string()),
    Column("points", |line| line.worker.points.to_string()),
];

/// All that match, in the list's order.
pub async fn csv(app: &App, caller: &Caller, query: &ListQuery) -> Result<Response> {
    let mut found = matching(looked_at(app, caller, query).await?, query)?;
    found.sort_by_cached_key(|standing| (sort_text(standing, query.sort), standing.row.id));
    if query.order == Order::Desc {
        found.reverse();
    }
    let workers = shown(app, found.iter()).await?;
    let lines = workers.into_iter().zip(&found).map(|(worker, standing)| Line {
        worker,
        account: standing.row.account_name.clone(),
        currency: app.settings.currency.clone(),
    });
    let rows = lines.map(|line| spreadsheet::row(&COLUMNS, &line));
    spreadsheet::download("workers.csv", std::iter::once(spreadsheet::head(&COLUMNS)).chain(rows))
}

fn gpu_names(worker: &Worker) -> String {
    let names = worker.gpus.iter().map(|gpu| gpu.name.as_deref().unwrap_or(&gpu.uuid));
    names.collect::<Vec<_>>().join(", ")
}
