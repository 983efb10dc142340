//! Figures by worker, GPU, GPU model or tag.

use std::collections::HashMap;

use pictor_protocol::{EarningsGroup, Micros, UnixMillis};
use sqlx::AnyConnection;

use super::fold::{Fold, folded_until};
use super::of::Of;
use super::period::{By, Period};
use super::sums::Split;
use crate::error::Result;
use crate::filter::Filter;

const CPU: &str = "CPU";

/// What one GPU, or the CPU, of one worker did in a range.
struct Cell {
    worker_id: String,
    /// Empty for the CPU.
    gpu_uuid: String,
    gpu_name: Option<String>,
    completed: i64,
    failed: i64,
    earnings: Micros,
}

type Row = (String, String, Option<String>, i64, i64, i64);

/// What is known of a worker, archived or not.
struct Known {
    name: String,
    tags: Vec<String>,
    online_millis: i64,
}

/// The figures of a range, ready to be grouped.
pub(super) struct Cells {
    cells: Vec<Cell>,
    workers: HashMap<String, Known>,
    /// Time online is known all time alone.
    is_all_time: bool,
}

pub(super) async fn read(conn: &mut AnyConnection, of: Of, period: &Period) -> Result<Cells> {
    let (mut rows, beside) = if period.is_all_time {
        all_time(conn, of, period.to).await?
    } else {
        ranged(conn, of, period).await?
    };
    for (begin, end) in beside {
        let mut filter = of.rows();
        filter.integer("ended_at >= $?", begin).integer("ended_at < $?", end);
        let ended = "SELECT worker_id, COALESCE(gpu_uuid, ''), MAX(gpu_name),
                CAST(SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END) AS BIGINT),
                CAST(SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS BIGINT),
                CAST(COALESCE(SUM(reward_micros), 0) AS BIGINT) FROM attempts";
        let grouped = "GROUP BY worker_id, COALESCE(gpu_uuid, '')";
        rows.extend(filter.query::<Row>(ended, grouped).fetch_all(&mut *conn).await?);
    }
    let cell = |(worker_id, gpu_uuid, gpu_name, completed, failed, micros): Row| Cell {
        worker_id,
        gpu_uuid,
        gpu_name,
        completed,
        failed,
        earnings: Micros(micros),
    };
    Ok(Cells {
        cells: rows.into_iter().map(cell).collect(),
        workers: known(conn, of).await?,
        is_all_time: period.is_all_time,
    })
}

/// What is folded, and in milliseconds what is not.
type Folded = (Vec<Row>, Vec<(i64, i64)>);

/// Sums and the moment until which they sum are read by one statement: a fold changes both at once.
async fn all_time(conn: &mut AnyConnection, of: Of, to: UnixMillis) -> Result<Folded> {
    type Total = (String, String, Option<String>, i64, i64, i64, i64);
    let totals: Vec<Total> = of
        .rows()
        .query(
            "SELECT worker_id, gpu_uuid, gpu_name, completed, failed, reward_micros,
                    (SELECT until FROM folds WHERE name = 'day') FROM gpu_totals",
            "",
        )
        .fetch_all(conn)
        .await?;
    // Without a row nothing that ended is folded.
    let until = totals.first().map_or(0, |total| total.6);
    let rows = totals.into_iter().map(|(worker, gpu, name, completed, failed, micros, _)| {
        (worker, gpu, name, completed, failed, micros)
    });
    Ok((rows.collect(), vec![(until, to.0)]))
}

async fn ranged(conn: &mut AnyConnection, of: Of, period: &Period) -> Result<Folded> {
    let until = folded_until(conn, Fold::Day).await?;
    let split = Split::new(period.from, period.to, until, Fold::Day.width_millis());
    if split.folded.is_empty() {
        return Ok((Vec::new(), split.beside));
    }
    let mut filter = of.rows();
    filter.integer("day >= $?", split.folded.start).integer("day < $?", split.folded.end);
    let folded = "SELECT worker_id, gpu_uuid, MAX(gpu_name), CAST(SUM(completed) AS BIGINT),
            CAST(SUM(failed) AS BIGINT), CAST(SUM(reward_micros) AS BIGINT) FROM gpu_figures";
    let rows = filter.query::<Row>(folded, "GROUP BY worker_id, gpu_uuid").fetch_all(conn).await?;
    Ok((rows, split.beside))
}

async fn known(conn: &mut AnyConnection, of: Of) -> Result<HashMap<String, Known>> {
    let mut filter = Filter::default();
    match of {
        Of::All => {}
        Of::Account(account) => {
            filter.text("account_id = $?", account);
        }
        Of::Worker { id, .. } => {
            filter.text("id = $?", id);
        }
    }
    let rows: Vec<(String, String, String, i64)> =
        filter.query("SELECT id, name, tags, online_millis FROM workers", "").fetch_all(conn).await?;
    let mut workers = HashMap::with_capacity(rows.len());
    for (id, name, tags, online_millis) in rows {
        let tags = serde_json::from_str(&tags).map_err(anyhow::Error::from)?;
        workers.insert(id, Known { name, tags, online_millis });
    }
    Ok(workers)
}

impl Cells {
    /// The highest earnings first.
    pub(super) fn grouped(&self, by: By) -> Vec<EarningsGroup> {
        let mut groups: HashMap<String, EarningsGroup> = HashMap::new();
        for cell in &self.cells {
            if cell.completed + cell.failed == 0 {
                continue;
            }
            for (key, name) in self.keys(cell, by) {
                let group = groups.entry(key.clone()).or_insert_with(|| EarningsGroup {
                    key,
                    name,
                    earnings_micros: Micros::ZERO,
                    completed: 0,
                    failed: 0,
                    success_ratio: None,
                    online_seconds: None,
                    earnings_per_hour_online_micros: None,
                });
                group.earnings_micros = group.earnings_micros + cell.earnings;
                group.completed += cell.completed;
                group.failed += cell.failed;
            }
        }
        let mut groups: Vec<EarningsGroup> = groups.into_values().collect();
        for group in &mut groups {
            self.finish(group, by);
        }
        groups
            .sort_by(|a, b| (b.earnings_micros, &a.name, &a.key).cmp(&(a.earnings_micros, &b.name, &b.key)));
        groups
    }

    fn keys(&self, cell: &Cell, by: By) -> Vec<(String, String)> {
        let worker = self.workers.get(&cell.worker_id);
        match by {
            By::Worker => {
                let name = worker.map_or(&cell.worker_id, |worker| &worker.name);
                vec![(cell.worker_id.clone(), name.clone())]
            }
            By::Gpu => {
                let name = cell.gpu_name.as_deref().unwrap_or(CPU);
                vec![(cell.gpu_uuid.clone(), name.to_owned())]
            }
            By::GpuName => {
                let name = cell.gpu_name.as_deref();
                vec![(name.unwrap_or_default().to_owned(), name.unwrap_or(CPU).to_owned())]
            }
            By::Tag => match worker.map(|worker| worker.tags.as_slice()) {
                None | Some([]) => vec![(String::new(), "without a tag".to_owned())],
                Some(tags) => tags.iter().map(|tag| (tag.clone(), tag.clone())).collect(),
            },
        }
    }

    fn finish(&self, group: &mut EarningsGroup, by: By) {
        #[allow(clippy::cast_precision_loss)]
        let (completed, ended) = (group.completed as f64, (group.completed + group.failed) as f64);
        group.success_ratio = Some(completed / ended);
        let Some(online) = self.online_millis(&group.key, by) else { return };
        group.online_seconds = Some(UnixMillis(online).seconds_since(UnixMillis(0)));
        if online > 0 {
            let per_hour = i128::from(group.earnings_micros.0) * 3_600_000 / i128::from(online);
            group.earnings_per_hour_online_micros = i64::try_from(per_hour).ok().map(Micros);
        }
    }

    fn online_millis(&self, key: &str, by: By) -> Option<i64> {
        match by {
            _ if !self.is_all_time => None,
            By::Gpu | By::GpuName => None,
            By::Worker => self.workers.get(key).map(|worker| worker.online_millis),
            By::Tag => {
                let carries = |worker: &&Known| match key {
                    "" => worker.tags.is_empty(),
                    tag => worker.tags.iter().any(|carried| carried == tag),
                };
                Some(self.workers.values().filter(carries).map(|worker| worker.online_millis).sum())
            }
        }
    }
}
