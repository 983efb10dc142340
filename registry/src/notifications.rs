//! Notifications: where an account is told what happens, of what, and when; and what became of each message.

mod address;
mod deliver;
mod message;
mod quiet;
mod send;
mod store;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use jiff::tz::TimeZone;
use pictor_protocol::{
    AccountId, Channel, ChannelId, ChannelKind, CreatedChannel, Delivery, DeliveryId, List, NewChannel,
    NotificationSettings, PatchNotifications,
};
use serde::Deserialize;
use sqlx::AnyConnection;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Caller;
use crate::clock::Clock;
use crate::error::{Error, Json, Path, Query, Result};
use crate::lists;
use send::Parcel;
use store::ChannelRow;

pub use deliver::{deliver_loop, deliver_once};
pub use message::Announcement;
pub(crate) use message::{DETAIL_CHARS_MAX, Message, cut, exact};
pub use send::Sender;
pub(crate) use store::{forget, queue};

/// A test goes to whatever address an account writes down; it is no way to flood it.
const TEST_EVERY_SECONDS: i64 = 10;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, patch))
        .routes(routes!(list_channels, create_channel))
        .routes(routes!(delete_channel))
        .routes(routes!(test))
        .routes(routes!(list_deliveries))
}

/// Tells an account what happened to its money, in the transaction in which it happens.
pub async fn announce(
    conn: &mut AnyConnection,
    clock: &Clock,
    account: AccountId,
    announcement: &Announcement,
) -> Result<()> {
    store::queue(conn, clock, account, &announcement.message()).await
}

/// The time zone in which an account reads times.
pub(crate) async fn zone(conn: &mut AnyConnection, account: AccountId) -> Result<TimeZone> {
    Ok(store::wanted(conn, account).await?.zone)
}

pub async fn settings(app: &App, account: AccountId) -> Result<NotificationSettings> {
    let wanted = store::wanted(&mut *app.db.read().await?, account).await?;
    Ok(NotificationSettings {
        quiet_hours: wanted.quiet_hours,
        time_zone: wanted.zone.iana_name().unwrap_or("UTC").to_owned(),
        events: wanted.events,
        sends_email: app.notifier.sends_email(),
    })
}

pub async fn change_settings(
    app: &App,
    account: AccountId,
    change: PatchNotifications,
) -> Result<NotificationSettings> {
    if change.quiet_hours.flatten().is_some_and(|hours| hours.from == hours.to) {
        return Err(Error::Invalid("quiet_hours: they must end at another time than they begin".to_owned()));
    }
    let now = app.clock.now();
    app.db
        .write(move |conn| {
            let change = change.clone();
            Box::pin(async move {
                let mut wanted = store::wanted(conn, account).await?;
                wanted.quiet_hours = change.quiet_hours.unwrap_or(wanted.quiet_hours);
                wanted.events = change.events.unwrap_or(wanted.events);
                wanted.events.sort_unstable();
                wanted.events.dedup();
                store::keep_wanted(conn, account, &wanted, now).await
            })
        })
        .await?;
    settings(app, account).await
}

pub async fn channels(app: &App, account: AccountId) -> Result<Vec<Channel>> {
    let rows = store::channels(&mut *app.db.read().await?, account).await?;
    Ok(rows.iter().map(ChannelRow::shown).collect())
}

pub async fn add_channel(app: &App, account: AccountId, new: NewChannel) -> Result<CreatedChannel> {
    let (kind, target, secret) = match new {
        NewChannel::Email { address } => {
            if !app.notifier.sends_email() {
                let detail =
                    "this registry sends no e-mail: its operator has to set --smtp-url and --mail-from";
                return Err(Error::unprocessable("no_email", detail));
            }
            (ChannelKind::Email, send::email_address(&address)?, None)
        }
        NewChannel::Webhook { url } => {
            let secret = hex::encode(app.clock.random::<32>());
            (ChannelKind::Webhook, app.notifier.webhook_url(&url)?.into(), Some(secret))
        }
        NewChannel::Telegram { bot_token, chat_id } => {
            (ChannelKind::Telegram, send::chat_id(&chat_id)?, Some(send::bot_token(&bot_token)?))
        }
    };
    let row = ChannelRow {
        id: app.clock.id(ChannelId::from_parts),
        account_id: account,
        kind,
        target,
        secret,
        created_at: app.clock.now(),
    };
    let kept = row.clone();
    app.db
        .write(move |conn| {
            let kept = kept.clone();
            Box::pin(async move { store::add_channel(conn, &kept).await })
        })
        .await?;
    let signing_secret = row.secret.clone().filter(|_| kind == ChannelKind::Webhook);
    Ok(CreatedChannel { channel: row.shown(), signing_secret })
}

pub async fn remove_channel(app: &App, account: AccountId, id: ChannelId) -> Result<()> {
    app.db.write(move |conn| Box::pin(store::remove_channel(conn, account, id))).await
}

/// Sends a test now, past quiet hours; the error says why nothing came of it.
pub async fn test_channel(app: &App, account: AccountId, id: ChannelId) -> Result<()> {
    let found = store::find_channel(&mut *app.db.read().await?, id).await?;
    let channel = found.filter(|channel| channel.account_id == account).ok_or(Error::NotFound("channel"))?;
    let now = app.clock.now();
    let since = now.plus_seconds(-TEST_EVERY_SECONDS);
    if !app.db.write(move |conn| Box::pin(store::begin_test(conn, id, since, now))).await? {
        let detail = format!("this channel was tested a moment ago: wait {TEST_EVERY_SECONDS} seconds");
        return Err(Error::conflict("tested_just_now", detail));
    }
    let sent = app.notifier.send(&channel, &Parcel::test(account, now)).await;
    sent.map_err(|why| Error::unprocessable("not_delivered", format!("the test was not delivered: {why}")))
}

/// An account's messages, newest first.
pub async fn deliveries(
    app: &App,
    account: AccountId,
    before: Option<DeliveryId>,
    limit: u32,
) -> Result<List<Delivery>> {
    let mut conn = app.db.read().await?;
    let items = store::deliveries(&mut conn, account, before, i64::from(limit) + 1).await?;
    Ok(lists::page(items, limit, |last| last.id.to_string()))
}

/// What the caller wants to hear, and when.
#[utoipa::path(get, path = "/v1/notifications", responses((status = 200, body = NotificationSettings)))]
async fn get(State(app): State<App>, caller: Caller) -> Result<Json<NotificationSettings>> {
    caller.require_full()?;
    Ok(Json(settings(&app, caller.account_id).await?))
}

/// Changes quiet hours or events; what is absent stays.
#[utoipa::path(patch, path = "/v1/notifications", request_body = PatchNotifications, responses((status = 200, body = NotificationSettings)))]
async fn patch(
    State(app): State<App>,
    caller: Caller,
    Json(change): Json<PatchNotifications>,
) -> Result<Json<NotificationSettings>> {
    Ok(Json(change_settings(&app, caller.account_id, change).await?))
}

/// Where the caller's messages go, without what opens anything.
#[utoipa::path(get, path = "/v1/notifications/channels", responses((status = 200, body = List<Channel>)))]
async fn list_channels(State(app): State<App>, caller: Caller) -> Result<Json<List<Channel>>> {
    caller.require_full()?;
    Ok(Json(List { items: channels(&app, caller.account_id).await?, next_cursor: None }))
}

/// Adds a channel. A webhook's calls carry `Pictor-Signature: t=SECONDS,sha256=HEX`, the HMAC-SHA256 of
/// `SECONDS.BODY` under the secret that is answered here, and only here.
#[utoipa::path(post, path = "/v1/notifications/channels", request_body = NewChannel, responses((status = 201, body = CreatedChannel)))]
async fn create_channel(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewChannel>,
) -> Result<impl IntoResponse> {
    let created = add_channel(&app, caller.account_id, new).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(created)))
}

/// Removes a channel, and what was on its way there.
#[utoipa::path(delete, path = "/v1/notifications/channels/{id}", params(("id" = ChannelId, Path)), responses((status = 204)))]
async fn delete_channel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChannelId>,
) -> Result<StatusCode> {
    remove_channel(&app, caller.account_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test to a channel. 204 when it was taken there, 422 with the reason when it was not.
#[utoipa::path(post, path = "/v1/notifications/channels/{id}/test", params(("id" = ChannelId, Path)), responses((status = 204)))]
async fn test(State(app): State<App>, caller: Caller, Path(id): Path<ChannelId>) -> Result<StatusCode> {
    test_channel(&app, caller.account_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveriesQuery {
    /// At most 1,000; 100 unless given.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The caller's messages of the last 30 days, newest first, and what became of each.
#[utoipa::path(get, path = "/v1/notifications/deliveries", params(DeliveriesQuery), responses((status = 200, body = List<Delivery>)))]
async fn list_deliveries(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<List<Delivery>>> {
    caller.require_full()?;
    let limit = lists::limit(query.limit)?;
    let before = lists::after(query.cursor.as_deref())?;
    Ok(Json(deliveries(&app, caller.account_id, before, limit).await?))
}
