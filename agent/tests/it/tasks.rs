//! Whole tasks: the real agent with the real Blender in the real sandbox, on a small registry.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use fake_nvml::install::Fake;
use pictor_processes::until;
use pictor_protocol::{
    AttemptId, Check, DesiredState, Lease, ReasonCode, SlotDesired, SlotReason, SlotStatus,
};

use super::{
    agent::{Agent, client, config_text},
    registry::Registry,
};

const SCENES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/blender/tests/scenes");
const SIZE: (u32, u32) = (64, 36);

fn scene(folder: &Path, kind: &str) -> Vec<u8> {
    let scene = folder.join("scene.blend");
    let run = Command::new("blender")
        .args(["-b", "--factory-startup", "--python-exit-code", "1", "--python"])
        .arg(Path::new(SCENES).join("cube.py"))
        .arg("--")
        .args([scene.as_os_str(), kind.as_ref()])
        .output()
        .expect("these tests need Blender: scripts/test installs it");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    std::fs::read(scene).unwrap()
}

struct Farm {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Farm {
    async fn new(kind: &str) -> Farm {
        let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
        registry.books().scene = scene(folder.path(), kind);
        Farm { folder, registry }
    }

    async fn agent(&self) -> Agent {
        let config = format!("{}[blender]\ndevice = \"cpu\"\n", config_text(&self.registry.url()));
        Agent::start(self.folder.path(), &config).await
    }

    async fn call(&self, attempt: AttemptId, call: &str) -> String {
        let key = (attempt, call.to_owned());
        until(call, async || self.registry.books().bodies.get(&key).cloned()).await
    }

    async fn rendering(&self, lease: &Lease) {
        until("a heartbeat of the render under way", async || {
            let books = self.registry.books();
            let reports = books.beats.iter().flat_map(|beat| &beat.attempts);
            let ours = reports.filter(|report| report.attempt_id == lease.id);
            ours.filter_map(|report| report.progress_ratio).any(|ratio| ratio > 0.0).then_some(())
        })
        .await;
    }

    fn blender_runs(&self) -> bool {
        let folder: PathBuf = self.folder.path().join("data/render");
        std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
    }
}

#[tokio::test]
async fn renders_uploads_completes_and_counts() {
    let farm = Farm::new("plain").await;
    let (first, second) =
        (farm.registry.add_task("1-2", Some(SIZE)), farm.registry.add_task("3", Some(SIZE)));
    let agent = farm.agent().await;
    farm.call(first.id, "complete").await;
    farm.call(second.id, "complete").await;
    {
        let books = farm.registry.books();
        let sent: Vec<i32> = books.frames.keys().map(|(_, frame)| *frame).collect();
        assert_eq!(sent.len(), 3);
        for bytes in books.frames.values() {
            let picture = image::load_from_memory(bytes).unwrap();
            assert_eq!((picture.width(), picture.height()), SIZE);
        }
        assert_eq!(books.scene_fetches, 1, "the second task finds the scene in the cache");
    }
    let ready = async || {
        let books = farm.registry.books();
        books.beats.last().filter(|beat| beat.accepts_tasks && !beat.blender.is_empty()).cloned()
    };
    let beat = until("a heartbeat of a worker that is ready", ready).await;
    assert_eq!((beat.machine_id.len(), beat.metrics_listen), (32, agent.address.to_string()));
    for (series, value) in [
        (r#"pictor_tasks_total{result="completed"}"#, 2.0),
        (r#"pictor_frames_total{result="completed"}"#, 3.0),
        (r#"pictor_earnings_total{currency="EUR"}"#, 0.08),
        ("pictor_points_total", 2.0),
        (r#"pictor_task_phase_seconds_count{phase="upload"}"#, 2.0),
        (r#"pictor_task_phase_seconds_count{phase="render"}"#, 2.0),
        ("pictor_scene_cache_misses_total", 1.0),
        ("pictor_scene_cache_hits_total", 1.0),
        ("pictor_outbox_entries", 0.0),
        (r#"pictor_worker_status{status="idle"}"#, 1.0),
    ] {
        let shown = async || agent.metric(series).await.filter(|shown| *shown == value);
        until(&format!("{series} = {value}"), shown).await;
    }
}

#[tokio::test]
async fn a_scene_that_cannot_be_rendered_fails_with_its_reason() {
    let farm = Farm::new("no_camera").await;
    let lease = farm.registry.add_task("1", Some(SIZE));
    let agent = farm.agent().await;
    let failed = farm.call(lease.id, "fail").await;
    assert!(failed.contains("no camera"), "{failed}");
    let failures =
        async || agent.metric(r#"pictor_tasks_total{result="failed"}"#).await.filter(|count| *count == 1.0);
    until("the count", failures).await;
}

#[tokio::test]
async fn stops_cleanly_and_gives_its_task_back() {
    let farm = Farm::new("plain").await;
    let lease = farm.registry.add_task("1-5000", Some(SIZE));
    let agent = farm.agent().await;
    farm.rendering(&lease).await;
    agent.terminate();
    let status = agent.ended().await;
    assert!(status.success(), "{status}");
    farm.call(lease.id, "release").await;
    let last = farm.registry.books().beats.last().unwrap().clone();
    assert!(last.stopping && last.attempts.is_empty(), "{last:?}");
    assert!(!farm.blender_runs());
}

#[tokio::test]
async fn a_killed_agent_gives_its_task_back_when_it_starts_again() {
    let farm = Farm::new("plain").await;
    let lease = farm.registry.add_task("1-5000", Some(SIZE));
    let agent = farm.agent().await;
    farm.rendering(&lease).await;
    agent.kill().await;
    let next = farm.registry.add_task("1", Some(SIZE));
    let _agent = farm.agent().await;
    farm.call(lease.id, "release").await;
    farm.call(next.id, "complete").await;
}

#[tokio::test]
async fn a_pause_and_a_lost_lease_stop_blender() {
    let farm = Farm::new("plain").await;
    let paused = farm.registry.add_task("1-5000", Some(SIZE));
    let agent = farm.agent().await;
    farm.rendering(&paused).await;
    farm.registry.books().desired = Some(DesiredState::Paused);
    let reason = farm.call(paused.id, "release").await;
    assert!(reason.contains("paused"), "{reason}");
    let status =
        async || agent.metric(r#"pictor_slots{status="paused"}"#).await.filter(|count| *count == 1.0);
    until("a paused slot", status).await;
    until("Blender's end", async || (!farm.blender_runs()).then_some(())).await;

    let lost = farm.registry.add_task("1-5000", Some(SIZE));
    farm.registry.books().desired = None;
    farm.rendering(&lost).await;
    farm.registry.books().lost.insert(lost.id);
    let expired =
        async || agent.metric(r#"pictor_tasks_total{result="expired"}"#).await.filter(|count| *count == 1.0);
    until("an expired task", expired).await;
    let stopped = async || (!farm.blender_runs()).then_some(());
    until("Blender's end", stopped).await;
    let after = farm.registry.add_task("1", Some(SIZE));
    farm.call(after.id, "complete").await;
}

#[tokio::test]
async fn a_slot_paused_in_the_console_stops_and_resumes() {
    let farm = Farm::new("plain").await;
    let paused = farm.registry.add_task("1-5000", Some(SIZE));
    let _agent = farm.agent().await;
    farm.rendering(&paused).await;
    farm.registry.books().slots = vec![SlotDesired { slot: 0, desired: DesiredState::Paused }];
    let reason = farm.call(paused.id, "release").await;
    assert!(reason.contains("paused"), "{reason}");
    let held = async || {
        let books = farm.registry.books();
        let slot = books.beats.last()?.slots.first()?.clone();
        let is_held = slot.status == SlotStatus::Paused
            && slot.reasons == [SlotReason::new(ReasonCode::PausedByConsole)];
        is_held.then_some(books.asks.len())
    };
    let asks = until("a heartbeat that says who holds the slot", held).await;
    until("Blender's end", async || (!farm.blender_runs()).then_some(())).await;

    let next = farm.registry.add_task("1", Some(SIZE));
    let beats = farm.registry.books().beats.len();
    let later = async || (farm.registry.books().beats.len() > beats + 1).then_some(());
    until("two more heartbeats", later).await;
    assert_eq!(farm.registry.books().asks.len(), asks, "a paused slot asks for nothing");
    farm.registry.books().slots = vec![];
    farm.call(next.id, "complete").await;
}

#[tokio::test]
async fn a_slot_without_its_gpu_is_held_and_its_neighbours_go_on() {
    let farm = Farm::new("plain").await;
    let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nvml/server-8.toml");
    let fake = Fake::install(farm.folder.path(), &std::fs::read_to_string(profile).unwrap());
    let config = format!(
        "{}[metrics]\nnvml_library = \"{}\"\n",
        config_text(&farm.registry.url()),
        fake.library.display()
    );
    let lease = farm.registry.add_task("1", Some(SIZE));
    let _agent = Agent::start(farm.folder.path(), &config).await;
    let released = farm.call(lease.id, "release").await;
    assert!(released.contains("no GPU"), "{released}");
    let beat = until("a heartbeat that says which slot is held", async || {
        let books = farm.registry.books();
        books
            .beats
            .last()
            .filter(|beat| !beat.slots[0].reasons.is_empty() && !beat.health.is_empty())
            .cloned()
    })
    .await;
    let reason = &beat.slots[0].reasons[0];
    assert_eq!((reason.code, reason.check), (ReasonCode::Health, Some(Check::GpuFallback)));
    assert!(beat.accepts_tasks && beat.slots[1..].iter().all(|slot| slot.reasons.is_empty()), "{beat:?}");
    let found = beat.health.iter().find(|finding| finding.check == Check::GpuFallback.as_str());
    assert!(found.is_some_and(|finding| finding.found.starts_with("slot 0: ")), "{:?}", beat.health);
    let others = async || {
        let books = farm.registry.books();
        books.asks.last().filter(|ask| ask.slots == [1, 2, 3, 4, 5, 6, 7]).map(drop)
    };
    until("its neighbours to ask", others).await;
}

#[tokio::test]
async fn without_blender_it_stays_up_and_says_why() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let config = config_text(&registry.url());
    let agent = Agent::start_with(folder.path(), &config, &["--blender", "/usr/bin/true"]).await;
    let refusal = until("a refusal", async || {
        let books = registry.books();
        let beat = books
            .beats
            .iter()
            .find(|beat| !beat.accepts_tasks && beat.refusal.as_deref() != Some("the agent is starting"))?;
        beat.refusal.clone()
    })
    .await;
    assert!(refusal.contains("/usr/bin/true") && refusal.contains("--blender"), "{refusal}");
    assert!(agent.get("/healthz").await.contains("ok"));
    assert!(registry.books().asks.is_empty(), "it asks for nothing");
}

#[tokio::test]
async fn a_refused_token_is_said_once_and_the_agent_lives() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    registry.books().refuses_token = true;
    let agent = Agent::start(folder.path(), &config_text(&registry.url())).await;
    agent.says("does not accept this worker's token").await;
    agent.says("pictor-agent import FILE.toml").await;
    let offline = async || {
        agent.metric(r#"pictor_worker_status{status="offline"}"#).await.filter(|status| *status == 1.0)
    };
    until("a worker that is offline", offline).await;
    agent.terminate();
    assert!(agent.ended().await.success());
}

#[tokio::test]
async fn an_agent_that_is_earlier_than_its_registry_connects_by_itself() {
    let farm = Farm::new("plain").await;
    let Farm { folder, registry } = farm;
    let (books, address, url) = (Arc::clone(&registry.books), registry.address, registry.url());
    drop(registry);
    until("the registry's end", async || client().get(&url).send().await.err()).await;
    let agent = Agent::start(folder.path(), &config_text(&url)).await;
    agent.says("cannot reach the registry").await;
    let registry = Registry::start_with(books, address).await;
    let farm = Farm { folder, registry };
    let lease = farm.registry.add_task("1", Some(SIZE));
    farm.call(lease.id, "complete").await;
    agent.says("connected to").await;
    let log = agent.log();
    assert_eq!(log.matches("cannot reach the registry").count(), 1, "one line, not one for each try: {log}");
}

#[tokio::test]
async fn a_damaged_scene_in_the_cache_is_fetched_again() {
    let farm = Farm::new("plain").await;
    let lease = farm.registry.add_task("1", Some(SIZE));
    let agent = farm.agent().await;
    farm.call(lease.id, "complete").await;
    agent.terminate();
    agent.ended().await;
    let cached = farm.folder.path().join(format!("data/cache/scenes/{}.blend", lease.scene_sha256));
    let mut bytes = std::fs::read(&cached).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&cached, bytes).unwrap();
    let lease = farm.registry.add_task("2", Some(SIZE));
    let _agent = farm.agent().await;
    farm.call(lease.id, "complete").await;
    assert_eq!(farm.registry.books().scene_fetches, 2);
}
