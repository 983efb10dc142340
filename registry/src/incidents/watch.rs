//! Looks after the workers of everybody who wants to hear of them: incidents begin and end here.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use jiff::tz::TimeZone;
use pictor_protocol::{AccountId, IncidentId, NotificationEvent, UnixMillis, WorkerId};
use sqlx::AnyConnection;

use super::message::{self, Subject};
use super::store::{self, OpenIncident};
use super::trouble::{self, Sight, Step, Trouble};
use crate::App;
use crate::clock::Clock;
use crate::error::Result;
use crate::notifications::{self, Message};
use crate::workers::{self, Standing};

const WATCH_EVERY: Duration = Duration::from_secs(3);
/// What happened while the registry was not running is told too, if it is not long past.
const LOOK_BACK_SECONDS: i64 = 3_600;
/// What was written late has an earlier time than the last look.
const OVERLAP_SECONDS: i64 = 60;
const FAILURES_IN_A_ROW: usize = 3;
const KEPT_SECONDS: i64 = 30 * 24 * 3_600;
const FORGET_EVERY_SECONDS: i64 = 3_600;

/// Looks every few seconds. Not before every worker had the time to be heard: an outage of ours is not theirs.
pub async fn watch_loop(app: App) -> anyhow::Result<Infallible> {
    let began = app.clock.now();
    let (mut looked, mut forgot) = (began.plus_seconds(-LOOK_BACK_SECONDS), began);
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    loop {
        ticks.tick().await;
        let now = app.clock.now();
        if now < began.plus_seconds(app.settings.offline_after_seconds()) {
            continue;
        }
        match watch_once(&app, looked.plus_seconds(-OVERLAP_SECONDS)).await {
            Ok(()) => looked = now,
            Err(cause) => tracing::error!(error = %cause, "workers could not be looked after; tried again"),
        }
        if now >= forgot.plus_seconds(FORGET_EVERY_SECONDS) {
            forgot = now;
            let before = now.plus_seconds(-KEPT_SECONDS);
            if let Err(cause) = app.db.write(move |conn| Box::pin(forget(conn, before))).await {
                tracing::error!(error = %cause, "old notifications could not be removed");
            }
        }
    }
}

async fn forget(conn: &mut AnyConnection, before: UnixMillis) -> Result<()> {
    store::forget(conn, before).await?;
    notifications::forget(conn, before).await
}

/// Looks at every watched account once; failures of tasks from `since` on.
pub async fn watch_once(app: &App, since: UnixMillis) -> Result<()> {
    let accounts = store::watched(&mut *app.db.read().await?).await?;
    for account in accounts {
        watch_account(app, account, since).await?;
    }
    Ok(())
}

async fn watch_account(app: &App, account: AccountId, since: UnixMillis) -> Result<()> {
    let standings = workers::standings(app, Some(account)).await?;
    let (open, failing, zone) = {
        let mut conn = app.db.read().await?;
        let open = store::open_incidents(&mut conn, account).await?;
        let failing = failing(&mut conn, account, &open, since).await?;
        (open, failing, notifications::zone(&mut conn, account).await?)
    };
    let moves = moves(app, &standings, open, &failing, &zone);
    if moves.is_empty() {
        return Ok(());
    }
    let clock = app.clock.clone();
    app.db
        .write(move |conn| {
            let (moves, clock) = (moves.clone(), clock.clone());
            Box::pin(async move {
                for one in &moves {
                    make(conn, &clock, account, one).await?;
                }
                Ok(())
            })
        })
        .await
}

/// By worker, whether its last attempts all failed; of those where one failed lately, which alone begins that, or
/// that have it as an incident.
async fn failing(
    conn: &mut AnyConnection,
    account: AccountId,
    open: &[OpenIncident],
    since: UnixMillis,
) -> Result<HashMap<WorkerId, bool>> {
    let mut workers: HashSet<WorkerId> =
        store::failed_since(conn, account, since).await?.into_iter().collect();
    let failures = open.iter().filter(|incident| incident.event == NotificationEvent::RepeatedFailures);
    workers.extend(failures.map(|incident| incident.worker_id));
    let mut failing = HashMap::with_capacity(workers.len());
    for worker in workers {
        failing.insert(worker, store::fails(conn, worker, FAILURES_IN_A_ROW).await?);
    }
    Ok(failing)
}

/// A step of one incident, with what is said of it.
#[derive(Clone)]
struct Move {
    incident: OpenIncident,
    step: Step,
    message: Option<Message>,
}

fn moves(
    app: &App,
    standings: &[Standing],
    open: Vec<OpenIncident>,
    failing: &HashMap<WorkerId, bool>,
    zone: &TimeZone,
) -> Vec<Move> {
    let now = app.clock.now();
    let mut by_worker: HashMap<WorkerId, Vec<OpenIncident>> = HashMap::new();
    for incident in open {
        by_worker.entry(incident.worker_id).or_default().push(incident);
    }
    let mut moves = Vec::new();
    for standing in standings {
        let worker_id = standing.row.id;
        let worker = Subject {
            worker_id,
            name: &standing.row.name,
            hostname: standing.seen.as_ref().map(|seen| seen.report.hostname.as_str()),
            last_heartbeat_at: standing.seen.as_ref().map(|seen| seen.last_heartbeat_at),
        };
        let mut troubles = trouble::troubles(standing);
        if failing.get(&worker_id) == Some(&true) {
            let event = NotificationEvent::RepeatedFailures;
            troubles.push(Trouble { event, subject: String::new(), detail: String::new() });
        }
        for incident in by_worker.remove(&worker_id).unwrap_or_default() {
            let is_it =
                |trouble: &Trouble| trouble.event == incident.event && trouble.subject == incident.subject;
            let sight = if troubles.iter().any(is_it) {
                Sight::Holds
            } else {
                trouble::otherwise(incident.event, standing)
            };
            troubles.retain(|trouble| !is_it(trouble));
            let step = trouble::step(Some(incident.stage), sight, now);
            let ended = || message::ended(incident.event, &incident.subject, &worker, &app.public_url);
            let message = (step == Step::End).then(ended);
            moves.push(Move { incident, step, message });
        }
        for trouble in troubles {
            let message = message::began(&trouble, &worker, zone, &app.public_url);
            let incident = OpenIncident {
                id: app.clock.id(IncidentId::from_parts),
                worker_id,
                event: trouble.event,
                subject: trouble.subject,
                stage: trouble::Stage::Open,
            };
            moves.push(Move {
                incident,
                step: trouble::step(None, Sight::Holds, now),
                message: Some(message),
            });
        }
    }
    let gone = by_worker.into_values().flatten().map(|incident| {
        let step = trouble::step(Some(incident.stage), Sight::Gone, now);
        Move { incident, step, message: None }
    });
    moves.extend(gone);
    moves.retain(|one| one.step != Step::Stay);
    moves
}

/// The row and its message, or neither: another replica may have been first.
async fn make(conn: &mut AnyConnection, clock: &Clock, account: AccountId, one: &Move) -> Result<()> {
    let (id, now) = (one.incident.id, clock.now());
    let is_ours = match one.step {
        Step::Stay => return Ok(()),
        Step::Begin => store::begin(conn, account, &one.incident, now).await?,
        Step::Clear => return store::set_clear(conn, id, Some(now)).await,
        Step::Reopen => return store::set_clear(conn, id, None).await,
        Step::End | Step::Drop => store::end(conn, id, now).await?,
    };
    match &one.message {
        Some(message) if is_ours => notifications::queue(conn, clock, account, message).await,
        _ => Ok(()),
    }
}
