//! What is measured: a file for each source. Add one by a file, its `mod` line and its lines in [`catalogue`] and
//! [`all`].

mod agent_process;
pub mod earnings;
pub mod host;
pub mod nvml;
pub mod render;

use std::{path::PathBuf, sync::Arc, time::Duration};

use pictor_protocol::{Earned, Family, FamilyKind};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use tokio::sync::watch;

use crate::{
    config::MetricsConfig, economics::Economics, health::Health, heartbeat::Connection, idle::Idle,
    outbox::Outbox, slots::Slots,
};

/// One source of measurements. It has a thread of its own and may block.
pub trait Collector: Send {
    /// As in `/metrics/{name}`.
    fn name(&self) -> &'static str;
    /// Asked again while waiting, so that a short one takes over from a long one.
    fn interval(&self) -> Duration;
    /// Measures once. After an error this source shows what [`Collector::after_failure`] says until it works again.
    fn collect(&mut self) -> anyhow::Result<Families>;
    /// What is true though measuring failed.
    fn after_failure(&self) -> Families {
        Families::default()
    }
}

/// What collectors read and write in the rest of the agent.
pub struct Sources {
    pub metrics: MetricsConfig,
    pub data: PathBuf,
    pub gpus: watch::Sender<Option<nvml::Gpus>>,
    pub host: watch::Sender<Option<host::HostSample>>,
    pub hostname: String,
    pub os: String,
    pub slots: Arc<Slots>,
    pub outbox: Arc<Outbox>,
    pub counters: Arc<render::Counters>,
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
        ("every collector", crate::sampler::FAMILIES.to_vec()),
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
    let nvml = nvml::Nvml::new(metrics, &sources.data, &sources.hostname, slots, sources.gpus)?;
    Ok(vec![
        Box::new(nvml),
        Box::new(host::Host::new(&sources.metrics, sources.host, sources.hostname, sources.os)?),
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

/// The values of one label set, in the order of the family's label names.
pub type Row = (Vec<String>, f64);

/// Metric families under construction. What has no value is left out.
#[derive(Default)]
pub struct Families(Vec<MetricFamily>);

impl Families {
    /// One value without labels.
    pub fn value(&mut self, family: &Family, value: Option<f64>) {
        self.rows(family, value.map(|value| (Vec::new(), value)));
    }

    /// Gauges, or counts that something else keeps.
    pub fn rows(&mut self, family: &Family, rows: impl IntoIterator<Item = Row>) {
        let metrics: Vec<Metric> =
            rows.into_iter().map(|(values, value)| metric(family, values, value)).collect();
        if metrics.is_empty() {
            return;
        }
        let mut made = MetricFamily::default();
        made.set_name(family.name.to_owned());
        made.set_help(family.help.to_owned());
        made.set_field_type(metric_type(family.kind));
        made.set_metric(metrics);
        self.0.push(made);
    }

    /// Families of the library's own counters and histograms.
    pub fn extend(&mut self, families: Vec<MetricFamily>) {
        self.0.extend(families.into_iter().filter(|family| !family.get_metric().is_empty()));
    }

    pub fn as_slice(&self) -> &[MetricFamily] {
        &self.0
    }
}

fn metric_type(kind: FamilyKind) -> MetricType {
    match kind {
        FamilyKind::Gauge => MetricType::GAUGE,
        FamilyKind::Counter => MetricType::COUNTER,
        FamilyKind::Histogram => MetricType::HISTOGRAM,
    }
}

fn metric(family: &Family, values: Vec<String>, value: f64) -> Metric {
    let pairs = family.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    if family.kind == FamilyKind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// A count or a size as a metric's value: exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
pub fn float(value: u64) -> f64 {
    value as f64
}
