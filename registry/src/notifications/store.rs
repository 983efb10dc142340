//! The rows of channels, settings and deliveries.

use jiff::tz::TimeZone;
use pictor_protocol::{
    AccountId, Channel, ChannelId, ChannelKind, Delivery, DeliveryId, NotificationEvent, NotificationPhase,
    QuietHours, UnixMillis,
};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::message::Message;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::row::{narrow, parsed, parsed_option};

pub(super) const CHANNELS_MAX: i64 = 10;
/// What waits for one channel; more is not worth reading either.
const WAITING_MAX: i64 = 1_000;
const SECRET_END_CHARS: usize = 4;

/// A channel with all it takes to reach it.
#[derive(Clone)]
pub(super) struct ChannelRow {
    pub(super) id: ChannelId,
    pub(super) account_id: AccountId,
    pub(super) kind: ChannelKind,
    pub(super) target: String,
    pub(super) secret: Option<String>,
    pub(super) created_at: UnixMillis,
}

impl ChannelRow {
    /// Without what opens anything: the path of a webhook's URL is a secret with many services.
    pub(super) fn shown(&self) -> Channel {
        let host = || Some(url::Url::parse(&self.target).ok()?.host_str()?.to_owned());
        let end = |secret: &String| secret.chars().skip(secret.chars().count() - SECRET_END_CHARS).collect();
        Channel {
            id: self.id,
            kind: self.kind,
            target: match self.kind {
                ChannelKind::Webhook => host().unwrap_or_default(),
                ChannelKind::Email | ChannelKind::Telegram => self.target.clone(),
            },
            secret_end: self.secret.as_ref().filter(|secret| secret.len() > 4 * SECRET_END_CHARS).map(end),
            created_at: self.created_at,
        }
    }
}

fn channel(row: &AnyRow) -> Result<ChannelRow> {
    Ok(ChannelRow {
        id: parsed(row, "id")?,
        account_id: parsed(row, "account_id")?,
        kind: parsed(row, "kind")?,
        target: row.try_get("target")?,
        secret: row.try_get("secret")?,
        created_at: UnixMillis(row.try_get("created_at")?),
    })
}

pub(super) async fn channels(conn: &mut AnyConnection, account: AccountId) -> Result<Vec<ChannelRow>> {
    let rows = sqlx::query(
        "SELECT id, account_id, kind, target, secret, created_at FROM channels
         WHERE account_id = $1 ORDER BY id",
    )
    .bind(account.to_string())
    .fetch_all(conn)
    .await?;
    rows.iter().map(channel).collect()
}

pub(super) async fn find_channel(conn: &mut AnyConnection, id: ChannelId) -> Result<Option<ChannelRow>> {
    let row =
        sqlx::query("SELECT id, account_id, kind, target, secret, created_at FROM channels WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(conn)
            .await?;
    row.as_ref().map(channel).transpose()
}

pub(super) async fn add_channel(conn: &mut AnyConnection, new: &ChannelRow) -> Result<()> {
    let made = sqlx::query(
        "INSERT INTO channels (id, account_id, kind, target, secret, created_at)
         SELECT $1, $2, $3, $4, $5, CAST($6 AS BIGINT)
         WHERE (SELECT COUNT(*) FROM channels WHERE account_id = $2) < $7",
    )
    .bind(new.id.to_string())
    .bind(new.account_id.to_string())
    .bind(new.kind.as_str())
    .bind(new.target.clone())
    .bind(new.secret.clone())
    .bind(new.created_at.0)
    .bind(CHANNELS_MAX)
    .execute(conn)
    .await?
    .rows_affected();
    if made == 1 {
        return Ok(());
    }
    Err(Error::unprocessable("too_many_channels", format!("an account has at most {CHANNELS_MAX} channels")))
}

/// Also what was on its way there.
pub(super) async fn remove_channel(
    conn: &mut AnyConnection,
    account: AccountId,
    id: ChannelId,
) -> Result<()> {
    sqlx::query("DELETE FROM deliveries WHERE channel_id = $1 AND account_id = $2")
        .bind(id.to_string())
        .bind(account.to_string())
        .execute(&mut *conn)
        .await?;
    let removed = sqlx::query("DELETE FROM channels WHERE id = $1 AND account_id = $2")
        .bind(id.to_string())
        .bind(account.to_string())
        .execute(conn)
        .await?
        .rows_affected();
    if removed == 0 { Err(Error::NotFound("channel")) } else { Ok(()) }
}

/// Remembers a test; `false` when one was made after `since`.
pub(super) async fn begin_test(
    conn: &mut AnyConnection,
    id: ChannelId,
    since: UnixMillis,
    now: UnixMillis,
) -> Result<bool> {
    let begun = sqlx::query(
        "UPDATE channels SET tested_at = $3 WHERE id = $1 AND (tested_at IS NULL OR tested_at <= $2)",
    )
    .bind(id.to_string())
    .bind(since.0)
    .bind(now.0)
    .execute(conn)
    .await?
    .rows_affected();
    Ok(begun == 1)
}

/// What an account wants to hear, and when.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) quiet_hours: Option<QuietHours>,
    pub(super) events: Vec<NotificationEvent>,
    pub(super) zone: TimeZone,
}

pub(super) async fn wanted(conn: &mut AnyConnection, account: AccountId) -> Result<Wanted> {
    let row = sqlx::query(
        "SELECT a.time_zone, s.quiet_from, s.quiet_to, s.events
         FROM accounts a LEFT JOIN notification_settings s ON s.account_id = a.id WHERE a.id = $1",
    )
    .bind(account.to_string())
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound("account"))?;
    let zone: Option<String> = row.try_get("time_zone")?;
    let events: Option<String> = row.try_get("events")?;
    let times = (parsed_option(&row, "quiet_from")?, parsed_option(&row, "quiet_to")?);
    Ok(Wanted {
        quiet_hours: match times {
            (Some(from), Some(to)) => Some(QuietHours { from, to }),
            _ => None,
        },
        events: match events {
            Some(json) => serde_json::from_str(&json).map_err(anyhow::Error::from)?,
            None => NotificationEvent::ALL.to_vec(),
        },
        zone: zone.and_then(|name| TimeZone::get(&name).ok()).unwrap_or(TimeZone::UTC),
    })
}

/// Messages that were never tried are looked at again: the quiet hours that held them may be others now.
pub(super) async fn keep_wanted(
    conn: &mut AnyConnection,
    account: AccountId,
    wanted: &Wanted,
    now: UnixMillis,
) -> Result<()> {
    let events = serde_json::to_string(&wanted.events).map_err(anyhow::Error::from)?;
    sqlx::query(
        "INSERT INTO notification_settings (account_id, quiet_from, quiet_to, events) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_id) DO UPDATE SET
             quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to, events = excluded.events",
    )
    .bind(account.to_string())
    .bind(wanted.quiet_hours.map(|hours| hours.from.to_string()))
    .bind(wanted.quiet_hours.map(|hours| hours.to.to_string()))
    .bind(events)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE deliveries SET due_at = $2 WHERE account_id = $1 AND status = 'pending' AND tries = 0",
    )
    .bind(account.to_string())
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts a message on its way to every channel of an account that wants it.
pub(crate) async fn queue(
    conn: &mut AnyConnection,
    clock: &Clock,
    account: AccountId,
    message: &Message,
) -> Result<()> {
    if !message.is_always_sent() && !wanted(conn, account).await?.events.contains(&message.event) {
        return Ok(());
    }
    let now = clock.now();
    for channel in channels(conn, account).await? {
        let queued = sqlx::query(
            "INSERT INTO deliveries (id, account_id, channel_id, event, phase, worker_id, title, text, status, due_at, created_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, 'pending', CAST($9 AS BIGINT), CAST($9 AS BIGINT)
             WHERE (SELECT COUNT(*) FROM deliveries WHERE channel_id = $3 AND status = 'pending') < $10",
        )
        .bind(clock.id(DeliveryId::from_parts).to_string())
        .bind(account.to_string())
        .bind(channel.id.to_string())
        .bind(message.event.as_str())
        .bind(message.phase.as_str())
        .bind(message.worker_id.map(String::from))
        .bind(message.title.clone())
        .bind(message.text.clone())
        .bind(now.0)
        .bind(WAITING_MAX)
        .execute(&mut *conn)
        .await?
        .rows_affected();
        if queued == 0 {
            tracing::warn!(channel = %channel.id, "a message was dropped: too many wait for this channel");
        }
    }
    Ok(())
}

/// A message to be sent now.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) id: DeliveryId,
    pub(super) channel_id: ChannelId,
    pub(super) message: Message,
    pub(super) tries: u32,
    pub(super) due_at: UnixMillis,
    pub(super) created_at: UnixMillis,
}

pub(super) async fn due(conn: &mut AnyConnection, now: UnixMillis, limit: i64) -> Result<Vec<Due>> {
    let rows = sqlx::query(
        "SELECT id, channel_id, event, phase, worker_id, title, text, tries, due_at, created_at FROM deliveries
         WHERE status = 'pending' AND due_at <= $1 ORDER BY due_at, id LIMIT $2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let due = |row: &AnyRow| {
        Ok(Due {
            id: parsed(row, "id")?,
            channel_id: parsed(row, "channel_id")?,
            message: message(row)?,
            tries: narrow(row, "tries")?,
            due_at: UnixMillis(row.try_get("due_at")?),
            created_at: UnixMillis(row.try_get("created_at")?),
        })
    };
    rows.iter().map(due).collect()
}

fn message(row: &AnyRow) -> Result<Message> {
    Ok(Message {
        event: parsed(row, "event")?,
        phase: parsed::<NotificationPhase>(row, "phase")?,
        worker_id: parsed_option(row, "worker_id")?,
        title: row.try_get("title")?,
        text: row.try_get("text")?,
    })
}

/// Puts a message off; `false` when somebody else has taken it since it was read.
pub(super) async fn put_off(
    conn: &mut AnyConnection,
    due: &Due,
    until: UnixMillis,
    is_try: bool,
) -> Result<bool> {
    let put_off = sqlx::query(
        "UPDATE deliveries SET due_at = $3, tries = tries + $4, error = CASE WHEN $4 > 0 THEN NULL ELSE error END
         WHERE id = $1 AND status = 'pending' AND due_at = $2",
    )
    .bind(due.id.to_string())
    .bind(due.due_at.0)
    .bind(until.0)
    .bind(i64::from(is_try))
    .execute(conn)
    .await?
    .rows_affected();
    Ok(put_off == 1)
}

/// What a try came to: sent, to be tried again, or given up.
#[derive(Debug, Clone)]
pub(super) enum Tried {
    Sent,
    Again { error: String, at: UnixMillis },
    Failed { error: String },
}

pub(super) async fn tried(
    conn: &mut AnyConnection,
    id: DeliveryId,
    tried: &Tried,
    now: UnixMillis,
) -> Result<()> {
    let (status, error, due_at, ended_at) = match tried {
        Tried::Sent => ("sent", None, now, Some(now.0)),
        Tried::Again { error, at } => ("pending", Some(error.clone()), *at, None),
        Tried::Failed { error } => ("failed", Some(error.clone()), now, Some(now.0)),
    };
    sqlx::query(
        "UPDATE deliveries SET status = $2, error = $3, due_at = $4, ended_at = $5
         WHERE id = $1 AND status = 'pending'",
    )
    .bind(id.to_string())
    .bind(status)
    .bind(error)
    .bind(due_at.0)
    .bind(ended_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// An account's messages, newest first.
pub(super) async fn deliveries(
    conn: &mut AnyConnection,
    account: AccountId,
    before: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let rows = sqlx::query(
        "SELECT d.id, d.channel_id, c.kind, d.event, d.phase, d.worker_id, d.title, d.text, d.status, d.tries,
             d.error, d.created_at, d.due_at, d.ended_at
         FROM deliveries d JOIN channels c ON c.id = d.channel_id
         WHERE d.account_id = $1 AND d.id < COALESCE($2, 'e') ORDER BY d.id DESC LIMIT $3",
    )
    .bind(account.to_string())
    .bind(before.map(String::from))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(delivery).collect()
}

fn delivery(row: &AnyRow) -> Result<Delivery> {
    let message = message(row)?;
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    let due_at = UnixMillis(row.try_get("due_at")?);
    Ok(Delivery {
        id: parsed(row, "id")?,
        channel_id: parsed(row, "channel_id")?,
        channel_kind: parsed(row, "kind")?,
        event: message.event,
        phase: message.phase,
        worker_id: message.worker_id,
        title: message.title,
        text: message.text,
        status: parsed(row, "status")?,
        tries: narrow(row, "tries")?,
        error: row.try_get("error")?,
        created_at: UnixMillis(row.try_get("created_at")?),
        due_at: ended_at.is_none().then_some(due_at),
        ended_at: ended_at.map(UnixMillis),
    })
}

/// What ended before `before` is nobody's to read any more.
pub(crate) async fn forget(conn: &mut AnyConnection, before: UnixMillis) -> Result<()> {
    sqlx::query("DELETE FROM deliveries WHERE ended_at < $1").bind(before.0).execute(conn).await?;
    Ok(())
}
