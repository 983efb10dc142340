//! What a collector is and what it makes: metric families, without those that have no value.

use std::time::Duration;

use pictor_family::{Family, FamilyKind};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

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
