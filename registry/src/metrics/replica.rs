//! `/metrics`: what one replica knows of itself.

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use pictor_family::Family;
use pictor_protocol::UnixMillis;

use crate::db::Connections;
use crate::tasks::LeaseOutcome;

const INFO: Family = Family::gauge("pictor_registry_info", &["version"], "1, with the registry's version.");
const STARTED: Family =
    Family::gauge("pictor_registry_start_timestamp_seconds", &[], "When this replica started.");
const REQUESTS: Family = Family::histogram(
    "pictor_registry_http_request_seconds",
    &["route", "method", "status"],
    "How long requests took to answer, the wait for work included.",
);
const ASSIGNMENTS: Family = Family::histogram(
    "pictor_registry_assignment_seconds",
    &[],
    "How long picking and leasing tasks for one asking took, the wait for work left out.",
);
const LEASES: Family = Family::counter(
    "pictor_registry_leases_total",
    &["outcome"],
    "Leases by what became of them on this replica.",
);
const CONNECTIONS: Family = Family::gauge(
    "pictor_registry_database_connections",
    &["state"],
    "Open connections of this replica's pool to the database, used or idle.",
);
const CONNECTIONS_MAX: Family = Family::gauge(
    "pictor_registry_database_connections_max",
    &[],
    "How many connections to the database the pool opens at most.",
);
const LEDGER_SUCCESS: Family = Family::gauge(
    "pictor_registry_ledger_check_success",
    &[],
    "1 if the last check of the ledger ran and found nothing wrong, else 0; absent before the first.",
);
const LEDGER_LAST_SUCCESS: Family = Family::gauge(
    "pictor_registry_ledger_check_last_success_timestamp_seconds",
    &[],
    "When a check of the ledger last found nothing wrong; absent until one has.",
);
pub(super) const FAMILIES: [Family; 9] = [
    INFO,
    STARTED,
    REQUESTS,
    ASSIGNMENTS,
    LEASES,
    CONNECTIONS,
    CONNECTIONS_MAX,
    LEDGER_SUCCESS,
    LEDGER_LAST_SUCCESS,
];

/// The series of this replica.
pub struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    assignments: Histogram,
    leases: IntCounterVec,
    connections: IntGaugeVec,
    connections_max: IntGaugeVec,
    // Without labels, but made only when a value is known: a plain gauge would begin with an invented 0.
    ledger_success: IntGaugeVec,
    ledger_last_success: GaugeVec,
}

impl Metrics {
    pub fn new(started: UnixMillis) -> anyhow::Result<Metrics> {
        let registry = Registry::new();
        let info = registered(&registry, IntGaugeVec::new(opts(&INFO), INFO.labels)?)?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let start = registered(&registry, GaugeVec::new(opts(&STARTED), STARTED.labels)?)?;
        start.with_label_values::<&str>(&[]).set(seconds(started));
        let requests = HistogramOpts::new(REQUESTS.name, REQUESTS.help).buckets(vec![
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ]);
        let assignments = HistogramOpts::new(ASSIGNMENTS.name, ASSIGNMENTS.help)
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]);
        let leases = IntCounterVec::new(opts(&LEASES), LEASES.labels)?;
        for outcome in LeaseOutcome::ALL {
            leases.with_label_values(&[outcome.as_str()]);
        }
        let gauge = |family: &Family| IntGaugeVec::new(opts(family), family.labels);
        let last_success = GaugeVec::new(opts(&LEDGER_LAST_SUCCESS), LEDGER_LAST_SUCCESS.labels)?;
        Ok(Metrics {
            requests: registered(&registry, HistogramVec::new(requests, REQUESTS.labels)?)?,
            assignments: registered(&registry, Histogram::with_opts(assignments)?)?,
            leases: registered(&registry, leases)?,
            connections: registered(&registry, gauge(&CONNECTIONS)?)?,
            connections_max: registered(&registry, gauge(&CONNECTIONS_MAX)?)?,
            ledger_success: registered(&registry, gauge(&LEDGER_SUCCESS)?)?,
            ledger_last_success: registered(&registry, last_success)?,
            registry,
        })
    }

    pub(super) fn requested(&self, route: &str, method: &str, status: &str, seconds: f64) {
        self.requests.with_label_values(&[route, method, status]).observe(seconds);
    }

    /// One asking for tasks was answered, with work or without, after so many seconds of picking.
    pub fn assigned(&self, seconds: f64) {
        self.assignments.observe(seconds);
    }

    pub fn count_leases(&self, outcome: LeaseOutcome, count: u64) {
        self.leases.with_label_values(&[outcome.as_str()]).inc_by(count);
    }

    /// A check of the ledger has ended; one that could not run has not succeeded.
    pub fn ledger_checked(&self, sound: bool, at: UnixMillis) {
        self.ledger_success.with_label_values::<&str>(&[]).set(i64::from(sound));
        if sound {
            self.ledger_last_success.with_label_values::<&str>(&[]).set(seconds(at));
        }
    }

    pub(super) fn encode(&self, connections: Connections) -> anyhow::Result<Vec<u8>> {
        self.connections.with_label_values(&["used"]).set(connections.used.into());
        self.connections.with_label_values(&["idle"]).set(connections.idle.into());
        self.connections_max.with_label_values::<&str>(&[]).set(connections.max.into());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> anyhow::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn seconds(at: UnixMillis) -> f64 {
    at.seconds_since(UnixMillis(0))
}

#[cfg(test)]
mod tests {
    use pictor_protocol::UnixMillis;

    use super::Metrics;
    use crate::db::Connections;

    #[test]
    fn a_bad_check_of_the_ledger_keeps_the_time_of_the_last_good_one() {
        let metrics = Metrics::new(UnixMillis(1_000)).unwrap();
        let shown = || {
            let text = metrics.encode(Connections { used: 1, idle: 2, max: 8 }).unwrap();
            let text = String::from_utf8(text).unwrap();
            text.lines()
                .filter(|line| line.starts_with("pictor_registry_ledger"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(shown(), "", "nothing is invented before the first check");
        metrics.ledger_checked(true, UnixMillis(2_500));
        metrics.ledger_checked(false, UnixMillis(3_500));
        assert_eq!(
            shown(),
            "pictor_registry_ledger_check_last_success_timestamp_seconds 2.5\npictor_registry_ledger_check_success 0"
        );
    }
}
