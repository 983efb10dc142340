//! The Prometheus behind the registry.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use reqwest::redirect::Policy;
use url::Url;
use url::form_urlencoded::Serializer;

use super::turns::{Turn, Turns};
use crate::error::{Error, Result};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Prometheus ends a query by itself a little earlier, and says so.
pub(super) const QUERY_SECONDS_MAX: u64 = 30;
const ANSWER_MAX: Duration = Duration::from_secs(QUERY_SECONDS_MAX + 10);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

pub(super) type Form = Vec<(&'static str, String)>;

/// Where queries go.
pub struct Upstream {
    base: Url,
    client: reqwest::Client,
    pub(super) turns: Turns,
}

impl Upstream {
    pub fn new(base: Url) -> anyhow::Result<Upstream> {
        // A redirect could lead anywhere, and take the credentials of the URL along.
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .build()?;
        Ok(Upstream { base, client, turns: Turns::new() })
    }

    /// Asks by form, which has room for long queries.
    pub(super) async fn post(&self, turn: Turn, path: &[&str], form: &Form) -> Result<Response> {
        let body = encoded(form);
        let request = self.client.post(self.url(path)?);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        relay(turn, request.header(header::CONTENT_TYPE, form).body(body)).await
    }

    pub(super) async fn get(&self, turn: Turn, path: &[&str], form: &Form) -> Result<Response> {
        let mut url = self.url(path)?;
        if !form.is_empty() {
            url.set_query(Some(&encoded(form)));
        }
        relay(turn, self.client.get(url)).await
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        let segments = url.path_segments_mut().map_err(|()| anyhow::anyhow!("--prometheus-url has no path"));
        segments?.pop_if_empty().extend(["api", "v1"]).extend(path);
        Ok(url)
    }
}

fn encoded(form: &Form) -> String {
    Serializer::new(String::new()).extend_pairs(form).finish()
}

/// Hands on what Prometheus answers, its refusals included: they are for the caller.
async fn relay(turn: Turn, request: reqwest::RequestBuilder) -> Result<Response> {
    let answer = request.send().await.map_err(|cause| {
        let cause = cause.without_url();
        tracing::error!(error = format!("{cause:?}"), "Prometheus does not answer");
        Error::Unavailable("the Prometheus behind this registry does not answer: try again later".to_owned())
    })?;
    let status = answer.status();
    let is_json = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    let known = matches!(
        status,
        StatusCode::OK
            | StatusCode::BAD_REQUEST
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::SERVICE_UNAVAILABLE
    );
    if !is_json || !known {
        tracing::error!(status = status.as_u16(), "what answers at --prometheus-url is not Prometheus' API");
        return Err(Error::Unavailable(
            "the Prometheus behind this registry gave no proper answer: its operator should look at --prometheus-url"
                .to_owned(),
        ));
    }
    if answer.content_length().is_some_and(|bytes| bytes > ANSWER_BYTES_MAX) {
        return Err(Error::TooLarge(format!(
            "the answer has more than {ANSWER_BYTES_MAX} bytes: ask for fewer series or a shorter range"
        )));
    }
    let mut left = ANSWER_BYTES_MAX;
    let chunks = answer.bytes_stream().map(move |chunk| {
        let _until_sent = &turn;
        let chunk = chunk.map_err(|cause| io::Error::other(cause.without_url()))?;
        // The status has gone out long ago: a broken answer is better than half of one that looks whole.
        left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            tracing::warn!("an answer of Prometheus was cut off at {ANSWER_BYTES_MAX} bytes");
            io::Error::other("the answer is too large")
        })?;
        Ok::<_, io::Error>(chunk)
    });
    let json = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, json)], Body::from_stream(chunks)).into_response())
}
