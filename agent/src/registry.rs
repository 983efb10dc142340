//! The agent's calls to its registry, and what their failures mean.

use std::{
    error::Error,
    fmt::{self, Display},
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use pictor_protocol::{
    AttemptEnded, AttemptId, CompleteRequest, EnrolRequest, FailRequest, HeartbeatRequest, HeartbeatResponse,
    LeaseRequest, LeasesResponse, NewWorker, Problem, ReleaseRequest, StoredFrame, TestRenderId,
    TestRenderReport, WorkerConfig, WorkerName, is_loopback,
};
use pictor_telemetry::TraceParent;
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tracing::{Span, field::Empty, info_span};
use url::Url;

use crate::clock;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte for this long, a line is dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A home's uplink at its worst; large frames get time in proportion.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 50_000;
const TEST_FRAME_TIMEOUT: Duration = Duration::from_secs(90);
const PROBLEM_BYTES_MAX: usize = 64 << 10;
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Whose work this is and where it comes from. Its `Debug` form hides the token.
#[derive(Clone)]
pub struct Identity(pub WorkerConfig);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.worker_id).field(&self.0.registry.as_str()).finish()
    }
}

/// Why a call gave no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The network, the registry itself, or too many calls: worth trying again, `after` so long if it said so.
    #[error("{reason}")]
    Retry { reason: String, after: Option<Duration> },
    /// 404 or 409 about a lease: its task has another attempt, or has ended.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// 401 or 403.
    #[error(
        "the registry does not accept this worker's token ({0}): its config file was downloaded again and imported elsewhere, \
         or the worker was deleted. Download the config file again and run `pictor-agent import FILE.toml`"
    )]
    Unauthorized(String),
    #[error("another machine uses this worker's config file: {0}")]
    DuplicateWorker(String),
    /// Any other 4xx: the same call again would get the same answer.
    #[error("{detail} ({status})")]
    Refused { status: u16, detail: String },
}

fn client(registry: &Url, headers: HeaderMap) -> anyhow::Result<Client> {
    let mut client = Client::builder()
        .user_agent(concat!("pictor-agent/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(30));
    if is_loopback(registry) {
        client = client.no_proxy();
    }
    client.build().context("cannot set up HTTPS")
}

/// Trades an enrolment key for a worker.
pub async fn enrol(registry: &Url, ask: &EnrolRequest) -> anyhow::Result<WorkerConfig> {
    let client = client(registry, HeaderMap::new())?;
    let call = client.post(path(registry, &filled("/v1/agent/enrol", &[]))).timeout(CALL_TIMEOUT).json(ask);
    let response = call.send().await.map_err(|error| retry(&error))?;
    if !response.status().is_success() {
        let (_, detail) = problem(response).await;
        bail!(detail);
    }
    response.json().await.context("the registry's answer cannot be read")
}

/// One worker's line to its registry.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    base: Url,
}

impl Registry {
    pub fn new(identity: &WorkerConfig) -> anyhow::Result<Registry> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", identity.token))
            .context("the token in the config file is no access token")?;
        bearer.set_sensitive(true);
        let client = client(&identity.registry, HeaderMap::from_iter([(AUTHORIZATION, bearer)]))?;
        Ok(Registry { client, base: identity.registry.clone() })
    }

    pub fn url(&self) -> &Url {
        &self.base
    }

    /// The answer, and how far this machine's clock is ahead of the registry's, if it told.
    pub async fn heartbeat(
        &self,
        beat: &HeartbeatRequest,
    ) -> Result<(HeartbeatResponse, Option<f64>), CallError> {
        let call = self.call(Method::POST, "/v1/agent/heartbeat", &[]);
        let response = answer(call.with(|call| call.timeout(CALL_TIMEOUT).json(beat)), On::Worker).await?;
        let skew_seconds = clock_skew(response.headers());
        Ok((response.json().await.map_err(|error| retry(&error))?, skew_seconds))
    }

    /// Gives this worker another name; returns it as the registry has it.
    pub async fn rename(&self, name: WorkerName) -> Result<WorkerName, CallError> {
        /// All of a worker that is of interest here.
        #[derive(Deserialize)]
        struct Named {
            name: WorkerName,
        }
        let call = self.call(Method::PATCH, "/v1/agent/worker", &[]);
        let call = call.with(|call| call.timeout(CALL_TIMEOUT).json(&NewWorker { name }));
        json(call, On::Worker).await.map(|named: Named| named.name)
    }

    /// Waits for work as long as the request says.
    pub async fn leases(&self, ask: &LeaseRequest) -> Result<LeasesResponse, CallError> {
        let timeout = CALL_TIMEOUT + Duration::from_secs(ask.wait_seconds.into());
        let call = self.call(Method::POST, "/v1/agent/leases", &[]);
        json(call.with(|call| call.timeout(timeout).json(ask)), On::Worker).await
    }

    /// The scene's bytes as they come.
    pub async fn scene(&self, attempt: AttemptId) -> Result<Download, CallError> {
        let call = self.call(Method::GET, "/v1/agent/leases/{id}/scene", &[&attempt]);
        Ok(Download(answer(call, On::Lease).await?))
    }

    /// A file of the registry's releases of this program.
    pub async fn release_file(&self, file: &str) -> Result<Download, CallError> {
        let call = self.call(Method::GET, "/v1/releases/agent/{file}", &[&file]);
        Ok(Download(answer(call, On::Worker).await?))
    }

    pub async fn put_frame(
        &self,
        attempt: AttemptId,
        frame: i32,
        sha256: pictor_protocol::Sha256,
        bytes: Bytes,
    ) -> Result<StoredFrame, CallError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let timeout = CALL_TIMEOUT + Duration::from_secs(size / UPLOAD_BYTES_PER_SECOND_MIN);
        let call =
            self.call(Method::PUT, "/v1/agent/leases/{id}/frames/{n}", &[&attempt, &frame]).with(|call| {
                call.timeout(timeout)
                    .header(
                        CONTENT_DIGEST,
                        format!("sha-256=:{}:", BASE64_STANDARD.encode(sha256.as_bytes())),
                    )
                    .header(CONTENT_TYPE, "image/png")
                    .body(bytes)
            });
        json(call, On::Lease).await
    }

    pub async fn log(&self, attempt: AttemptId, text: Bytes) -> Result<(), CallError> {
        let call = self.call(Method::POST, "/v1/agent/leases/{id}/log", &[&attempt]).with(|call| {
            call.timeout(CALL_TIMEOUT).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(text)
        });
        answer(call, On::Lease).await.map(drop)
    }

    /// That a slot's test render runs, or how it ended.
    pub async fn report_test(
        &self,
        id: TestRenderId,
        slot: u32,
        report: &TestRenderReport,
    ) -> Result<(), CallError> {
        let call = self.call(Method::PUT, "/v1/agent/test-renders/{id}/slots/{slot}", &[&id, &slot]);
        answer(call.with(|call| call.timeout(CALL_TIMEOUT).json(report)), On::Worker).await.map(drop)
    }

    /// What a test render rendered.
    pub async fn put_test_frame(&self, id: TestRenderId, slot: u32, png: Bytes) -> Result<(), CallError> {
        let route = "/v1/agent/test-renders/{id}/slots/{slot}/frame";
        let digest = BASE64_STANDARD.encode(Sha256::digest(&png));
        let call = self.call(Method::PUT, route, &[&id, &slot]).with(|call| {
            call.timeout(TEST_FRAME_TIMEOUT)
                .header(CONTENT_DIGEST, format!("sha-256=:{digest}:"))
                .header(CONTENT_TYPE, "image/png")
                .body(png)
        });
        answer(call, On::Worker).await.map(drop)
    }

    pub async fn complete(
        &self,
        attempt: AttemptId,
        end: &CompleteRequest,
    ) -> Result<AttemptEnded, CallError> {
        let call = self.call(Method::POST, "/v1/agent/leases/{id}/complete", &[&attempt]);
        json(call.with(|call| call.timeout(CALL_TIMEOUT).json(end)), On::Lease).await
    }

    pub async fn fail(&self, attempt: AttemptId, end: &FailRequest) -> Result<AttemptEnded, CallError> {
        let call = self.call(Method::POST, "/v1/agent/leases/{id}/fail", &[&attempt]);
        json(call.with(|call| call.timeout(CALL_TIMEOUT).json(end)), On::Lease).await
    }

    pub async fn release(&self, attempt: AttemptId, end: &ReleaseRequest) -> Result<AttemptEnded, CallError> {
        let call = self.call(Method::POST, "/v1/agent/leases/{id}/release", &[&attempt]);
        json(call.with(|call| call.timeout(CALL_TIMEOUT).json(end)), On::Lease).await
    }

    /// How far this machine's clock is ahead of the registry's, in seconds; `None` if the registry tells no time.
    pub async fn clock_skew(&self) -> Result<Option<f64>, CallError> {
        let call = self.call(Method::GET, "/healthz", &[]).with(|call| call.timeout(CALL_TIMEOUT));
        Ok(clock_skew(answer(call, On::Worker).await?.headers()))
    }

    /// A call of this route, whose parameters are filled in order.
    fn call(&self, method: Method, route: &'static str, parameters: &[&dyn Display]) -> Call {
        let request = self.client.request(method.clone(), path(&self.base, &filled(route, parameters)));
        Call { request, method, route }
    }
}

/// A request, and what it is called whatever its parameters are.
struct Call {
    request: RequestBuilder,
    method: Method,
    route: &'static str,
}

impl Call {
    fn with(self, more: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Call {
        Call { request: more(self.request), ..self }
    }

    /// The span of it, named as OpenTelemetry's conventions for HTTP have it.
    fn span(&self) -> Span {
        info_span!(
            "call",
            otel.name = format!("{} {}", self.method, self.route),
            otel.kind = "client",
            http.request.method = self.method.as_str(),
            url.template = self.route,
            http.response.status_code = Empty,
        )
    }
}

/// A file on its way.
#[derive(Debug)]
pub struct Download(Response);

impl Download {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        self.0.chunk().await.map_err(|error| retry(&error))
    }
}

/// To the second, as HTTP tells time.
fn clock_skew(headers: &HeaderMap) -> Option<f64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let ours = clock::timestamp();
    Some(ours.duration_since(theirs).as_secs_f64())
}

/// What a 404 or 409 is about.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Worker,
    Lease,
}

fn path(base: &Url, segments: &[String]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The segments of a route with its parameters in place.
fn filled(route: &str, parameters: &[&dyn Display]) -> Vec<String> {
    let mut parameters = parameters.iter();
    let fill = |segment: &str| {
        let parameter = if segment.starts_with('{') { parameters.next() } else { None };
        parameter.map_or_else(|| segment.to_owned(), ToString::to_string)
    };
    route.trim_start_matches('/').split('/').map(fill).collect()
}

async fn json<T: DeserializeOwned>(call: Call, on: On) -> Result<T, CallError> {
    let response = answer(call, on).await?;
    response.json().await.map_err(|error| retry(&error))
}

/// Sends it, telling the registry which span it comes from.
async fn answer(call: Call, on: On) -> Result<Response, CallError> {
    let span = call.span();
    let request = match pictor_telemetry::of(&span) {
        Some(place) => call.request.header(TraceParent::HEADER, place.to_string()),
        None => call.request,
    };
    pictor_telemetry::within(span, async {
        let response = request.send().await.map_err(|error| retry(&error))?;
        Span::current().record("http.response.status_code", response.status().as_u16());
        accepted(response, on).await
    })
    .await
}

async fn accepted(response: Response, on: On) -> Result<Response, CallError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = retry_after(response.headers());
    let (code, detail) = problem(response).await;
    Err(match status {
        _ if code == "duplicate_worker" => CallError::DuplicateWorker(detail),
        // Damaged on its way: we compare with what is on disk before sending.
        _ if code == "digest_mismatch" => CallError::Retry { reason: detail, after },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CallError::Unauthorized(detail),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT if on == On::Lease => CallError::LeaseLost(detail),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            CallError::Retry { reason: detail, after }
        }
        _ if status.is_client_error() => CallError::Refused { status: status.as_u16(), detail },
        _ => CallError::Retry { reason: format!("{detail} ({})", status.as_u16()), after },
    })
}

/// The stable word and the explanation, whoever answered.
async fn problem(mut response: Response) -> (String, String) {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > PROBLEM_BYTES_MAX {
            break;
        }
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => (problem.code, problem.detail),
        Err(_) => (String::new(), format!("the registry answered {status}")),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The innermost cause says what a person can act on.
fn retry(error: &reqwest::Error) -> CallError {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let reason = if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() };
    CallError::Retry { reason, after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_path_is_kept() {
        for (base, whole) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/agent"),
            ("https://example.org/render/", "https://example.org/render/v1/agent"),
            ("https://example.org/render", "https://example.org/render/v1/agent"),
        ] {
            assert_eq!(path(&base.parse().unwrap(), &filled("/v1/agent", &[])).as_str(), whole);
        }
    }

    #[test]
    fn a_routes_parameters_are_filled_in_order() {
        assert_eq!(filled("/leases/{id}/frames/{n}", &[&"a", &7]), ["leases", "a", "frames", "7"]);
    }
}
