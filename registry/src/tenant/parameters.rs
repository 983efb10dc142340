//! What a caller asks, from the query string and from a form: Grafana sends either.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use super::answer::Refused;
use super::scope::QUERY_BYTES_MAX;
use crate::App;
use crate::error::{Error, Result};

/// A query whose every character is escaped, and the rest.
const FORM_BYTES_MAX: usize = 3 * QUERY_BYTES_MAX + (16 << 10);

pub(super) struct Parameters(Vec<(String, String)>);

impl FromRequest<App> for Parameters {
    type Rejection = Response;

    async fn from_request(request: Request, _: &App) -> std::result::Result<Parameters, Response> {
        read(request).await.map_err(|error| Refused(error).into_response())
    }
}

async fn read(request: Request) -> Result<Parameters> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.query().unwrap_or_default();
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(url.as_bytes()).into_owned().collect();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        pairs.extend(form_urlencoded::parse(&bounded(body).await?).into_owned());
    }
    Ok(Parameters(pairs))
}

async fn bounded(body: Body) -> Result<axum::body::Bytes> {
    to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_| Error::TooLarge(format!("the form has more than {FORM_BYTES_MAX} bytes, or broke off")))
}

impl Parameters {
    /// The value of a parameter that may be there once. An empty one says nothing.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&str>> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
            (_, Some(_)) => Err(Error::Invalid(format!("{name} is there more than once"))),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.optional(name)?.ok_or_else(|| Error::Invalid(format!("{name} is missing")))
    }

    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}
