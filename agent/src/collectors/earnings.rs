//! What the worker has earned, as the registry last said.

use std::time::Duration;

use pictor_protocol::Earned;
use tokio::sync::watch;

use super::{Collector, Families};
use crate::heartbeat::Connection;

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
            families.counter(
                "pictor_earnings_total",
                "What this worker has earned, all time, in whole units of the currency.",
                &["currency"],
                [(vec![earned.currency.clone()], earned.earnings_micros.units())],
            );
            // Points fit: 2^53 of them are more than a worker renders in its life.
            #[allow(clippy::cast_precision_loss)]
            let points = earned.points as f64;
            families.counter(
                "pictor_points_total",
                "Points of this worker, all time.",
                &[],
                [(vec![], points)],
            );
        }
        families.value(
            "pictor_heartbeat_last_success_timestamp_seconds",
            "When the registry last accepted a heartbeat.",
            self.connection.borrow().last_success_seconds,
        );
        Ok(families)
    }
}
