//! What the worker has earned, as the registry last said, and what that cost its owner.

use std::{sync::Arc, time::Duration};

use pictor_family::families;
use pictor_measure::exposition::{Collector, Families};
use pictor_protocol::Earned;
use tokio::sync::watch;

use super::Entry;
use crate::{
    connection::Connection,
    economics::{Costs, Economics, Totals},
};

const NAME: &str = "earnings";

families! {
    FAMILIES:
    /// What this worker has earned, all time, in whole units of the currency.
    EARNINGS = counter("pictor_earnings_total", ["currency"]);
    /// Points of this worker, all time.
    POINTS = counter("pictor_points_total", []);
    /// When the registry last accepted a heartbeat.
    HEARTBEAT = gauge("pictor_heartbeat_last_success_timestamp_seconds", []);
    /// How far this machine's clock is ahead of the registry's, to the second.
    SKEW = gauge("pictor_clock_skew_seconds", []);
    /// Energy used, all time: of GPUs as they measure it, of the rest of the machine as estimated.
    ENERGY = counter("pictor_energy_joules_total", ["component", "source"]);
    /// What that energy cost at the prices of its time, all time.
    ELECTRICITY = counter("pictor_electricity_cost_total", ["currency"]);
    /// The part of the electricity's cost while no slot had a task.
    IDLE_ELECTRICITY = counter("pictor_electricity_idle_cost_total", ["currency"]);
    /// What a kilowatt-hour costs now.
    PRICE = gauge("pictor_electricity_price", ["currency"]);
    /// What the machine cost besides electricity, by its owner's price for an hour, all time.
    AMORTISATION = counter("pictor_amortisation_cost_total", ["currency"]);
    /// Units of the owner's currency for one of the network's; 1 where both are the same.
    EXCHANGE = gauge("pictor_exchange_rate", ["from", "to"]);
    /// The day of the exchange rate; absent where both currencies are the same.
    EXCHANGE_AT = gauge("pictor_exchange_rate_timestamp_seconds", ["from", "to"]);
}

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    families: || vec![(NAME, FAMILIES.to_vec())],
    make: |sources| {
        Ok(Box::new(Earnings {
            earned: sources.earned.clone(),
            connection: sources.connection.clone(),
            economics: Arc::clone(&sources.economics),
        }))
    },
};

struct Earnings {
    earned: watch::Receiver<Option<Earned>>,
    connection: watch::Receiver<Connection>,
    economics: Arc<Economics>,
}

impl Earnings {
    fn earned(&self, families: &mut Families) {
        if let Some(earned) = self.earned.borrow().as_ref() {
            families.rows(&EARNINGS, [(vec![earned.currency.clone()], earned.earnings_micros.units())]);
            // Points fit: 2^53 of them are more than a worker renders in its life.
            #[allow(clippy::cast_precision_loss)]
            families.value(&POINTS, Some(earned.points as f64));
        }
        let connection = self.connection.borrow();
        families.value(&HEARTBEAT, connection.last_success_seconds);
        families.value(&SKEW, connection.skew_seconds.filter(|_| connection.is_up()));
    }

    fn spent(&self, families: &mut Families, totals: &Totals) {
        let energy = [("gpu", "measured", totals.gpu_joules), ("host", "estimate", Some(totals.host_joules))];
        families.rows(
            &ENERGY,
            energy.into_iter().filter_map(|(component, source, joules)| {
                Some((vec![component.to_owned(), source.to_owned()], joules?))
            }),
        );
        let costs = || totals.costs.iter().map(|(currency, costs)| (vec![currency.clone()], costs));
        families.rows(&ELECTRICITY, costs().filter_map(|(labels, costs)| Some((labels, costs.electricity?))));
        let idle = |(labels, costs): (_, &Costs)| costs.electricity.map(|_| (labels, costs.idle_electricity));
        families.rows(&IDLE_ELECTRICITY, costs().filter_map(idle));
        families
            .rows(&AMORTISATION, costs().filter_map(|(labels, costs)| Some((labels, costs.amortisation?))));
    }

    fn rates(&self, families: &mut Families) {
        let settings = self.economics.settings();
        let Some(own) = &settings.currency else { return };
        families.rows(&PRICE, self.economics.price().map(|price| (vec![own.clone()], price)));
        let Some(network) = self.earned.borrow().as_ref().map(|earned| earned.currency.clone()) else {
            return;
        };
        let (rate, at_seconds) = match &settings.exchange {
            _ if network == *own => (Some(1.0), None),
            Some(exchange) => (Some(exchange.rate), Some(exchange.at_seconds)),
            None => (None, None),
        };
        let labels = vec![network, own.clone()];
        families.rows(&EXCHANGE, rate.map(|rate| (labels.clone(), rate)));
        families.rows(&EXCHANGE_AT, at_seconds.map(|at_seconds| (labels, at_seconds)));
    }
}

impl Collector for Earnings {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn collect(&mut self) -> anyhow::Result<Families> {
        let totals = self.economics.totals();
        let mut families = Families::default();
        self.earned(&mut families);
        self.spent(&mut families, &totals);
        self.rates(&mut families);
        Ok(families)
    }
}
