//! Test renders that the console asked for: each on its slot as soon as that is free, and sent at once.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pictor_blender::Limits;
use pictor_ground::backoff::Backoff;
use pictor_protocol::{TestRenderId, TestRenderReport, TestRenderStatus, WantedTestRender};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

use super::{Figures, render_in_time};
use crate::{
    idle::Idle,
    probe::Tools,
    readiness::{Readiness, Verdict},
    registry::{CallError, Registry},
    slots::Slots,
};

/// The registry waits no longer.
const SEND_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(15);

/// Renders what is wanted. Dropping it ends what is under way.
#[derive(Debug)]
pub struct TestRenders {
    bench: Arc<Bench>,
    begun: Mutex<Begun>,
}

#[derive(Debug, Default)]
struct Begun {
    /// The slots that were given to the test render wanted last, so that none is twice.
    slots: HashSet<(TestRenderId, u32)>,
    tasks: JoinSet<()>,
}

/// What test renders are made with.
#[derive(Debug)]
pub struct Bench {
    pub registry: Registry,
    pub slots: Arc<Slots>,
    pub readiness: Arc<Readiness>,
    pub idle: Arc<Idle>,
    /// Rings the heartbeat.
    pub news: Arc<Notify>,
    pub limits: Limits,
    /// Holds what Blender writes meanwhile.
    pub folder: PathBuf,
}

/// What the registry is told.
enum Message {
    Report(TestRenderReport),
    Frame(Bytes),
}

impl TestRenders {
    pub fn new(bench: Bench) -> TestRenders {
        TestRenders { bench: Arc::new(bench), begun: Mutex::default() }
    }

    /// What the registry wants now. Slots that are busy are kept for it, and get it at a later call.
    pub fn want(&self, wanted: Option<&WantedTestRender>) {
        // One statement changes it at a time, so a panic elsewhere leaves nothing half done.
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        while begun.tasks.try_join_next().is_some() {}
        let id = wanted.map(|wanted| wanted.id);
        begun.slots.retain(|(begun, _)| Some(*begun) == id);
        let open: Vec<u32> = wanted
            .iter()
            .flat_map(|wanted| wanted.slots.iter().map(|slot| (wanted.id, *slot)))
            .filter(|slot| !begun.slots.contains(slot))
            .map(|(_, slot)| slot)
            .collect();
        self.bench.slots.reserve(&open);
        let Some(id) = id else { return };
        let waiting: Vec<u32> = open.into_iter().filter(|slot| !self.begin(&mut begun, id, *slot)).collect();
        self.bench.slots.reserve(&waiting);
    }

    /// Whether the slot was free and is rendering now.
    fn begin(&self, begun: &mut Begun, id: TestRenderId, slot: u32) -> bool {
        let ready = self.bench.ready(slot);
        let Some(ready) = ready.filter(|_| self.bench.slots.take_for_test(slot)) else { return false };
        begun.slots.insert((id, slot));
        let bench = Arc::clone(&self.bench);
        begun.tasks.spawn(async move { bench.run(id, slot, ready).await });
        true
    }
}

impl Bench {
    /// What to render with, or what keeps this machine or the slot from rendering; `None` while that is looked at.
    fn ready(&self, slot: u32) -> Option<Result<Arc<Tools>, String>> {
        if let Some(found) = self.slots.health(slot) {
            return Some(Err(found.to_string()));
        }
        match self.readiness.probed().verdict {
            Verdict::Probing => None,
            Verdict::Ready(tools) => Some(Ok(tools)),
            Verdict::Refused(refusal) => Some(Err(refusal.reason)),
        }
    }

    async fn run(&self, id: TestRenderId, slot: u32, ready: Result<Arc<Tools>, String>) {
        let sent = self.render_and_send(id, slot, ready).await;
        self.slots.leave(slot);
        self.news.notify_one();
        if let Err(error) = sent {
            tracing::warn!(slot, "the registry does not take the test render: {error}");
        }
    }

    async fn render_and_send(
        &self,
        id: TestRenderId,
        slot: u32,
        ready: Result<Arc<Tools>, String>,
    ) -> Result<(), CallError> {
        self.send(id, slot, &Message::Report(report(TestRenderStatus::Running))).await?;
        self.news.notify_one();
        tracing::info!(slot, "test render begun");
        let ended = match self.frame(slot, ready).await {
            Ok((figures, png)) => {
                self.send(id, slot, &Message::Frame(png.into())).await?;
                tracing::info!(slot, "test render completed in {:.1} s", figures.render_seconds);
                TestRenderReport {
                    seconds: Some(figures.render_seconds),
                    device: figures.device,
                    peak_memory_bytes: figures.peak_memory_bytes,
                    ..report(TestRenderStatus::Completed)
                }
            }
            Err(reason) => {
                tracing::warn!(slot, "test render failed: {reason}");
                TestRenderReport { error: Some(reason), ..report(TestRenderStatus::Failed) }
            }
        };
        self.send(id, slot, &Message::Report(ended)).await
    }

    /// Sends until the registry answers, or it has waited long enough itself.
    async fn send(&self, id: TestRenderId, slot: u32, message: &Message) -> Result<(), CallError> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        let until = Instant::now() + SEND_TIMEOUT;
        loop {
            let answer = match message {
                Message::Report(report) => self.registry.report_test(id, slot, report).await,
                Message::Frame(png) => self.registry.put_test_frame(id, slot, png.clone()).await,
            };
            match answer {
                Err(CallError::Retry { reason, after }) if Instant::now() < until => {
                    tracing::debug!(reason, "sending the test render again later");
                    let delay = backoff.delay();
                    tokio::time::sleep(after.unwrap_or(delay).min(RETRY_LONGEST)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn frame(
        &self,
        slot: u32,
        ready: Result<Arc<Tools>, String>,
    ) -> Result<(Figures, Vec<u8>), String> {
        let tools = ready?;
        let device = self.slots.device(slot).cloned().ok_or_else(|| format!("there is no slot {slot}"))?;
        self.idle.make_room(slot).await;
        render_in_time(&tools, device, slot, &self.limits, &self.folder).await
    }
}

fn report(status: TestRenderStatus) -> TestRenderReport {
    TestRenderReport { status, seconds: None, device: None, peak_memory_bytes: None, error: None }
}
