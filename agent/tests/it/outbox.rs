//! The outbox against a registry that answers, refuses, and goes away.

use std::{path::Path, sync::Arc};

use axum::http::StatusCode;
use pictor_agent::{
    counters::Counters,
    outbox::{Ending, Outbox, sender::Sender},
    slots::{Slots, Stop},
};
use pictor_blender::Device;
use pictor_processes::until;
use pictor_protocol::{AttemptId, CompleteRequest, WorkerConfig};
use pictor_telemetry::TraceParent;
use sha2::{Digest, Sha256};

use super::{
    agent::{TOKEN, client},
    registry::{Registry, lease},
};

fn sender(outbox: &Arc<Outbox>, registry: &Registry, slots: &Arc<Slots>) -> Sender {
    drop(client());
    let identity = WorkerConfig {
        registry: registry.url().parse().unwrap(),
        worker_id: "wrk_019a0000000070008000000000000000".parse().unwrap(),
        worker_name: "test".parse().unwrap(),
        wallet_address: None,
        token: TOKEN.to_owned(),
    };
    Sender {
        outbox: Arc::clone(outbox),
        registry: pictor_agent::registry::Registry::new(&identity).unwrap(),
        slots: Arc::clone(slots),
        counters: Arc::new(Counters::new().unwrap()),
    }
}

fn open(folder: &Path) -> Arc<Outbox> {
    Arc::new(Outbox::open(&folder.join("outbox")).unwrap())
}

fn slots() -> Arc<Slots> {
    Arc::new(Slots::new(vec![Device::Cpu]))
}

fn add_frame(outbox: &Outbox, attempt: AttemptId, frame: i32) {
    let bytes = format!("frame {frame}");
    outbox
        .add_frame(attempt, frame, <[u8; 32]>::from(Sha256::digest(&bytes)).into(), bytes.as_bytes())
        .unwrap();
}

fn place() -> TraceParent {
    "00-019a0000000070008000000000000001-8000000000000002-01".parse().unwrap()
}

fn complete() -> Ending {
    Ending::Complete(CompleteRequest { render_seconds: 1.5 })
}

async fn empty(outbox: &Outbox) {
    until("an empty outbox", async || outbox.attempts().is_empty().then_some(())).await;
}

fn calls(registry: &Registry, attempt: AttemptId) -> Vec<String> {
    registry.books().calls.iter().filter(|(of, _)| *of == attempt).map(|(_, call)| call.clone()).collect()
}

#[tokio::test]
async fn sends_in_order_through_failures() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let (outbox, attempt) = (open(folder.path()), lease("1-2", None, b"").id);
    registry.books().refusals.extend([StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS]);
    outbox.begin(attempt, place()).unwrap();
    add_frame(&outbox, attempt, 1);
    add_frame(&outbox, attempt, -2);
    outbox.add_log(attempt, "words\n").unwrap();
    outbox.end(attempt, complete());
    assert_eq!(outbox.entries(), 4);
    let sender = sender(&outbox, &registry, &slots());
    let sending = tokio::spawn(async move { sender.run().await });
    empty(&outbox).await;
    sending.abort();
    assert_eq!(calls(&registry, attempt), ["frame 1", "frame -2", "log", "complete"]);
    let books = registry.books();
    assert_eq!(books.frames.get(&(attempt, -2)).unwrap(), b"frame -2");
    assert_eq!(books.bodies.get(&(attempt, "complete".to_owned())).unwrap(), r#"{"render_seconds":1.5}"#);
    assert!(std::fs::read_dir(folder.path().join("outbox")).unwrap().next().is_none(), "nothing is left");
}

#[tokio::test]
async fn survives_a_restart_and_gives_back_what_was_interrupted() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let (finished, interrupted) = (lease("1", None, b"").id, lease("1", None, b"").id);
    let before = open(folder.path());
    for attempt in [finished, interrupted] {
        before.begin(attempt, place()).unwrap();
        add_frame(&before, attempt, 7);
    }
    before.end(finished, complete());
    drop(before);
    let torn = folder.path().join("outbox").join(finished.to_string()).join("unfinished-x");
    std::fs::write(&torn, "half").unwrap();

    let outbox = open(folder.path());
    assert!(!torn.exists());
    assert_eq!(outbox.attempts().len(), 2);
    let sender = sender(&outbox, &registry, &slots());
    let sending = tokio::spawn(async move { sender.run().await });
    empty(&outbox).await;
    sending.abort();
    assert_eq!(calls(&registry, finished), ["frame 7", "complete"]);
    assert_eq!(calls(&registry, interrupted), ["release"]);
}

#[tokio::test]
async fn waits_for_a_registry_that_is_away() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let (outbox, attempt) = (open(folder.path()), lease("1", None, b"").id);
    let sender = sender(&outbox, &registry, &slots());
    let (books, address) = (Arc::clone(&registry.books), registry.address);
    drop(registry);
    until("the registry's end", async || client().get(format!("http://{address}")).send().await.err()).await;
    outbox.begin(attempt, place()).unwrap();
    add_frame(&outbox, attempt, 1);
    outbox.end(attempt, complete());
    let sending = tokio::spawn(async move { sender.run().await });
    let registry = Registry::start_with(books, address).await;
    empty(&outbox).await;
    sending.abort();
    assert_eq!(calls(&registry, attempt), ["frame 1", "complete"]);
}

#[tokio::test]
async fn a_lost_lease_ends_all_of_it() {
    for status in [StatusCode::NOT_FOUND, StatusCode::CONFLICT] {
        let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
        let (outbox, slots, lease) = (open(folder.path()), slots(), lease("1", None, b""));
        registry.books().refusals.push_back(status);
        outbox.begin(lease.id, place()).unwrap();
        let mut stop = slots.take(&lease).unwrap();
        add_frame(&outbox, lease.id, 1);
        let sender = sender(&outbox, &registry, &slots);
        let sending = tokio::spawn(async move { sender.run().await });
        assert_eq!(stop.stopped().await, Stop::Lost);
        empty(&outbox).await;
        // What the slot still does comes to nothing.
        add_frame(&outbox, lease.id, 2);
        outbox.end(lease.id, complete());
        sending.abort();
        assert_eq!((outbox.entries(), calls(&registry, lease.id).len()), (0, 0));
    }
}

#[tokio::test]
async fn what_the_registry_refuses_is_reported_as_a_failure() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let (outbox, slots, lease) = (open(folder.path()), slots(), lease("1", None, b""));
    registry.books().refusals.push_back(StatusCode::UNPROCESSABLE_ENTITY);
    outbox.begin(lease.id, place()).unwrap();
    let mut stop = slots.take(&lease).unwrap();
    add_frame(&outbox, lease.id, 1);
    add_frame(&outbox, lease.id, 2);
    let sender = sender(&outbox, &registry, &slots);
    let sending = tokio::spawn(async move { sender.run().await });
    assert!(matches!(stop.stopped().await, Stop::Rejected(_)));
    empty(&outbox).await;
    sending.abort();
    assert_eq!(calls(&registry, lease.id), ["fail"]);
    let body = registry.books().bodies.get(&(lease.id, "fail".to_owned())).unwrap().clone();
    assert!(body.contains("the test says refused"), "{body}");
}
