//! What this agent measures: of GPUs and machine, of its own work, of money. Add a collector by a file, its `mod` line and
//! its lines in [`catalogue`] and [`all`].

pub mod earnings;
pub mod render;
pub mod settings;

use std::{path::PathBuf, sync::Arc};

use pictor_family::Family;
use pictor_measure::{
    agent_process,
    exposition::Collector,
    host::{self, HostSample},
    nvml::{self, Gpus},
    sampler,
    settings::Settings,
};
use pictor_protocol::Earned;
use tokio::sync::watch;

use crate::{
    connection::Connection, counters::Counters, economics::Economics, health::Health, idle::Idle,
    outbox::Outbox, program::VERSION, slots::Slots,
};

/// What collectors read and write in the rest of the agent.
pub struct Sources {
    pub metrics: Settings,
    pub data: PathBuf,
    pub gpus: watch::Sender<Option<Gpus>>,
    pub host: watch::Sender<Option<HostSample>>,
    pub hostname: String,
    pub os: String,
    pub slots: Arc<Slots>,
    pub outbox: Arc<Outbox>,
    pub counters: Arc<Counters>,
    pub idle: Arc<Idle>,
    pub connection: watch::Receiver<Connection>,
    pub earned: watch::Receiver<Option<Earned>>,
    pub economics: Arc<Economics>,
    pub health: Arc<Health>,
}

/// Every family that an agent can show, by collector; those of the sampler itself come last.
pub fn catalogue() -> Vec<(&'static str, Vec<Family>)> {
    vec![
        ("nvml", nvml::FAMILIES.to_vec()),
        ("nvml, with `dcgm_names = true`", nvml::dcgm::families()),
        ("host", [&host::FAMILIES[..], &agent_process::FAMILIES[..]].concat()),
        ("render", render::FAMILIES.to_vec()),
        ("earnings", earnings::FAMILIES.to_vec()),
        ("every collector", sampler::FAMILIES.to_vec()),
    ]
}

/// Every collector, in the order of the exposition.
pub fn all(sources: Sources) -> anyhow::Result<Vec<Box<dyn Collector>>> {
    let earnings = earnings::Earnings {
        earned: sources.earned,
        connection: sources.connection.clone(),
        gpus: sources.gpus.subscribe(),
        host: sources.host.subscribe(),
        slots: Arc::clone(&sources.slots),
        economics: sources.economics,
    };
    let (metrics, slots) = (&sources.metrics, Arc::clone(&sources.slots));
    let is_working = move || slots.is_working();
    let nvml = nvml::Nvml::new(metrics, &sources.data, &sources.hostname, is_working, sources.gpus)?;
    Ok(vec![
        Box::new(nvml),
        Box::new(host::Host::new(&sources.metrics, sources.host, VERSION, sources.hostname, sources.os)?),
        Box::new(render::Render {
            slots: sources.slots,
            outbox: sources.outbox,
            counters: sources.counters,
            idle: sources.idle,
            connection: sources.connection,
            health: sources.health,
        }),
        Box::new(earnings),
    ])
}
