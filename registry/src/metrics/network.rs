//! `/metrics/network`: the network as the database and the heartbeats know it, the same from every replica.

use std::collections::HashMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use pictor_protocol::{AccountId, AttemptStatus, JobStatus, Micros, TaskStatus, WorkerStatus};
use sqlx::AnyConnection;

use super::EXPOSITION;
use crate::App;
use crate::auth::Caller;
use crate::error::Result;
use crate::workers::{self, Standing};

/// Text in Prometheus' exposition format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
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
    write_work(&mut text, &mut conn, owner, app.clock.now().0).await?;
    write_money(&mut text, &mut conn, owner, &app.settings.currency).await?;
    write_worker_totals(&mut text, &mut conn, &standings, owner, &app.settings.currency).await?;
    Ok(([(header::CONTENT_TYPE, EXPOSITION)], text.0))
}

fn write_workers(text: &mut Exposition, standings: &[Standing]) {
    let name = "pictor_registry_workers";
    text.family(name, "gauge", "Workers by status.");
    for status in WorkerStatus::ALL {
        let count = standings.iter().filter(|standing| standing.status == *status).count();
        text.sample(name, &[("status", status.as_str())], number(i64::try_from(count).unwrap_or(i64::MAX)));
    }
    let name = "pictor_registry_worker_last_heartbeat_timestamp_seconds";
    text.family(name, "gauge", "When the registry last heard from a worker.");
    for standing in standings {
        if let Some(seen) = &standing.seen {
            let at = number(seen.last_heartbeat_at.0) / 1_000.0;
            with_worker(standing, None, |labels| text.sample(name, labels, at));
        }
    }
    let name = "pictor_registry_worker_status";
    text.family(name, "gauge", "1 for the status that a worker has now.");
    for standing in standings {
        let status = Some(("status", standing.status.as_str()));
        with_worker(standing, status, |labels| text.sample(name, labels, 1.0));
    }
    let name = "pictor_registry_worker_offline";
    text.family(name, "gauge", "1 for a worker that is offline, with the reason.");
    for standing in standings {
        if let Some(reason) = standing.offline_reason {
            with_worker(standing, Some(("reason", reason.as_str())), |labels| text.sample(name, labels, 1.0));
        }
    }
}

fn with_worker(standing: &Standing, more: Option<(&str, &str)>, write: impl FnOnce(&[(&str, &str)])) {
    let (id, account) = (standing.row.id.to_string(), standing.row.account_id.to_string());
    let mut labels = vec![
        ("worker_id", id.as_str()),
        ("worker_name", standing.row.name.as_str()),
        ("account", account.as_str()),
    ];
    labels.extend(more);
    write(&labels);
}

/// Counts by a word, such as a status.
async fn counted(
    conn: &mut AnyConnection,
    sql: &'static str,
    owner: Option<AccountId>,
) -> Result<HashMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(owner.map(String::from)).fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}

async fn write_work(
    text: &mut Exposition,
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    now: i64,
) -> Result<()> {
    let tasks = match owner {
        None => "SELECT status, COUNT(*) FROM tasks WHERE COALESCE($1, '') = '' GROUP BY status",
        Some(_) => {
            "SELECT t.status, COUNT(*) FROM tasks t JOIN jobs j ON j.id = t.job_id
             WHERE j.account_id = $1 GROUP BY t.status"
        }
    };
    let tasks = counted(conn, tasks, owner).await?;
    let jobs =
        "SELECT status, COUNT(*) FROM jobs WHERE account_id = COALESCE($1, account_id) GROUP BY status";
    let jobs = counted(conn, jobs, owner).await?;
    let name = "pictor_registry_tasks";
    text.family(name, "gauge", "Tasks by status.");
    for status in TaskStatus::ALL {
        let count = tasks.get(status.as_str()).copied().unwrap_or(0);
        text.sample(name, &[("status", status.as_str())], number(count));
    }
    let name = "pictor_registry_jobs";
    text.family(name, "gauge", "Jobs by status.");
    for status in JobStatus::ALL {
        let count = jobs.get(status.as_str()).copied().unwrap_or(0);
        text.sample(name, &[("status", status.as_str())], number(count));
    }
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT MIN(t.pending_since) FROM tasks t JOIN jobs j ON j.id = t.job_id
         WHERE t.status = 'pending' AND j.account_id = COALESCE($1, j.account_id)",
    )
    .bind(owner.map(String::from))
    .fetch_one(conn)
    .await?;
    let name = "pictor_registry_oldest_pending_task_seconds";
    text.family(
        name,
        "gauge",
        "How long the task that waits longest has been pending; absent when none waits.",
    );
    if let Some(since) = oldest {
        text.sample(name, &[], number((now - since).max(0)) / 1_000.0);
    }
    Ok(())
}

async fn write_money(
    text: &mut Exposition,
    conn: &mut AnyConnection,
    owner: Option<AccountId>,
    currency: &str,
) -> Result<()> {
    let paid = match owner {
        None => {
            "SELECT kind, CAST(SUM(amount_micros) AS BIGINT) FROM transfers
             WHERE kind IN ('reward', 'fee') AND COALESCE($1, '') = '' GROUP BY kind"
        }
        Some(_) => {
            "SELECT t.kind, CAST(SUM(t.amount_micros) AS BIGINT) FROM transfers t JOIN workers w ON w.id = t.worker_id
             WHERE t.kind IN ('reward', 'fee') AND w.account_id = $1 GROUP BY t.kind"
        }
    };
    let paid = counted(conn, paid, owner).await?;
    let name = "pictor_registry_paid_total";
    text.family(
        name,
        "counter",
        "What completed tasks have cost, in units of currency: rewards of providers, and fees.",
    );
    for kind in ["reward", "fee"] {
        let micros = Micros(paid.get(kind).copied().unwrap_or(0));
        text.sample(name, &[("currency", currency), ("kind", kind)], micros.units());
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
    let earnings = by_worker(
        conn,
        "SELECT worker_id, '', CAST(SUM(amount_micros) AS BIGINT) FROM transfers
         WHERE kind = 'reward' AND worker_id IS NOT NULL AND to_book = COALESCE($1, to_book) GROUP BY worker_id",
        owner,
    )
    .await?;
    let points = by_worker(
        conn,
        "SELECT worker_id, '', CAST(SUM(points) AS BIGINT) FROM points
         WHERE account_id = COALESCE($1, account_id) GROUP BY worker_id",
        owner,
    )
    .await?;
    let attempts = by_worker(
        conn,
        "SELECT worker_id, status, COUNT(*) FROM attempts
         WHERE account_id = COALESCE($1, account_id) GROUP BY worker_id, status",
        owner,
    )
    .await?;
    let of = |totals: &Totals, worker: &str, word: &str| {
        totals.get(&(worker.to_owned(), word.to_owned())).copied().unwrap_or(0)
    };
    let workers: Vec<(String, String)> = standings
        .iter()
        .map(|standing| (standing.row.id.to_string(), standing.row.account_id.to_string()))
        .collect();
    let name = "pictor_registry_worker_earnings_total";
    text.family(name, "counter", "What a worker has earned, in units of currency.");
    for (id, account) in &workers {
        let labels = [("worker_id", id.as_str()), ("account", account), ("currency", currency)];
        text.sample(name, &labels, Micros(of(&earnings, id, "")).units());
    }
    let name = "pictor_registry_worker_points_total";
    text.family(name, "counter", "The points of a worker.");
    for (id, account) in &workers {
        text.sample(name, &[("worker_id", id.as_str()), ("account", account)], number(of(&points, id, "")));
    }
    let name = "pictor_registry_worker_tasks";
    text.family(name, "gauge", "The attempts of a worker by status.");
    for (id, account) in &workers {
        for status in AttemptStatus::ALL {
            let labels = [("worker_id", id.as_str()), ("account", account), ("status", status.as_str())];
            text.sample(name, &labels, number(of(&attempts, id, status.as_str())));
        }
    }
    Ok(())
}

type Totals = HashMap<(String, String), i64>;

async fn by_worker(conn: &mut AnyConnection, sql: &'static str, owner: Option<AccountId>) -> Result<Totals> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as(sql).bind(owner.map(String::from)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(worker, word, sum)| ((worker, word), sum)).collect())
}
