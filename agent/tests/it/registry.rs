//! A small registry that speaks the wire types over HTTP, and can be told to answer badly.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use pictor_protocol::{
    AskId, AttemptEnded, AttemptId, AttemptStatus, DesiredState, Earned, EnrolRequest, FrameRange,
    HeartbeatRequest, HeartbeatResponse, HeldLease, JobId, Lease, LeaseRequest, LeaseState, LeasesResponse,
    Micros, Problem, SlotDesired, StoredFrame, TaskId, TestRenderId, TestRenderReport, WantedTestRender,
    WorkerConfig, WorkerId,
};
use sha2::{Digest, Sha256};

use super::{
    agent::TOKEN,
    update::{self, Releases},
};

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) beats: Vec<HeartbeatRequest>,
    /// What is handed out next.
    pub(crate) leases: VecDeque<Lease>,
    answered: HashMap<AskId, Vec<Lease>>,
    pub(crate) asks: Vec<LeaseRequest>,
    pub(crate) scene: Vec<u8>,
    pub(crate) scene_fetches: usize,
    pub(crate) frames: BTreeMap<(AttemptId, i32), Vec<u8>>,
    /// Calls about attempts that were accepted, in order: `frame 1`, `log`, `complete`, …
    pub(crate) calls: Vec<(AttemptId, String)>,
    pub(crate) bodies: HashMap<(AttemptId, String), String>,
    pub(crate) lost: HashSet<AttemptId>,
    pub(crate) desired: Option<DesiredState>,
    pub(crate) slots: Vec<SlotDesired>,
    /// Answers to the next calls about attempts, instead of accepting them.
    pub(crate) refusals: VecDeque<StatusCode>,
    pub(crate) refuses_token: bool,
    pub(crate) test_render: Option<WantedTestRender>,
    /// What was sent of test renders, in order, and the frames.
    pub(crate) tested: Vec<(u32, TestRenderReport)>,
    pub(crate) test_frames: BTreeMap<u32, Vec<u8>>,
    /// The machines that traded the key.
    pub(crate) enrolled: Vec<EnrolRequest>,
    pub(crate) releases: Releases,
    /// The agent's version that is answered nothing but that the registry is not well.
    pub(crate) is_away_from: Option<String>,
}

pub(crate) const ENROLMENT_KEY: &str = "test-key";

pub(crate) type Shared = Arc<Mutex<Books>>;

pub(crate) struct Registry {
    pub(crate) books: Shared,
    pub(crate) address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Registry {
    pub(crate) async fn start() -> Registry {
        Self::start_with(Shared::default(), ([127, 0, 0, 1], 0).into()).await
    }

    /// The same registry again, at the same address.
    pub(crate) async fn start_with(books: Shared, address: SocketAddr) -> Registry {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let agent = Router::new()
            .route("/heartbeat", post(heartbeat))
            .route("/leases", post(leases))
            .route("/leases/{id}/scene", get(scene))
            .route("/leases/{id}/frames/{n}", put(frame))
            .route("/leases/{id}/{end}", post(end))
            .route("/test-renders/{id}/slots/{slot}", put(tested))
            .route("/test-renders/{id}/slots/{slot}/frame", put(test_frame))
            .layer(DefaultBodyLimit::max(64 << 20))
            .layer(middleware::from_fn_with_state(Arc::clone(&books), authorize))
            .with_state(Arc::clone(&books));
        let routes = Router::new()
            .nest("/base/v1/agent", agent)
            .route("/base/healthz", get(|| async { "ok" }))
            .route("/base/v1/releases/agent/{file}", get(update::serve).with_state(Arc::clone(&books)))
            .route("/base/v1/agent/enrol", post(enrol).with_state(Arc::clone(&books)));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Registry { books, address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/base", self.address)
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Hands out a task of these frames on slot 0.
    pub(crate) fn add_task(&self, frames: &str, size: Option<(u32, u32)>) -> Lease {
        let mut books = self.books();
        let lease = lease(frames, size, &books.scene);
        books.leases.push_back(lease.clone());
        lease
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn lease(frames: &str, size: Option<(u32, u32)>, scene: &[u8]) -> Lease {
    let random = *uuid::Uuid::new_v4().as_bytes().first_chunk::<10>().unwrap();
    Lease {
        id: AttemptId::from_parts(1, random),
        slot: 0,
        task_id: TaskId::from_parts(1, random),
        job_id: JobId::from_parts(1, random),
        frames: frames.parse::<FrameRange>().unwrap(),
        scene_sha256: sha256(scene),
        scene_bytes: scene.len() as u64,
        width: size.map(|size| size.0),
        height: size.map(|size| size.1),
        lease_seconds: 60,
        timeout_seconds: 300,
        traceparent: None,
    }
}

fn sha256(bytes: &[u8]) -> pictor_protocol::Sha256 {
    <[u8; 32]>::from(Sha256::digest(bytes)).into()
}

fn problem(status: StatusCode, code: &str) -> Response {
    let problem = Problem {
        kind: format!("/problems/{code}"),
        title: code.to_owned(),
        status: status.as_u16(),
        code: code.to_owned(),
        detail: format!("the test says {code}"),
    };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}

/// One key, which is good once.
async fn enrol(State(books): State<Shared>, Json(ask): Json<EnrolRequest>) -> Response {
    let mut books = books.lock().unwrap();
    if ask.key != ENROLMENT_KEY || !books.enrolled.is_empty() {
        return problem(StatusCode::CONFLICT, "enrolment_used_up");
    }
    books.enrolled.push(ask);
    let worker = WorkerConfig {
        registry: "http://127.0.0.1:1".parse().unwrap(),
        worker_id: WorkerId::from_parts(1, [7; 10]),
        worker_name: "rack-1".parse().unwrap(),
        wallet_address: None,
        token: TOKEN.to_owned(),
    };
    (StatusCode::CREATED, Json(worker)).into_response()
}

async fn authorize(State(books): State<Shared>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) || books.lock().unwrap().refuses_token {
        return problem(StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let away = books.lock().unwrap().is_away_from.as_ref().map(|version| format!("pictor-agent/{version}"));
    if away.is_some() && agent == away.as_deref() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    }
    next.run(request).await
}

/// What has ended is wanted no more.
async fn tested(
    State(books): State<Shared>,
    Path((id, slot)): Path<(TestRenderId, u32)>,
    Json(report): Json<TestRenderReport>,
) -> StatusCode {
    let mut books = books.lock().unwrap();
    let wanted = books.test_render.as_mut().filter(|wanted| wanted.id == id);
    let Some(wanted) = wanted else { return StatusCode::NOT_FOUND };
    if report.status.has_ended() {
        wanted.slots.retain(|wanted| *wanted != slot);
    }
    books.tested.push((slot, report));
    StatusCode::NO_CONTENT
}

async fn test_frame(
    State(books): State<Shared>,
    Path((_, slot)): Path<(TestRenderId, u32)>,
    bytes: Bytes,
) -> StatusCode {
    books.lock().unwrap().test_frames.insert(slot, bytes.to_vec());
    StatusCode::NO_CONTENT
}

async fn heartbeat(
    State(books): State<Shared>,
    Json(beat): Json<HeartbeatRequest>,
) -> Json<HeartbeatResponse> {
    let mut books = books.lock().unwrap();
    let completed = books.calls.iter().filter(|(_, call)| call == "complete").count() as i64;
    let state = |lost: bool| if lost { LeaseState::Lost } else { LeaseState::Held };
    let leases = beat
        .attempts
        .iter()
        .map(|report| HeldLease {
            attempt_id: report.attempt_id,
            state: state(books.lost.contains(&report.attempt_id)),
        })
        .collect();
    books.beats.push(beat);
    Json(HeartbeatResponse {
        worker_name: "test".parse().unwrap(),
        wallet_address: None,
        desired: books.desired.unwrap_or(DesiredState::Active),
        slots: books.slots.clone(),
        leases,
        heartbeat_seconds: 1,
        lease_seconds: 60,
        relay_interval_seconds: None,
        earned: Earned {
            currency: "EUR".to_owned(),
            earnings_micros: Micros(40_000 * completed),
            points: completed,
        },
        test_render: books.test_render.clone(),
    })
}

async fn leases(State(books): State<Shared>, Json(ask): Json<LeaseRequest>) -> Json<LeasesResponse> {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    for _ in 0..=ask.wait_seconds * 50 {
        look.tick().await;
        let mut books = books.lock().unwrap();
        if books.asks.last().is_none_or(|last| last.ask_id != ask.ask_id) {
            books.asks.push(ask.clone());
        }
        if let Some(leases) = books.answered.get(&ask.ask_id) {
            return Json(LeasesResponse { leases: leases.clone() });
        }
        if let Some(lease) = books.leases.pop_front().filter(|_| !ask.slots.is_empty()) {
            books.answered.insert(ask.ask_id.clone(), vec![lease.clone()]);
            return Json(LeasesResponse { leases: vec![lease] });
        }
    }
    Json(LeasesResponse { leases: Vec::new() })
}

async fn scene(State(books): State<Shared>, Path(_id): Path<AttemptId>) -> Vec<u8> {
    let mut books = books.lock().unwrap();
    books.scene_fetches += 1;
    books.scene.clone()
}

fn refusal(books: &mut Books, attempt: AttemptId) -> Option<Response> {
    if books.lost.contains(&attempt) {
        return Some(problem(StatusCode::CONFLICT, "lease_lost"));
    }
    books.refusals.pop_front().map(|status| problem(status, "refused"))
}

async fn frame(
    State(books): State<Shared>,
    Path((attempt, frame)): Path<(AttemptId, i32)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut books = books.lock().unwrap();
    if let Some(refusal) = refusal(&mut books, attempt) {
        return refusal;
    }
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(&body)));
    assert_eq!(headers.get("content-digest").unwrap(), &digest);
    books.calls.push((attempt, format!("frame {frame}")));
    books.frames.insert((attempt, frame), body.to_vec());
    let sha256 = sha256(&body);
    Json(StoredFrame { frame, sha256, size_bytes: body.len() as u64, width: 1, height: 1 }).into_response()
}

async fn end(
    State(books): State<Shared>,
    Path((attempt, end)): Path<(AttemptId, String)>,
    body: String,
) -> Response {
    let mut books = books.lock().unwrap();
    if let Some(refusal) = refusal(&mut books, attempt) {
        return refusal;
    }
    let status = match end.as_str() {
        "log" => AttemptStatus::Running,
        "complete" => AttemptStatus::Completed,
        "fail" => AttemptStatus::Failed,
        "release" => AttemptStatus::Released,
        _ => return problem(StatusCode::NOT_FOUND, "not_found"),
    };
    books.calls.push((attempt, end.clone()));
    books.bodies.insert((attempt, end), body);
    Json(AttemptEnded { attempt_id: attempt, status, reward_micros: None }).into_response()
}
