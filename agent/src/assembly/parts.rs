//! The parts of an agent, put together.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::Router;
use pictor_blender::{Device, Places};
use pictor_measure::{
    host::HostSample,
    nvml::Gpus,
    sampler::{Sampler, Threads},
};
use pictor_protocol::Earned;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, History},
    collectors::{self, Sources},
    config::Config,
    connection::Connection,
    counters::Counters,
    economics::Economics,
    electricity::Electricity,
    health::{self, Health},
    heartbeat::Heartbeat,
    idle::{Idle, Supervisors},
    machine::Machine,
    outbox::{Outbox, sender::Sender},
    pause::Pause,
    probe::{Inventory, Silence},
    readiness::{self, Readiness},
    registry::Registry,
    runner::{Runner, SceneCache},
    server,
    settings::{Live, Settings},
    slots::Slots,
    task_log::TaskLogs,
    test_render::{Bench, TestRenders},
    update::{Started, Updates},
};

/// The parts of a running agent, not yet running.
pub(crate) struct Agent {
    pub(crate) shared: Shared,
    pub(crate) routes: Router,
    pub(crate) probed: readiness::Sources,
    pub(crate) watched: health::Sources,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) electricity: Arc<Electricity>,
    pub(crate) idle: Supervisors,
    pub(crate) sender: Sender,
    pub(crate) runner: Arc<Runner>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) threads: Threads,
    pub(crate) app: Arc<App>,
}

/// What several parts read and write.
pub(crate) struct Shared {
    pub(crate) slots: Arc<Slots>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) logs: Arc<TaskLogs>,
    pub(crate) pause: Arc<Pause>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) health: Arc<Health>,
    pub(crate) economics: Arc<Economics>,
    /// Rings the heartbeat.
    pub(crate) news: Arc<Notify>,
    pub(crate) gpus: watch::Sender<Option<Gpus>>,
    pub(crate) host: watch::Sender<Option<HostSample>>,
    pub(crate) connection: watch::Sender<Connection>,
    pub(crate) earned: watch::Sender<Option<Earned>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) idle: Arc<Idle>,
    /// The switch of the settings.
    pub(crate) update_enabled: watch::Receiver<bool>,
    places: watch::Sender<Places>,
}

pub(crate) async fn assemble(
    config: Config,
    started: Started,
    listen: SocketAddr,
    shutdown: CancellationToken,
) -> anyhow::Result<Agent> {
    let registry = Registry::new(&config.identity.0)?;
    let machine = Machine::identify(&config.data)?;
    let probe = config.probe();
    let gpus = probe.gpus().await;
    say_silence(&gpus);
    let (shared, idle) = Shared::open(&config, gpus.devices()).await?;
    let probed = readiness::Sources { probe, places: shared.places.clone(), gpus };
    let (sampler, threads) = Sampler::start(collectors::make(&shared.sources(&config, &machine))?)?;
    let watched = shared.watched(&config);
    let heartbeat = Arc::new(shared.heartbeat(registry.clone(), &config, machine, listen));
    tracing::info!("serving http://{listen}/metrics, data in {}", config.data.display());
    let worker_id = config.identity.0.worker_id;
    let routes =
        server::routes(sampler, Arc::clone(&shared.health), worker_id, config.metrics_access.clone());
    let (slots, connection) = (Arc::clone(&shared.slots), shared.connection.subscribe());
    let news = Arc::clone(&shared.news);
    let updates =
        Arc::new(Updates::new(started, config.update.clone(), registry.clone(), slots, connection, news));
    let app = Arc::new(shared.app(&config, Arc::clone(&updates), shutdown));
    let runner = Arc::new(shared.runner(registry, config)?);
    let sender = runner.sender();
    let electricity = Arc::new(shared.electricity());
    Ok(Agent {
        shared,
        routes,
        probed,
        watched,
        heartbeat,
        electricity,
        idle,
        sender,
        runner,
        updates,
        threads,
        app,
    })
}

/// Why there is a slot for the CPU or none, where a GPU was looked for.
fn say_silence(gpus: &Inventory) {
    match &gpus.silence {
        Some(Silence::Error(error)) => tracing::info!("no GPU to render on: {error}"),
        Some(Silence::NoAnswer) => tracing::warn!("NVML does not answer"),
        None => {}
    }
}

impl Shared {
    async fn open(config: &Config, devices: Vec<Device>) -> anyhow::Result<(Shared, Supervisors)> {
        let outbox = Outbox::open(&config.data.join("outbox")).context("cannot read the outbox")?;
        let (slots, news) = (Arc::new(Slots::new(devices)), Arc::new(Notify::new()));
        let economics = Arc::new(Economics::open(config.economics.clone(), &config.data));
        let idle = watch::Sender::new(config.idle.clone());
        let places = watch::Sender::new(config.places.clone());
        let live = Live {
            economics: Arc::clone(&economics),
            idle: idle.clone(),
            places: places.clone(),
            blender_is_given: config.blender_is_given,
            update_enabled: watch::Sender::new(config.update.is_enabled),
        };
        let update_enabled = live.update_enabled.subscribe();
        let (idle, supervisors) = Idle::new(Arc::clone(&slots), idle, &config.sandbox.host, &config.data);
        let shared = Shared {
            pause: Arc::new(Pause::open(&config.data, Arc::clone(&slots), Arc::clone(&news))),
            logs: Arc::new(TaskLogs::new(slots.devices().len())),
            slots,
            outbox: Arc::new(outbox),
            counters: Arc::new(Counters::new()?),
            readiness: Arc::new(Readiness::new()),
            health: Arc::new(Health::default()),
            economics,
            news,
            gpus: watch::Sender::new(None),
            host: watch::Sender::new(None),
            connection: watch::Sender::new(Connection::default()),
            earned: watch::Sender::new(None),
            settings: Arc::new(Settings::of_agent(config.path.clone(), live)),
            idle: Arc::new(idle),
            update_enabled,
            places,
        };
        Ok((shared, supervisors))
    }

    fn sources(&self, config: &Config, machine: &Machine) -> Sources {
        Sources {
            settings: config.metrics.clone(),
            data: config.data.clone(),
            gpus: self.gpus.clone(),
            host: self.host.clone(),
            hostname: machine.hostname.clone(),
            os: machine.os.clone(),
            slots: Arc::clone(&self.slots),
            outbox: Arc::clone(&self.outbox),
            counters: Arc::clone(&self.counters),
            idle: Arc::clone(&self.idle),
            connection: self.connection.subscribe(),
            earned: self.earned.subscribe(),
            economics: Arc::clone(&self.economics),
            health: self.health.subscribe(),
        }
    }

    fn electricity(&self) -> Electricity {
        Electricity {
            gpus: self.gpus.subscribe(),
            host: self.host.subscribe(),
            slots: Arc::clone(&self.slots),
            economics: Arc::clone(&self.economics),
        }
    }

    fn watched(&self, config: &Config) -> health::Sources {
        health::Sources {
            data: config.data.clone(),
            slots: Arc::clone(&self.slots),
            readiness: Arc::clone(&self.readiness),
            gpus: self.gpus.subscribe(),
            connection: self.connection.subscribe(),
            news: Arc::clone(&self.news),
            device: config.device,
        }
    }

    fn heartbeat(
        &self,
        registry: Registry,
        config: &Config,
        machine: Machine,
        metrics_listen: SocketAddr,
    ) -> Heartbeat {
        let test_renders = TestRenders::new(Bench {
            registry: registry.clone(),
            slots: Arc::clone(&self.slots),
            readiness: Arc::clone(&self.readiness),
            idle: Arc::clone(&self.idle),
            news: Arc::clone(&self.news),
            limits: config.limits.clone(),
            folder: config.data.join("test-render"),
        });
        Heartbeat {
            registry,
            test_renders,
            machine,
            metrics_listen,
            slots: Arc::clone(&self.slots),
            outbox: Arc::clone(&self.outbox),
            readiness: Arc::clone(&self.readiness),
            health: Arc::clone(&self.health),
            economics: Arc::clone(&self.economics),
            gpus: self.gpus.subscribe(),
            host: self.host.subscribe(),
            connection: self.connection.clone(),
            earned: self.earned.clone(),
            news: Arc::clone(&self.news),
        }
    }

    fn app(&self, config: &Config, updates: Arc<Updates>, shutdown: CancellationToken) -> App {
        App {
            updates,
            places: self.places.subscribe(),
            config: config.clone(),
            checkup: Arc::default(),
            settings: Arc::clone(&self.settings),
            idle: Arc::clone(&self.idle),
            slots: Arc::clone(&self.slots),
            logs: Arc::clone(&self.logs),
            pause: Arc::clone(&self.pause),
            readiness: Arc::clone(&self.readiness),
            health: Arc::clone(&self.health),
            gpus: self.gpus.subscribe(),
            host: self.host.subscribe(),
            connection: self.connection.subscribe(),
            earned: self.earned.subscribe(),
            history: History::default(),
            shutdown,
        }
    }

    fn runner(&self, registry: Registry, config: Config) -> anyhow::Result<Runner> {
        let (folder, counters) = (config.data.join("cache/scenes"), Arc::clone(&self.counters));
        let scenes = SceneCache::open(&folder, config.scene_cache_bytes, counters);
        Ok(Runner {
            registry,
            slots: Arc::clone(&self.slots),
            outbox: Arc::clone(&self.outbox),
            scenes: Arc::new(scenes.context("cannot read the scene cache")?),
            readiness: Arc::clone(&self.readiness),
            idle: Arc::clone(&self.idle),
            connection: self.connection.subscribe(),
            counters: Arc::clone(&self.counters),
            logs: Arc::clone(&self.logs),
            news: Arc::clone(&self.news),
            limits: config.limits,
            render_folder: config.data.join("render"),
            data: config.data,
        })
    }
}
