//! The agent of one worker: takes tasks, renders them in a sandbox, and exposes what the machine does.
//!
//! [`run`] lists every route and every loop.

pub mod backoff;
pub mod blender;
pub mod collectors;
pub mod config;
pub mod doctor;
pub mod economics;
pub mod eta;
pub mod health;
pub mod heartbeat;
pub mod import;
pub mod machine;
pub mod outbox;
pub mod readiness;
pub mod registry;
pub mod runner;
pub mod sampler;
pub mod server;
pub mod slots;

use std::{
    fs::{self, DirBuilder, File},
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use axum::Router;
use rustix::fs::{FlockOperation, flock};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use blender::Device;
use collectors::{
    Sources,
    nvml::{self, GpuSample},
    render::Counters,
};
use config::{Config, DeviceChoice};
use economics::Economics;
use health::Health;
use heartbeat::{Connection, Heartbeat};
use machine::Machine;
use outbox::{Outbox, sender::Sender};
use readiness::{Probe, Readiness};
use registry::Registry;
use runner::{Runner, SceneCache};
use sampler::{Sampler, Threads};
use slots::{Slots, Stop};

/// How long the outbox may go on sending once rendering has stopped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_LOOK: Duration = Duration::from_millis(50);
/// How long a driver may take to show its GPUs; until then nobody knows what slots there are.
const GPUS_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the agent until `shutdown`: then stops rendering, gives its leases back, sends what is finished, says goodbye.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _lock = open_data(&config.data)?;
    let listener = bind(config.listen).await?;
    let Agent {
        routes,
        probe,
        readiness,
        health,
        watched,
        heartbeat,
        sender,
        runner,
        economics,
        threads: _threads,
    } = assemble(config, listener.local_addr()?).await?;

    // The loops. None of them ends by itself.
    let mut loops = JoinSet::new();
    loops.spawn(async move { axum::serve(listener, routes).await.err().map(|error| error.to_string()) });
    loops.spawn(async move { match readiness.watch(&probe).await {} });
    loops.spawn(async move { match health.watch(&watched).await {} });
    loops.spawn({
        let heartbeat = Arc::clone(&heartbeat);
        async move { match heartbeat.run().await {} }
    });
    loops.spawn(async move { match sender.run().await {} });
    let mut rendering = JoinSet::new();
    let mut slots = Vec::new();
    for _ in runner.slots.devices() {
        let (assignments, assigned) = mpsc::channel(1);
        rendering.spawn(Arc::clone(&runner).work(assigned));
        slots.push(assignments);
    }
    let result = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        never = runner.ask(&slots) => match never {},
        ended = loops.join_next() => Err(anyhow!("a loop of the agent ended: {ended:?}")),
    };

    drop(slots);
    runner.slots.stop_all(&Stop::Shutdown);
    while rendering.join_next().await.is_some() {}
    let outbox = Arc::clone(&runner.outbox);
    tokio::task::spawn_blocking(move || outbox.release_unfinished("the agent stops")).await?;
    flush(&runner).await;
    loops.shutdown().await;
    heartbeat.goodbye().await;
    economics.save();
    result
}

/// The parts of a running agent, not yet running.
struct Agent {
    routes: Router,
    probe: Probe,
    readiness: Arc<Readiness>,
    health: Arc<Health>,
    watched: health::Sources,
    heartbeat: Arc<Heartbeat>,
    sender: Sender,
    runner: Arc<Runner>,
    economics: Arc<Economics>,
    threads: Threads,
}

async fn assemble(config: Config, listen: SocketAddr) -> anyhow::Result<Agent> {
    let registry = Registry::new(&config.identity.0)?;
    let machine = Machine::identify(&config.data)?;
    let counters = Arc::new(Counters::new()?);
    let outbox = Outbox::open(&config.data.join("outbox")).context("cannot read the outbox")?;
    let outbox = Arc::new(outbox);
    let scenes =
        SceneCache::open(&config.data.join("cache/scenes"), config.scene_cache_bytes, Arc::clone(&counters));
    let scenes = Arc::new(scenes.context("cannot read the scene cache")?);
    let slots = Arc::new(Slots::new(devices(&config).await));
    let economics = Arc::new(Economics::open(config.economics, &config.data)?);
    let readiness = Arc::new(Readiness::new());
    let health = Arc::new(Health::default());
    let news = Arc::new(Notify::new());
    let (gpus, host) = (watch::Sender::new(None), watch::Sender::new(None));
    let (connection, earned) = (watch::Sender::new(Connection::default()), watch::Sender::new(None));
    let probe = Probe {
        places: config.places,
        sandbox: config.sandbox,
        device: config.device,
        data: config.data.clone(),
        slots: slots.devices().len(),
    };
    let runner = Arc::new(Runner {
        registry: registry.clone(),
        slots: Arc::clone(&slots),
        outbox: Arc::clone(&outbox),
        scenes,
        readiness: Arc::clone(&readiness),
        connection: connection.subscribe(),
        counters: Arc::clone(&counters),
        news: Arc::clone(&news),
        limits: config.limits,
        render_folder: config.data.join("render"),
        data: config.data,
    });
    let sender = runner.sender();
    let (sampler, threads) = Sampler::start(collectors::all(Sources {
        metrics: config.metrics.clone(),
        data: runner.data.clone(),
        gpus: gpus.clone(),
        host: host.clone(),
        hostname: machine.hostname.clone(),
        os: machine.os.clone(),
        slots: Arc::clone(&slots),
        outbox: Arc::clone(&outbox),
        counters,
        connection: connection.subscribe(),
        earned: earned.subscribe(),
        economics: Arc::clone(&economics),
        health: Arc::clone(&health),
    })?)?;
    let watched = health::Sources {
        data: runner.data.clone(),
        slots: Arc::clone(&slots),
        readiness: Arc::clone(&readiness),
        gpus: gpus.subscribe(),
        connection: connection.subscribe(),
        news: Arc::clone(&news),
    };
    let heartbeat = Arc::new(Heartbeat {
        registry,
        machine,
        metrics_listen: listen,
        slots,
        outbox,
        readiness: Arc::clone(&readiness),
        health: Arc::clone(&health),
        gpus: gpus.subscribe(),
        host: host.subscribe(),
        connection,
        earned,
        news,
    });
    tracing::info!("serving http://{listen}/metrics, data in {}", runner.data.display());
    Ok(Agent {
        routes: server::routes(sampler, Arc::clone(&health), config.metrics.access),
        probe,
        readiness,
        health,
        watched,
        heartbeat,
        sender,
        runner,
        economics,
        threads,
    })
}

/// Makes the data folder and keeps other agents out of it.
fn open_data(data: &Path) -> anyhow::Result<File> {
    let attempt = || -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(data)?;
        match fs::remove_dir_all(data.join("render")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::create(data.join("lock"))
    };
    let lock = attempt().with_context(|| {
        format!(
            "cannot write to {}: choose another folder with --data, or run as a user who may",
            data.display()
        )
    })?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another agent uses {}: stop it, or choose another folder with --data", data.display());
    }
    Ok(lock)
}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!("{listen} is taken, perhaps by another agent: stop that, or choose another address with --listen")
        }
        _ => anyhow!("cannot listen on {listen}: {error}; choose another address with --listen"),
    })
}

/// What slots there are depends on what GPUs there are.
async fn devices(config: &Config) -> Vec<Device> {
    if config.device == DeviceChoice::Cpu {
        return vec![Device::Cpu];
    }
    let library = config.metrics.nvml_library.clone();
    let measuring = tokio::task::spawn_blocking(move || nvml::measure_once(library));
    let gpus: Vec<GpuSample> = match tokio::time::timeout(GPUS_TIMEOUT, measuring).await {
        Ok(Ok(Ok(gpus))) => gpus,
        Ok(Ok(Err(error))) => {
            tracing::info!("no GPU to render on: {error:#}");
            Vec::new()
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("NVML does not answer; going on without GPUs until the agent is restarted");
            Vec::new()
        }
    };
    let device = |gpu: GpuSample| Device::Gpu {
        minor: gpu.minor.unwrap_or(gpu.index),
        index: gpu.index,
        uuid: gpu.uuid,
    };
    match gpus.is_empty() {
        true if config.device == DeviceChoice::Auto => vec![Device::Cpu],
        _ => gpus.into_iter().map(device).collect(),
    }
}

/// Lets the sender finish, as far as the registry is there and quick.
async fn flush(runner: &Runner) {
    let until = Instant::now() + FLUSH_TIMEOUT;
    let mut look = tokio::time::interval(FLUSH_LOOK);
    while runner.connection.borrow().is_up() && runner.outbox.entries() > 0 && Instant::now() < until {
        look.tick().await;
    }
    let left = runner.outbox.entries();
    if left > 0 {
        tracing::info!("{left} results wait in the outbox for the next start");
    }
}
