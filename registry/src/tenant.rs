//! Prometheus' query API for tenants: the same calls, over the caller's own series alone.
//!
//! A provider's Grafana asks here with a read token. Whatever it sends, each selector is narrowed to the
//! account of the token before Prometheus sees it; an operator's token sees all.

mod answer;
mod bounds;
mod parameters;
mod scope;
mod turns;
mod upstream;

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use pictor_protocol::AccountId;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::{Caller, Reader};
use crate::error::{Error, Path, Result};

use answer::{Answer, Refused};
use bounds::{RANGE_MAX, Range};
use parameters::Parameters;
use scope::QUERY_BYTES_MAX;
use turns::Turn;
use upstream::{Form, QUERY_SECONDS_MAX};

pub use upstream::Upstream;

/// Each costs as much to read as a query.
const MATCHES_MAX: usize = 16;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(query))
        .routes(routes!(query_range))
        .routes(routes!(query_exemplars))
        .routes(routes!(series))
        .routes(routes!(labels))
        .routes(routes!(label_values))
        .routes(routes!(metadata))
        .routes(routes!(buildinfo))
        .routes(routes!(rules))
}

type Answered = std::result::Result<Response, Refused>;

/// One call under way: whose it is, and where it goes.
struct Call<'a> {
    upstream: &'a Upstream,
    turn: Turn,
    /// Whose series alone may be seen; `None` for an operator.
    only: Option<AccountId>,
}

impl<'a> Call<'a> {
    async fn begin(app: &'a App, caller: &Caller) -> Result<Call<'a>> {
        let upstream = upstream(app)?;
        let turn = upstream.turns.query(caller.account_id).await?;
        Ok(Call { upstream, turn, only: caller.account_filter() })
    }

    /// The caller's query, narrowed to what it may see.
    async fn query(&self, parameters: &Parameters, span: Duration) -> Result<String> {
        let text = bounded("query", parameters.required("query")?)?;
        match self.only {
            Some(account) => {
                let permit = self.upstream.turns.reading(account).await?;
                scope::query(text, account, span, permit).await.map_err(Error::Invalid)
            }
            None => Ok(text.to_owned()),
        }
    }

    /// The caller's selectors, narrowed to what it may see.
    async fn matches(&self, parameters: &Parameters) -> Result<Form> {
        let mut form = Form::new();
        for text in parameters.all("match[]") {
            let text = bounded("match[]", text)?;
            let narrowed = match self.only {
                Some(account) => {
                    let permit = self.upstream.turns.reading(account).await?;
                    scope::selector(text, account, permit).await.map_err(Error::Invalid)?
                }
                None => text.to_owned(),
            };
            form.push(("match[]", narrowed));
            if form.len() > MATCHES_MAX {
                return Err(Error::Invalid(format!("more than {MATCHES_MAX} match[]")));
            }
        }
        if let (Some(account), true) = (self.only, form.is_empty()) {
            form.push(("match[]", scope::all_of(account)));
        }
        Ok(form)
    }
}

fn upstream(app: &App) -> Result<&Upstream> {
    app.prometheus.as_deref().ok_or_else(|| {
        Error::Unavailable(
            "this registry does not know a Prometheus: its operator starts it with --prometheus-url"
                .to_owned(),
        )
    })
}

fn bounded<'a>(name: &str, text: &'a str) -> Result<&'a str> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::TooLarge(format!("{name} has more than {QUERY_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A count that Prometheus takes to shorten its answer.
fn limit(parameters: &Parameters, form: &mut Form) -> Result<()> {
    if let Some(text) = parameters.optional("limit")? {
        let limit: u32 =
            text.parse().map_err(|_| Error::Invalid(format!("limit is not a count: '{text}'")))?;
        form.push(("limit", limit.to_string()));
    }
    Ok(())
}

/// Fills in what is missing: nobody needs all time, and Prometheus would look through it.
fn period(app: &App, parameters: &Parameters) -> Result<(f64, f64)> {
    let moment = |name: &str| {
        parameters.optional(name)?.map(|text| bounds::time(name, text)).transpose().map_err(Error::Invalid)
    };
    let end = match moment("end")? {
        Some(end) => end,
        None => app.clock.now().seconds_since(pictor_protocol::UnixMillis(0)),
    };
    let start = moment("start")?.unwrap_or(end - RANGE_MAX.as_secs_f64());
    bounds::span(start, end).map_err(Error::Invalid)?;
    Ok((start, end))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Describes what `Parameters` reads.
struct QueryParameters {
    /// PromQL.
    query: String,
    /// Seconds since 1970 or RFC 3339; now unless given.
    time: Option<String>,
    limit: Option<u32>,
}

/// Evaluates a query at one moment.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/query",
    params(QueryParameters),
    responses((status = 200, body = Answer), (status = 400, body = Answer))
)]
async fn query(State(app): State<App>, Reader(caller): Reader, parameters: Parameters) -> Answered {
    let call = Call::begin(&app, &caller).await?;
    let mut form = vec![("query", call.query(&parameters, Duration::ZERO).await?)];
    if let Some(text) = parameters.optional("time")? {
        form.push(("time", bounds::time("time", text).map_err(Error::Invalid)?.to_string()));
    }
    form.push(("timeout", format!("{QUERY_SECONDS_MAX}s")));
    limit(&parameters, &mut form)?;
    Ok(call.upstream.post(call.turn, &["query"], &form).await?)
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Describes what `Parameters` reads.
struct RangeParameters {
    /// PromQL.
    query: String,
    /// Seconds since 1970 or RFC 3339.
    start: String,
    /// Seconds since 1970 or RFC 3339; at most 400 days after start.
    end: String,
    /// Seconds, or a duration such as 30s; at most 11,000 points.
    step: String,
    limit: Option<u32>,
}

/// Evaluates a query at each step of a range.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/query_range",
    params(RangeParameters),
    responses((status = 200, body = Answer), (status = 400, body = Answer))
)]
async fn query_range(State(app): State<App>, Reader(caller): Reader, parameters: Parameters) -> Answered {
    let call = Call::begin(&app, &caller).await?;
    let (start, end) = (parameters.required("start")?, parameters.required("end")?);
    let range = Range::parse(start, end, parameters.required("step")?).map_err(Error::Invalid)?;
    let mut form = vec![
        ("query", call.query(&parameters, range.span()).await?),
        ("start", range.start.to_string()),
        ("end", range.end.to_string()),
        ("step", range.step.to_string()),
        ("timeout", format!("{QUERY_SECONDS_MAX}s")),
    ];
    limit(&parameters, &mut form)?;
    Ok(call.upstream.post(call.turn, &["query_range"], &form).await?)
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Describes what `Parameters` reads.
struct ExemplarParameters {
    /// PromQL, whose selectors count.
    query: String,
    start: Option<String>,
    end: Option<String>,
}

/// Exemplars of the series that a query selects.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/query_exemplars",
    params(ExemplarParameters),
    responses((status = 200, body = Answer), (status = 400, body = Answer))
)]
async fn query_exemplars(State(app): State<App>, Reader(caller): Reader, parameters: Parameters) -> Answered {
    let call = Call::begin(&app, &caller).await?;
    let (start, end) = period(&app, &parameters)?;
    let query = call.query(&parameters, Duration::ZERO).await?;
    let form = vec![("query", query), ("start", start.to_string()), ("end", end.to_string())];
    Ok(call.upstream.post(call.turn, &["query_exemplars"], &form).await?)
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Describes what `Parameters` reads.
struct MatchParameters {
    /// Selectors, any of which a series must match.
    #[param(rename = "match[]")]
    matches: Option<Vec<String>>,
    /// Seconds since 1970 or RFC 3339; 400 days before end unless given.
    start: Option<String>,
    /// Seconds since 1970 or RFC 3339; now unless given.
    end: Option<String>,
    limit: Option<u32>,
}

/// What `series`, `labels` and `label/{name}/values` hand on.
async fn matched(app: &App, call: &Call<'_>, parameters: &Parameters) -> Result<Form> {
    let (start, end) = period(app, parameters)?;
    let mut form = call.matches(parameters).await?;
    form.extend([("start", start.to_string()), ("end", end.to_string())]);
    limit(parameters, &mut form)?;
    Ok(form)
}

/// The series that match, with all their labels.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/series",
    params(MatchParameters),
    responses((status = 200, body = Answer), (status = 400, body = Answer))
)]
async fn series(State(app): State<App>, Reader(caller): Reader, parameters: Parameters) -> Answered {
    let call = Call::begin(&app, &caller).await?;
    let form = matched(&app, &call, &parameters).await?;
    Ok(call.upstream.post(call.turn, &["series"], &form).await?)
}

/// The names of the labels of series that match.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/labels",
    params(MatchParameters),
    responses((status = 200, body = Answer), (status = 400, body = Answer))
)]
async fn labels(State(app): State<App>, Reader(caller): Reader, parameters: Parameters) -> Answered {
    let call = Call::begin(&app, &caller).await?;
    let form = matched(&app, &call, &parameters).await?;
    Ok(call.upstream.post(call.turn, &["labels"], &form).await?)
}

/// The values that a label has on series that match.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/label/{name}/values",
    params(("name" = String, Path), MatchParameters),
    responses((status = 200, body = Answer), (status = 400, body = Answer))
)]
async fn label_values(
    State(app): State<App>,
    Reader(caller): Reader,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Answered {
    // It becomes a part of an address.
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || name.len() > QUERY_BYTES_MAX || !is_name {
        return Err(Error::Invalid(format!("'{name}' is not the name of a label")).into());
    }
    let call = Call::begin(&app, &caller).await?;
    let form = matched(&app, &call, &parameters).await?;
    Ok(call.upstream.get(call.turn, &["label", &name, "values"], &form).await?)
}

/// What an operator's token is told and a tenant's is not: it is not said whose it is.
async fn untold(app: &App, caller: &Caller, path: &[&str], empty: serde_json::Value) -> Answered {
    let call = Call::begin(app, caller).await?;
    match call.only {
        Some(_) => Ok(Answer::success(empty)),
        None => Ok(call.upstream.get(call.turn, path, &Form::new()).await?),
    }
}

/// Types and texts of metrics, for operators; empty for others, since any agent may have said them.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/metadata",
    responses((status = 200, body = Answer))
)]
async fn metadata(State(app): State<App>, Reader(caller): Reader) -> Answered {
    untold(&app, &caller, &["metadata"], json!({})).await
}

/// Rules and their alerts, for operators; empty for others, since they span accounts.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/rules",
    responses((status = 200, body = Answer))
)]
async fn rules(State(app): State<App>, Reader(caller): Reader) -> Answered {
    untold(&app, &caller, &["rules"], json!({"groups": []})).await
}

/// Which Prometheus answers: clients choose by it what to ask.
#[utoipa::path(
    method(get, post),
    path = "/v1/prometheus/api/v1/status/buildinfo",
    responses((status = 200, body = Answer))
)]
async fn buildinfo(State(app): State<App>, Reader(caller): Reader) -> Answered {
    let call = Call::begin(&app, &caller).await?;
    Ok(call.upstream.get(call.turn, &["status", "buildinfo"], &Form::new()).await?)
}
