//! What the worker has earned, as the registry last said.

use std::time::Duration;

use pictor_protocol::{Earned, Family};
use tokio::sync::watch;

use super::{Collector, Families};
use crate::heartbeat::Connection;

const EARNINGS: Family = Family::counter(
    "pictor_earnings_total",
    &["currency"],
    "What this worker has earned, all time, in whole units of the currency.",
);
const POINTS: Family = Family::counter("pictor_points_total", &[], "Points of this worker, all time.");
const HEARTBEAT: Family = Family::gauge(
    "pictor_heartbeat_last_success_timestamp_seconds",
    &[],
    "When the registry last accepted a heartbeat.",
);
pub const FAMILIES: [Family; 3] = [EARNINGS, POINTS, HEARTBEAT];

pub struct Earnings {
    earned: watch::Receiver<Option<Earned>>,
    connection: watch::Receiver<Connection>,
}

impl Earnings {
    pub fn new(earned: watch::Receiver<Option<Earned>>, connection: watch::Receiver<Connection>) -> Self {
        Self { earned, connection }
    }
}

impl Collector for Earnings {
    fn name(&self) -> &'static str {
        "earnings"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        let mut families = Families::default();
        if let Some(earned) = self.earned.borrow().as_ref() {
            families.rows(&EARNINGS, [(vec![earned.currency.clone()], earned.earnings_micros.units())]);
            // Points fit: 2^53 of them are more than a worker renders in its life.
            #[allow(clippy::cast_precision_loss)]
            families.value(&POINTS, Some(earned.points as f64));
        }
        families.value(&HEARTBEAT, self.connection.borrow().last_success_seconds);
        Ok(families)
    }
}
