//! What this agent measures: of GPUs and machine, of its own work, of money. A collector is a file with an `ENTRY`, which
//! [`ALL`] lists.

mod earnings;
mod host;
mod nvml;
mod render;
pub mod settings;

use std::{path::PathBuf, sync::Arc};

use pictor_family::Family;
use pictor_measure::{exposition::Collector, host::HostSample, nvml::Gpus, sampler};
use pictor_protocol::Earned;
use tokio::sync::watch;

use crate::{
    connection::Connection, counters::Counters, economics::Economics, finding::Finding, idle::Idle,
    outbox::Outbox, slots::Slots,
};
pub use settings::Settings;

/// What collectors read and write in the rest of the agent.
pub struct Sources {
    pub settings: Settings,
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
    pub health: watch::Receiver<Vec<Finding>>,
}

/// One collector: a file of this folder, and its line in [`ALL`].
pub struct Entry {
    /// As in `/metrics/{name}` and `disabled_collectors`.
    name: &'static str,
    /// What it can show, by what docs/metrics.md calls it.
    families: fn() -> Vec<Group>,
    make: fn(&Sources) -> anyhow::Result<Box<dyn Collector>>,
}

/// Families under one heading.
pub type Group = (&'static str, Vec<Family>);

/// Every collector, in the order of the exposition.
const ALL: &[Entry] = &[nvml::ENTRY, host::ENTRY, render::ENTRY, earnings::ENTRY];

/// Every family that an agent can show, by collector; those of the sampler itself come last.
pub fn catalogue() -> Vec<Group> {
    let of_collectors = ALL.iter().flat_map(|entry| (entry.families)());
    of_collectors.chain([("every collector", sampler::FAMILIES.to_vec())]).collect()
}

/// Those that are not switched off.
pub fn make(sources: &Sources) -> anyhow::Result<Vec<Box<dyn Collector>>> {
    let is_on = |entry: &&Entry| sources.settings.disabled.iter().all(|name| name.as_str() != entry.name);
    ALL.iter().filter(is_on).map(|entry| (entry.make)(sources)).collect()
}
