//! Who signs in to an account through OpenID Connect.

use axum::extract::State;
use axum::http::StatusCode;
use pictor_protocol::{AccountId, Identity as Linked, List};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::audit::{self, Event};
use crate::auth::Caller;
use crate::db::Db;
use crate::error::{Json, Query, Result};
use crate::oidc::{Identity, store};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_identities, remove_identity))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct IdentityQuery {
    issuer: String,
    subject: String,
}

/// Who signs in to the caller's account through OpenID Connect.
#[utoipa::path(get, path = "/v1/identities", responses((status = 200, body = List<Linked>)))]
async fn list_identities(State(app): State<App>, caller: Caller) -> Result<Json<List<Linked>>> {
    Ok(Json(List { items: list(&app, &caller).await?, next_cursor: None }))
}

/// Takes one of them away, and ends the sessions opened in that way.
#[utoipa::path(delete, path = "/v1/identities", params(IdentityQuery), responses((status = 204)))]
async fn remove_identity(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<IdentityQuery>,
) -> Result<StatusCode> {
    remove(&app, &caller, Identity { issuer: query.issuer, subject: query.subject }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn list(app: &App, caller: &Caller) -> Result<Vec<Linked>> {
    store::list(&mut *app.db.read().await?, caller.account_id).await
}

pub(crate) async fn remove(app: &App, caller: &Caller, identity: Identity) -> Result<()> {
    let owner = caller.account_id;
    let event = Event::by(&app.clock, caller, owner, "identity_removed", &identity.subject)
        .with(json!({ "issuer": identity.issuer }));
    app.db
        .write(move |conn| {
            let (identity, event) = (identity.clone(), event.clone());
            Box::pin(async move {
                store::unlink(conn, &identity, owner).await?;
                audit::record(conn, &event).await
            })
        })
        .await
}

/// Whether it was connected now; false when it was before.
pub(crate) async fn connect(app: &App, caller: &Caller, identity: Identity) -> Result<bool> {
    let event = Event::by(&app.clock, caller, caller.account_id, "identity_connected", &identity.subject);
    link(&app.db, caller.account_id, identity, event).await
}

pub(crate) async fn link(db: &Db, account_id: AccountId, identity: Identity, event: Event) -> Result<bool> {
    let event = event.with(json!({ "issuer": identity.issuer }));
    db.write(move |conn| {
        let (identity, event) = (identity.clone(), event.clone());
        Box::pin(async move {
            let made = store::link(conn, &identity, account_id, event.at).await?;
            if made {
                audit::record(conn, &event).await?;
            }
            Ok(made)
        })
    })
    .await
}
