//! The caller's own account.

use axum::extract::State;
use jiff::tz::TimeZone;
use pictor_protocol::{Me, PatchMe};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{store, wallet_address};
use crate::App;
use crate::audit::{self, Event};
use crate::auth::Caller;
use crate::error::{Error, Json, Result};
use crate::ledger::store::{Book, balance};
use crate::notifications::{Announcement, announce};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me, change_me))
}

/// Who the token speaks for, and what it may do.
#[utoipa::path(get, path = "/v1/me", responses((status = 200, body = Me)))]
async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>> {
    Ok(Json(get(&app, &caller).await?))
}

/// Changes where payouts go, or the zone in which times are shown.
#[utoipa::path(patch, path = "/v1/me", request_body = PatchMe, responses((status = 200, body = Me)))]
async fn change_me(State(app): State<App>, caller: Caller, Json(patch): Json<PatchMe>) -> Result<Json<Me>> {
    change(&app, &caller, &patch).await?;
    Ok(Json(get(&app, &caller).await?))
}

pub(crate) async fn get(app: &App, caller: &Caller) -> Result<Me> {
    let mut conn = app.db.read().await?;
    let profile = store::profile(&mut conn, caller.account_id).await?;
    Ok(Me {
        id: caller.account_id,
        name: caller.name.clone(),
        roles: caller.roles.clone(),
        scope: caller.scope,
        wallet_address: profile.wallet_address,
        time_zone: profile.time_zone,
        currency: app.settings.currency.clone(),
        balance_micros: balance(&mut conn, &Book::Account(caller.account_id)).await?,
    })
}

pub(crate) async fn change(app: &App, caller: &Caller, patch: &PatchMe) -> Result<()> {
    let wallet = patch.wallet_address.as_deref().map(|text| or_none(text, wallet_address)).transpose()?;
    let zone = patch.time_zone.as_deref().map(|text| or_none(text, time_zone)).transpose()?;
    let (id, clock) = (caller.account_id, app.clock.clone());
    let (wallet_event, zone_event) = (
        Event::by(&app.clock, caller, id, "wallet_address_changed", id),
        Event::by(&app.clock, caller, id, "time_zone_changed", id),
    );
    app.db
        .write(move |conn| {
            let (wallet, zone) = (wallet.clone(), zone.clone());
            let (wallet_event, zone_event) = (wallet_event.clone(), zone_event.clone());
            let clock = clock.clone();
            Box::pin(async move {
                let old = store::profile(conn, id).await?;
                let new = store::Profile {
                    wallet_address: wallet.unwrap_or_else(|| old.wallet_address.clone()),
                    time_zone: zone.unwrap_or_else(|| old.time_zone.clone()),
                };
                store::set_profile(conn, id, &new).await?;
                if new.wallet_address != old.wallet_address {
                    let detail = json!({ "from": old.wallet_address, "to": new.wallet_address });
                    audit::record(conn, &wallet_event.with(detail)).await?;
                    let announcement = Announcement::WalletChanged { to: new.wallet_address.clone() };
                    announce(conn, &clock, id, &announcement).await?;
                }
                if new.time_zone != old.time_zone {
                    let detail = json!({ "from": old.time_zone, "to": new.time_zone });
                    audit::record(conn, &zone_event.with(detail)).await?;
                }
                Ok(())
            })
        })
        .await
}

fn or_none(text: &str, checked: fn(&str) -> Result<String>) -> Result<Option<String>> {
    if text.trim().is_empty() { Ok(None) } else { checked(text).map(Some) }
}

fn time_zone(name: &str) -> Result<String> {
    match TimeZone::get(name.trim()) {
        Ok(zone) => Ok(zone.iana_name().unwrap_or(name).to_owned()),
        Err(_) => Err(Error::unprocessable("time_zone", format!("there is no time zone named '{name}'"))),
    }
}
