//! `/metrics/network`: the network as the database and the heartbeats know it, the same from every replica.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use pictor_family::Family;
use pictor_protocol::{AccountId, AttemptStatus, Micros, UnixMillis, WorkerStatus};
use sqlx::AnyConnection;

use super::EXPOSITION;
use super::store::{self, Totals};
use crate::App;
use crate::auth::Caller;
use crate::backup;
use crate::error::Result;
use crate::network;
use crate::workers::{self, Standing};

const WORKERS: Family = Family::gauge("pictor_registry_workers", &["status"], "Workers by status.");
const LAST_HEARTBEAT: Family = Family::gauge(
    "pictor_registry_worker_last_heartbeat_timestamp_seconds",
    &["worker_id", "worker_name", "account"],
    "When the registry last heard from a worker.",
);
const WORKER_STATUS: Family = Family::gauge(
    "pictor_registry_worker_status",
    &["worker_id", "worker_name", "account", "status"],
    "1 for the status that a worker has now.",
);
const WORKER_OFFLINE: Family = Family::gauge(
    "pictor_registry_worker_offline",
    &["worker_id", "worker_name", "account", "reason"],
    "1 for a worker that is offline, with the reason.",
);
const AGENT_INFO: Family = Family::gauge(
    "pictor_registry_worker_agent_info",
    &["worker_id", "worker_name", "account", "version"],
    "1, with the version of its agent, for every worker that was heard from.",
);
const TASKS: Family = Family::gauge("pictor_registry_tasks", &["status"], "Tasks by status.");
const JOBS: Family = Family::gauge("pictor_registry_jobs", &["status"], "Jobs by status.");
const OLDEST_PENDING: Family = Family::gauge(
    "pictor_registry_oldest_pending_task_seconds",
    &[],
    "How long the task that waits longest has been pending; absent when none waits.",
);
const PAID: Family = Family::counter(
    "pictor_registry_paid_total",
    &["currency", "kind"],
    "What completed tasks have cost, in units of currency: rewards of providers, and fees.",
);
const WORKER_EARNINGS: Family = Family::counter(
    "pictor_registry_worker_earnings_total",
    &["worker_id", "account", "currency"],
    "What a worker has earned, in units of currency.",
);
const WORKER_POINTS: Family = Family::counter(
    "pictor_registry_worker_points_total",
    &["worker_id", "account"],
    "The points of a worker.",
);
const WORKER_TASKS: Family = Family::gauge(
    "pictor_registry_worker_tasks",
    &["worker_id", "account", "status"],
    "The attempts of a worker by status.",
);
const BACKUP: Family = Family::gauge(
    "pictor_registry_backup_last_success_timestamp_seconds",
    &[],
    "The moment that the newest backup of the database holds; absent until there is one.",
);
pub(super) const FAMILIES: [Family; 13] = [
    WORKERS,
    LAST_HEARTBEAT,
    WORKER_STATUS,
    WORKER_OFFLINE,
    AGENT_INFO,
    TASKS,
    JOBS,
    OLDEST_PENDING,
    PAID,
    WORKER_EARNINGS,
    WORKER_POINTS,
    WORKER_TASKS,
    BACKUP,
];

/// Text in Prometheus' exposition format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    /// Begins a family, whose samples follow.
    fn family(&mut self, family: &Family) -> Samples<'_> {
        let Family { name, help, .. } = family;
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", family.kind.as_str());
        Samples { text: &mut self.0, name, labels: family.labels }
    }
}

/// A family under way.
struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
    labels: &'static [&'static str],
}

impl Samples<'_> {
    /// One sample, with the values of the family's labels in their order.
    fn sample(&mut self, values: &[&str], value: f64) {
        self.text.push_str(self.name);
        for (index, (label, text)) in self.labels.iter().zip(values).enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if values.is_empty() { "" } else { "}" });
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(count: i64) -> f64 {
    count as f64
}

/// Per-worker and network-wide series: an operator's token sees all, a provider's its own workers and jobs.
#[utoipa::path(get, path = "/metrics/network", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn of_network(State(app): State<App>, caller: Caller) -> Result<impl IntoResponse> {
    let owner = caller.account_filter();
    let standings = workers::standings(&app, owner).await?;
    let mut text = Exposition::default();
    write_workers(&mut text, &standings);
    let mut conn = app.db.read().await?;
    write_work(&mut text, &mut conn, owner, app.clock.now()).await?;
    write_money(&mut text, &mut conn, owner, &app.settings.currency).await?;
    write_worker_totals(&mut text, &mut conn, &standings, owner, &app.settings.currency).await?;
    if owner.is_none() {
        let mut samples = text.family(&BACKUP);
        if let Some(taken_at) = backup::last(&mut conn).await? {
            samples.sample(&[], taken_at.seconds_since(UnixMillis(0)));
        }
    }
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], text.0))
}

fn write_workers(text: &mut Exposition, standings: &[Standing]) {
    let mut workers = text.family(&WORKERS);
    for status in WorkerStatus::ALL {
        let count = standings.iter().filter(|standing| standing.status == *status).count();
        workers.sample(&[status.as_str()], number(i64::try_from(count).unwrap_or(i64::MAX)));
    }
    let mut heartbeats = text.family(&LAST_HEARTBEAT);
    for standing in standings {
        if let Some(seen) = &standing.seen {
            let at = number(seen.last_heartbeat_at.0) / 1_000.0;
            with_worker(standing, None, |labels| heartbeats.sample(labels, at));
        }
    }
    let mut statuses = text.family(&WORKER_STATUS);
    for standing in standings {
        with_worker(standing, Some(standing.status.as_str()), |labels| statuses.sample(labels, 1.0));
    }
    let mut offline = text.family(&WORKER_OFFLINE);
    for standing in standings {
        if let Some(reason) = standing.offline_reason {
            with_worker(standing, Some(reason.as_str()), |labels| offline.sample(labels, 1.0));
        }
    }
    let mut agents = text.family(&AGENT_INFO);
    for standing in standings {
        if let Some(seen) = &standing.seen {
            with_worker(standing, Some(&seen.report.agent_version), |labels| agents.sample(labels, 1.0));
        }
    }
}

/// The values of `worker_id`, `worker_name` and `account`, and of one more label where a family has one.
fn with_worker(standing: &Standing, more: Option<&str>, write: impl FnOnce(&[&str])) {
    let (id, account) = (standing.row.id.to_string(), standing.row.account_id.to_string());
    let mut labels = vec![id.as_str(), standing.row.name.as_str(), account.as_str()];
    labels.extend(more);
    write(&labels);
}

async fn write_work(
    text: &mut Exposition,
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    now: UnixMillis,
) -> Result<()> {
    let (tasks, jobs) = (network::store::tasks(conn, owner).await?, network::store::jobs(conn, owner).await?);
    let mut samples = text.family(&TASKS);
    for (status, count) in tasks {
        samples.sample(&[status.as_str()], number(count));
    }
    let mut samples = text.family(&JOBS);
    for (status, count) in jobs {
        samples.sample(&[status.as_str()], number(count));
    }
    let oldest = network::store::oldest_pending(conn, owner).await?;
    let mut samples = text.family(&OLDEST_PENDING);
    if let Some(since) = oldest {
        samples.sample(&[], now.seconds_since(since).max(0.0));
    }
    Ok(())
}

async fn write_money(
    text: &mut Exposition,
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    currency: &str,
) -> Result<()> {
    let paid = store::paid(conn, owner).await?;
    let mut samples = text.family(&PAID);
    for kind in ["reward", "fee"] {
        let micros = Micros(paid.get(kind).copied().unwrap_or(0));
        samples.sample(&[currency, kind], micros.units());
    }
    Ok(())
}

/// What every worker has earned and done, all time.
async fn write_worker_totals(
    text: &mut Exposition,
    conn: &mut AnyConnection,
    standings: &[Standing],
    owner: Option<AccountId>,
    currency: &str,
) -> Result<()> {
    let earnings = store::earnings(conn, owner).await?;
    let points = store::points(conn, owner).await?;
    let attempts = store::attempts(conn, owner).await?;
    let of = |totals: &Totals, worker: &str, word: &str| {
        totals.get(&(worker.to_owned(), word.to_owned())).copied().unwrap_or(0)
    };
    let workers: Vec<(String, String)> = standings
        .iter()
        .map(|standing| (standing.row.id.to_string(), standing.row.account_id.to_string()))
        .collect();
    let mut samples = text.family(&WORKER_EARNINGS);
    for (id, account) in &workers {
        samples.sample(&[id, account, currency], Micros(of(&earnings, id, "")).units());
    }
    let mut samples = text.family(&WORKER_POINTS);
    for (id, account) in &workers {
        samples.sample(&[id, account], number(of(&points, id, "")));
    }
    let mut samples = text.family(&WORKER_TASKS);
    for (id, account) in &workers {
        for status in AttemptStatus::ALL {
            samples.sample(&[id, account, status.as_str()], number(of(&attempts, id, status.as_str())));
        }
    }
    Ok(())
}
