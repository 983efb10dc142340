//! The outbox: what is due goes out, what waited goes out as one, what fails is tried again later.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use pictor_protocol::{ChannelId, UnixMillis};

use super::quiet;
use super::send::Parcel;
use super::store::{self, Due, Tried};
use crate::App;
use crate::error::Result;

const DELIVER_EVERY: Duration = Duration::from_secs(1);
const DUE_MAX: i64 = 1_000;
const CHANNELS_AT_ONCE: usize = 16;
/// A message is sent by whoever took it; after so long by somebody else.
const TAKEN_SECONDS: i64 = 120;
const SEND_MAX: Duration = Duration::from_secs(60);
/// The tenth try comes about four hours after the first.
const TRIES_MAX: u32 = 10;
const AGAIN_SECONDS_FIRST: i64 = 30;
const AGAIN_SECONDS_MAX: i64 = 3_600;

/// Sends what is due, once a second.
pub async fn deliver_loop(app: App) -> anyhow::Result<Infallible> {
    let mut ticks = tokio::time::interval(DELIVER_EVERY);
    loop {
        ticks.tick().await;
        if let Err(cause) = deliver_once(&app).await {
            tracing::error!(error = %cause, "notifications could not be sent; the next round tries again");
        }
    }
}

/// Sends what is due by now; how many messages were tried.
pub async fn deliver_once(app: &App) -> Result<usize> {
    let due = store::due(&mut *app.db.read().await?, app.clock.now(), DUE_MAX).await?;
    let mut by_channel: BTreeMap<ChannelId, Vec<Due>> = BTreeMap::new();
    for message in due {
        by_channel.entry(message.channel_id).or_default().push(message);
    }
    let tried = stream::iter(by_channel)
        .map(|(channel, due)| async move {
            deliver(app, channel, due).await.unwrap_or_else(|cause| {
                tracing::error!(%channel, error = %cause, "its messages could not be sent");
                0
            })
        })
        .buffer_unordered(CHANNELS_AT_ONCE);
    Ok(tried.fold(0, async |sum, tried| sum + tried).await)
}

async fn deliver(app: &App, channel: ChannelId, due: Vec<Due>) -> Result<usize> {
    let now = app.clock.now();
    let (channel, wanted) = {
        let mut conn = app.db.read().await?;
        let Some(channel) = store::find_channel(&mut conn, channel).await? else { return Ok(0) };
        let wanted = store::wanted(&mut conn, channel.account_id).await?;
        (channel, wanted)
    };
    let quiet_until = wanted.quiet_hours.and_then(|hours| quiet::until(hours, &wanted.zone, now));
    let taken = take(app, due, quiet_until, now.plus_seconds(TAKEN_SECONDS)).await?;
    if taken.is_empty() {
        return Ok(0);
    }
    let parcel = Parcel::of(&taken, channel.account_id, &wanted.zone, now);
    let sent = tokio::time::timeout(SEND_MAX, app.notifier.send(&channel, &parcel))
        .await
        .unwrap_or_else(|_| Err("it took too long".to_owned()));
    if let Err(error) = &sent {
        tracing::warn!(channel = %channel.id, kind = %channel.kind, error, "a message was not delivered");
    }
    let count = taken.len();
    app.db
        .write(move |conn| {
            let (taken, sent) = (taken.clone(), sent.clone());
            Box::pin(async move {
                for due in &taken {
                    store::tried(conn, due.id, &outcome(&sent, due.tries, now), now).await?;
                }
                Ok(())
            })
        })
        .await?;
    Ok(count)
}

/// Holds back what quiet hours do; the rest is this round's to send.
async fn take(
    app: &App,
    due: Vec<Due>,
    quiet_until: Option<UnixMillis>,
    taken_until: UnixMillis,
) -> Result<Vec<Due>> {
    app.db
        .write(move |conn| {
            let due = due.clone();
            Box::pin(async move {
                let mut taken = Vec::with_capacity(due.len());
                for due in due {
                    match quiet_until.filter(|_| !due.message.is_always_sent()) {
                        Some(until) => {
                            store::put_off(conn, &due, until, false).await?;
                        }
                        None if store::put_off(conn, &due, taken_until, true).await? => taken.push(due),
                        None => {}
                    }
                }
                Ok(taken)
            })
        })
        .await
}

/// `tries`: before this one.
fn outcome(sent: &std::result::Result<(), String>, tries: u32, now: UnixMillis) -> Tried {
    match sent {
        Ok(()) => Tried::Sent,
        Err(error) if tries + 1 >= TRIES_MAX => Tried::Failed { error: error.clone() },
        Err(error) => Tried::Again { error: error.clone(), at: now.plus_seconds(again_seconds(tries)) },
    }
}

fn again_seconds(tries: u32) -> i64 {
    AGAIN_SECONDS_FIRST.saturating_mul(1 << tries.min(20)).min(AGAIN_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use pictor_protocol::UnixMillis;

    use super::{TRIES_MAX, Tried, again_seconds, outcome};

    #[test]
    fn tries_come_further_apart_and_end() {
        let waits: Vec<i64> = (0..TRIES_MAX - 1).map(again_seconds).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        let failed = Err("no".to_owned());
        let now = UnixMillis(1_000);
        assert!(matches!(outcome(&failed, 0, now), Tried::Again { at: UnixMillis(31_000), .. }));
        assert!(matches!(outcome(&failed, TRIES_MAX - 1, now), Tried::Failed { .. }));
        assert!(matches!(outcome(&Ok(()), TRIES_MAX - 1, now), Tried::Sent));
    }
}
