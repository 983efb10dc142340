//! Enrolment keys: one secret for many machines, each of which trades it for a worker of its own.

pub mod store;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use pictor_protocol::{
    CreatedEnrolment, EnrolRequest, Enrolment, EnrolmentId, List, NewEnrolment, WorkerConfig, WorkerName,
};
use sqlx::AnyConnection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::{self, Caller, Provider};
use crate::error::{Error, Json, Path, Result};
use crate::workers;
use crate::workers::setup::Fresh;
use store::{EnrolmentRow, Use};

const KEY_PREFIX: &str = "pictor_enrol_";
const COUNT_MAX: u32 = 10_000;
const PATTERN_CHARS_MAX: usize = 64;
const HOSTNAME_CHARS_MAX: usize = 48;
/// How many taken names in a row are gone past before the key is said to be of no use.
const NAME_TRIES_MAX: u32 = 1_000;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke)).routes(routes!(enrol))
}

/// Makes a key; its secret is shown this once.
pub async fn make(app: &App, caller: &Caller, new: NewEnrolment) -> Result<CreatedEnrolment> {
    caller.require_full()?;
    let now = app.clock.now();
    if new.count == 0 || new.count > COUNT_MAX {
        return Err(Error::Invalid(format!("count must be from 1 to {COUNT_MAX}")));
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Error::Invalid("expires_at lies in the past".to_owned()));
    }
    let secret = auth::new_secret(&app.clock, KEY_PREFIX);
    let enrolment = Enrolment {
        id: app.clock.id(EnrolmentId::from_parts),
        name_pattern: pattern(&new.name_pattern)?,
        count: new.count,
        used: 0,
        tags: workers::tags(new.tags)?,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
    };
    let row = EnrolmentRow { account_id: caller.account_id, sha256: secret.sha256, enrolment };
    let made = row.enrolment.clone();
    app.db
        .write(move |conn| {
            let row = row.clone();
            Box::pin(async move { store::create(conn, &row).await })
        })
        .await?;
    Ok(CreatedEnrolment { enrolment: made, key: secret.text })
}

/// What may stand for names: text with `{n}` and `{hostname}`, that makes a good name.
fn pattern(text: &str) -> Result<String> {
    let text = text.trim();
    let refused = |cause: &str| {
        Err(Error::Invalid(format!("name_pattern: {cause}; write rack-{{n}} or {{hostname}}, for example")))
    };
    if text.chars().count() > PATTERN_CHARS_MAX {
        return refused("it is longer than 64 characters");
    }
    let sample = text.replace("{n}", "1").replace("{hostname}", "host");
    if sample.contains(['{', '}']) {
        return refused("only {n} and {hostname} may stand in braces");
    }
    match sample.parse::<WorkerName>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => refused(&error.to_string()),
    }
}

/// The `number`th name of a pattern. One that counts nothing gets its number at the end, but for the first.
fn name(pattern: &str, number: i64, hostname: Option<&str>) -> Result<WorkerName> {
    let mut text = pattern.replace("{n}", &number.to_string());
    if text.contains("{hostname}") {
        let Some(hostname) = hostname.filter(|text| !text.trim().is_empty()) else {
            return Err(Error::Invalid(
                "this key names workers after their machines: send hostname".to_owned(),
            ));
        };
        let safe = |c: char| if c.is_control() || matches!(c, '/' | '\\') { '-' } else { c };
        let hostname: String = hostname.trim().chars().take(HOSTNAME_CHARS_MAX).map(safe).collect();
        text = text.replace("{hostname}", &hostname);
    }
    if !pattern.contains("{n}") && number > 1 {
        text = format!("{text}-{number}");
    }
    text.parse()
        .map_err(|error| Error::Invalid(format!("'{text}' is what this worker would be called: {error}")))
}

/// The caller's keys that were not revoked, newest first.
pub async fn keys(app: &App, caller: &Caller) -> Result<Vec<Enrolment>> {
    store::list(&mut *app.db.read().await?, caller.account_filter()).await
}

/// Ends a key; the workers that it made stay.
pub async fn end(app: &App, caller: &Caller, id: EnrolmentId) -> Result<()> {
    caller.require_full()?;
    let (owner, now) = (caller.account_filter(), app.clock.now());
    app.db.write(move |conn| Box::pin(store::revoke(conn, owner, id, now))).await
}

/// Makes an enrolment key, shown this once.
#[utoipa::path(post, path = "/v1/enrolments", request_body = NewEnrolment, responses((status = 201, body = CreatedEnrolment)))]
async fn create(
    State(app): State<App>,
    Provider(caller): Provider,
    Json(new): Json<NewEnrolment>,
) -> Result<impl IntoResponse> {
    let made = make(&app, &caller, new).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)))
}

/// The keys that were not revoked, newest first, without their secrets.
#[utoipa::path(get, path = "/v1/enrolments", responses((status = 200, body = List<Enrolment>)))]
async fn list(State(app): State<App>, Provider(caller): Provider) -> Result<Json<List<Enrolment>>> {
    Ok(Json(List { items: keys(&app, &caller).await?, next_cursor: None }))
}

/// Revokes a key: it makes no worker from now on. The workers that it made stay.
#[utoipa::path(delete, path = "/v1/enrolments/{id}", params(("id" = EnrolmentId, Path)), responses((status = 204)))]
async fn revoke(
    State(app): State<App>,
    Provider(caller): Provider,
    Path(id): Path<EnrolmentId>,
) -> Result<StatusCode> {
    end(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Trades an enrolment key for a new worker: its config, with its token.
#[utoipa::path(
    post,
    path = "/v1/agent/enrol",
    request_body = EnrolRequest,
    responses(
        (status = 201, body = WorkerConfig),
        (status = 403, description = "There is no such key, or it was revoked"),
        (status = 409, description = "The key has expired, or has made all its workers")
    )
)]
async fn enrol(State(app): State<App>, Json(ask): Json<EnrolRequest>) -> Result<impl IntoResponse> {
    let (sha256, now) = (auth::digest(&ask.key), app.clock.now());
    let inside = app.clone();
    let config: WorkerConfig = app
        .db
        .write(move |conn| {
            let (app, hostname) = (inside.clone(), ask.hostname.clone());
            Box::pin(async move {
                let used = store::count_use(conn, sha256, now).await?;
                let fresh = first_free(&app, conn, &used, hostname.as_deref()).await?;
                Ok(fresh.config(&app, used.wallet_address))
            })
        })
        .await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(config)))
}

/// Makes the worker under the next name that nobody has.
async fn first_free(
    app: &App,
    conn: &mut AnyConnection,
    used: &Use,
    hostname: Option<&str>,
) -> Result<Fresh> {
    // A machine's own name stands alone until it is taken; numbers go on from the last one.
    let from = if used.name_pattern.contains("{n}") { used.next_number } else { 1 };
    for number in from..from + i64::from(NAME_TRIES_MAX) {
        let name = name(&used.name_pattern, number, hostname)?;
        let fresh = Fresh::new(app, used.account_id, name, used.tags.clone());
        match fresh.add(conn, app.clock.now()).await {
            Ok(()) => {
                store::number_used(conn, used.id, number).await?;
                return Ok(fresh);
            }
            // No statement failed: the row was there already.
            Err(Error::Conflict { code: "name_taken", .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::conflict("names_taken", "the names that this key gives are all taken: make another key"))
}

#[cfg(test)]
mod tests {
    use super::{name, pattern};

    #[test]
    fn names_follow_their_pattern() {
        let made = |pattern, number, hostname| name(pattern, number, hostname).map(String::from).ok();
        assert_eq!(made("rack-{n}", 7, None).as_deref(), Some("rack-7"));
        assert_eq!(made("{hostname}", 1, Some("node/1")).as_deref(), Some("node-1"));
        assert_eq!(made("{hostname}", 2, Some("node")).as_deref(), Some("node-2"));
        assert_eq!(made("{hostname}", 1, None), None);
        assert_eq!(made("{hostname}", 1, Some(&"x".repeat(500))).map(|name| name.len()), Some(48));
    }

    #[test]
    fn a_pattern_makes_good_names() {
        assert_eq!(pattern(" rack-{n} ").ok().as_deref(), Some("rack-{n}"));
        for refused in ["", "a/{n}", "{x}", "{n", "a}", &"x".repeat(65)] {
            assert!(pattern(refused).is_err(), "{refused}");
        }
    }
}
