//! Payouts: money on its way to wallets, which an operator records and providers see.

mod state;
pub mod store;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use pictor_protocol::{List, Micros, NewPayout, PatchPayout, Payout, PayoutId, PayoutStatus};
use serde::Deserialize;
use serde_json::json;
use sqlx::AnyConnection;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::audit::{self, Event};
use crate::auth::{Caller, Operator, Provider};
use crate::clock::Clock;
use crate::error::{Error, Json, Path, Query, Result};
use crate::lists::{self, Format, LIMIT_DEFAULT, LIMIT_MAX};
use crate::notifications::{Announcement, announce};
use crate::spreadsheet::{self, Column, or_empty};
use state::PayoutEvent;

const KEY_CHARS_MAX: usize = 200;
const REFERENCE_CHARS_MAX: usize = 200;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(patch))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// At most 1,000; 100 unless given. CSV without it is all of them.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// Payouts, newest first; an operator's are every account's.
#[utoipa::path(get, path = "/v1/payouts", params(ListQuery), responses((status = 200, body = List<Payout>)))]
async fn list(
    State(app): State<App>,
    Provider(caller): Provider,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let (limit, before) = (lists::limit_if_asked(query.limit)?, lists::after(query.cursor.as_deref())?);
    if query.format == Format::Csv {
        return csv(&app, &caller, before, limit).await;
    }
    let list = page(&app, &caller, before, limit.unwrap_or(LIMIT_DEFAULT)).await?;
    Ok(Json(list).into_response())
}

/// One page of what the caller may see.
pub async fn page(app: &App, caller: &Caller, before: Option<PayoutId>, limit: u32) -> Result<List<Payout>> {
    let mut conn = app.db.read().await?;
    let (owner, currency) = (caller.account_filter(), &app.settings.currency);
    let items = store::list(&mut conn, owner, before, i64::from(limit) + 1, currency).await?;
    Ok(lists::page(items, limit, |last| last.id.to_string()))
}

const COLUMNS: [Column<Payout>; 10] = [
    Column("id", |payout| payout.id.to_string()),
    Column("account_id", |payout| payout.account_id.to_string()),
    Column("account_name", |payout| payout.account_name.clone()),
    Column("currency", |payout| payout.currency.clone()),
    Column("amount_micros", |payout| payout.amount_micros.0.to_string()),
    Column("status", |payout| payout.status.to_string()),
    Column("wallet_address", |payout| or_empty(payout.wallet_address.as_ref())),
    Column("reference", |payout| or_empty(payout.reference.as_ref())),
    Column("created_at", |payout| payout.created_at.to_string()),
    Column("ended_at", |payout| or_empty(payout.ended_at)),
];

/// All that the caller may see, or the newest `limit`.
pub async fn csv(
    app: &App,
    caller: &Caller,
    mut before: Option<PayoutId>,
    limit: Option<u32>,
) -> Result<Response> {
    let mut rows = vec![spreadsheet::head(&COLUMNS)];
    loop {
        let List { items, next_cursor } = page(app, caller, before, limit.unwrap_or(LIMIT_MAX)).await?;
        rows.extend(items.iter().map(|payout| spreadsheet::row(&COLUMNS, payout)));
        before = items.last().map(|last| last.id);
        if next_cursor.is_none() || limit.is_some() {
            break;
        }
    }
    spreadsheet::download("payouts.csv", rows)
}

/// Takes an amount out of an account's balance to be sent to its wallet. 201; 200 when its `Idempotency-Key`
/// has made it before. Money moves elsewhere: this records it.
#[utoipa::path(post, path = "/v1/payouts", request_body = NewPayout,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Payout), (status = 200, body = Payout)))]
async fn create(
    State(app): State<App>,
    Operator(caller): Operator,
    headers: HeaderMap,
    Json(new): Json<NewPayout>,
) -> Result<(StatusCode, Json<Payout>)> {
    let (payout, is_new) = record_payout(&app, &caller, new, idempotency_key(&headers)?).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(payout)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.chars().count() > KEY_CHARS_MAX {
        return Err(Error::Invalid(format!("Idempotency-Key: 1 to {KEY_CHARS_MAX} characters of ASCII")));
    }
    Ok(Some(text.to_owned()))
}

/// Records a payout as pending; `false` when the key has made it before.
pub async fn record_payout(
    app: &App,
    caller: &Caller,
    new: NewPayout,
    key: Option<String>,
) -> Result<(Payout, bool)> {
    if new.amount_micros <= Micros::ZERO {
        return Err(Error::Invalid("amount_micros: must be above zero".to_owned()));
    }
    let row = store::NewPayoutRow {
        id: app.clock.id(PayoutId::from_parts),
        account_id: new.account_id,
        amount: new.amount_micros,
        reference: reference(new.reference)?,
        idempotency_key: key,
    };
    let (currency, now) = (app.settings.currency.clone(), app.clock.now());
    let event = Event::by(&app.clock, caller, row.account_id, "payout_recorded", row.id)
        .with(json!({ "amount_micros": row.amount, "reference": row.reference }));
    app.db
        .write(move |conn| {
            let (row, currency, event) = (row.clone(), currency.clone(), event.clone());
            Box::pin(async move {
                let (payout, is_new) = store::create(conn, &row, &currency, now).await?;
                if is_new {
                    audit::record(conn, &event).await?;
                }
                Ok((payout, is_new))
            })
        })
        .await
}

fn reference(given: Option<String>) -> Result<Option<String>> {
    let Some(text) = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > REFERENCE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "reference: at most {REFERENCE_CHARS_MAX} characters and no control characters"
        )));
    }
    Ok(Some(text))
}

/// Says how a pending payout ended: `sent`, or `failed`, which returns its amount to the balance.
#[utoipa::path(patch, path = "/v1/payouts/{id}", params(("id" = PayoutId, Path)), request_body = PatchPayout,
    responses((status = 200, body = Payout)))]
async fn patch(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(id): Path<PayoutId>,
    Json(patch): Json<PatchPayout>,
) -> Result<Json<Payout>> {
    Ok(Json(end_payout(&app, &caller, id, patch).await?))
}

/// Its account is told, once.
pub async fn end_payout(app: &App, caller: &Caller, id: PayoutId, patch: PatchPayout) -> Result<Payout> {
    let event = match patch.status {
        PayoutStatus::Sent => PayoutEvent::Sent,
        PayoutStatus::Failed => PayoutEvent::Failed,
        PayoutStatus::Pending => {
            return Err(Error::Invalid("status: a payout becomes sent or failed".to_owned()));
        }
    };
    let reference = reference(patch.reference)?;
    let (currency, clock, caller) = (app.settings.currency.clone(), app.clock.clone(), caller.clone());
    app.db
        .write(move |conn| {
            let (reference, currency) = (reference.clone(), currency.clone());
            let (clock, caller) = (clock.clone(), caller.clone());
            Box::pin(async move {
                let (payout, is_new) = store::end(conn, id, event, reference, &currency, clock.now()).await?;
                if is_new {
                    tell(conn, &clock, &caller, &payout).await?;
                }
                Ok(payout)
            })
        })
        .await
}

async fn tell(conn: &mut AnyConnection, clock: &Clock, caller: &Caller, payout: &Payout) -> Result<()> {
    let (amount, currency) = (payout.amount_micros, payout.currency.clone());
    let reference = payout.reference.clone();
    let announcement = if payout.status == PayoutStatus::Sent {
        Announcement::PayoutSent { amount, currency, reference }
    } else {
        Announcement::PayoutFailed { amount, currency, reference }
    };
    announce(conn, clock, payout.account_id, &announcement).await?;
    let action = format!("payout_{}", payout.status);
    let event = Event::by(clock, caller, payout.account_id, &action, payout.id);
    audit::record(conn, &event.with(json!({ "reference": payout.reference }))).await
}
