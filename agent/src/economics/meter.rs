//! Adds up energy and what it costs. No clock, no I/O.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Settings;

const JOULES_PER_KWH: f64 = 3.6e6;
const SECONDS_PER_HOUR: f64 = 3_600.0;

/// One look at the machine.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub gpus: Vec<GpuReading>,
    pub cpu_utilization_ratio: Option<f64>,
    /// Whether any slot has a task.
    pub is_busy: bool,
}

#[derive(Debug, Clone)]
pub struct GpuReading {
    pub uuid: String,
    /// The GPU's own counter, which does not go backwards.
    pub energy_joules: Option<f64>,
    /// For GPUs without such a counter.
    pub power_watts: Option<f64>,
}

/// All time, across restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// `None` until a GPU has told.
    pub gpu_joules: Option<f64>,
    pub host_joules: f64,
    /// By currency: an owner who changes it starts another sum.
    pub costs: BTreeMap<String, Costs>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Costs {
    /// `None` until a price is known.
    pub electricity: Option<f64>,
    /// The part of it while no slot had a task.
    pub idle_electricity: f64,
    pub amortisation: Option<f64>,
}

#[derive(Debug)]
pub struct Meter {
    totals: Totals,
    /// What each GPU's counter showed last.
    seen: HashMap<String, f64>,
}

impl Meter {
    pub fn new(totals: Totals) -> Meter {
        Meter { totals, seen: HashMap::new() }
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    pub fn advance(
        &mut self,
        reading: &Reading,
        elapsed: Duration,
        settings: &Settings,
        price_per_kwh: Option<f64>,
    ) {
        let seconds = elapsed.as_secs_f64();
        let told: Vec<f64> = reading.gpus.iter().filter_map(|gpu| self.gpu_joules(gpu, seconds)).collect();
        let gpu_joules: f64 = told.iter().sum();
        let host_joules = settings.host_watts(reading.cpu_utilization_ratio.unwrap_or(0.0)) * seconds;
        if !told.is_empty() {
            *self.totals.gpu_joules.get_or_insert(0.0) += gpu_joules;
        }
        self.totals.host_joules += host_joules;
        let Some(currency) = &settings.currency else { return };
        let costs = self.totals.costs.entry(currency.clone()).or_default();
        if let Some(price) = price_per_kwh {
            let cost = (gpu_joules + host_joules) / JOULES_PER_KWH * price;
            *costs.electricity.get_or_insert(0.0) += cost;
            if !reading.is_busy {
                costs.idle_electricity += cost;
            }
        }
        if let Some(per_hour) = settings.amortisation_per_hour {
            *costs.amortisation.get_or_insert(0.0) += per_hour * seconds / SECONDS_PER_HOUR;
        }
    }

    fn gpu_joules(&mut self, gpu: &GpuReading, seconds: f64) -> Option<f64> {
        let Some(counter) = gpu.energy_joules else {
            // A counter that is silent for a while covers that time when it speaks again.
            let has_counter = self.seen.contains_key(&gpu.uuid);
            return if has_counter { Some(0.0) } else { gpu.power_watts.map(|watts| watts * seconds) };
        };
        // What it used before it was first seen is not this agent's to count.
        let before = self.seen.insert(gpu.uuid.clone(), counter);
        Some(before.map_or(0.0, |before| (counter - before).max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        toml::from_str::<super::super::Table>(text).unwrap().settings().unwrap()
    }

    fn gpu(energy_joules: Option<f64>, power_watts: Option<f64>) -> GpuReading {
        GpuReading { uuid: "GPU-1".to_owned(), energy_joules, power_watts }
    }

    #[test]
    fn a_counter_counts_from_where_it_was_first_seen() {
        let settings =
            settings("currency = 'EUR'\nprice_per_kwh = 0.36\nhost_idle_watts = 0\nhost_busy_watts = 0");
        let mut meter = Meter::new(Totals::default());
        let hour = Duration::from_secs(3_600);
        let reading = |joules, is_busy| Reading {
            gpus: vec![gpu(Some(joules), Some(999.0))],
            cpu_utilization_ratio: None,
            is_busy,
        };
        for (joules, is_busy) in [(5e6, false), (5e6 + 3.6e6, true), (5e6 + 7.2e6, false), (5e6, false)] {
            meter.advance(&reading(joules, is_busy), hour, &settings, Some(0.36));
        }
        let totals = meter.totals();
        assert_eq!(totals.gpu_joules, Some(7.2e6));
        let costs = &totals.costs["EUR"];
        assert!(
            (costs.electricity.unwrap() - 0.72).abs() < 1e-9 && (costs.idle_electricity - 0.36).abs() < 1e-9
        );
        assert_eq!(costs.amortisation, None);
    }

    #[test]
    fn a_counter_that_is_silent_for_a_while_counts_once() {
        let settings = settings("");
        let mut meter = Meter::new(Totals::default());
        assert_eq!(meter.totals().gpu_joules, None, "nobody has told");
        for joules in [Some(1_000.0), None, Some(3_000.0)] {
            let reading = Reading { gpus: vec![gpu(joules, Some(500.0))], ..Reading::default() };
            meter.advance(&reading, Duration::from_secs(2), &settings, None);
        }
        assert_eq!(meter.totals().gpu_joules, Some(2_000.0));
    }

    #[test]
    fn power_stands_in_for_a_counter_and_the_host_is_estimated() {
        let settings = settings(
            "currency = 'EUR'\namortisation_per_hour = 0.1\nhost_idle_watts = 50\nhost_busy_watts = 150",
        );
        let mut meter = Meter::new(Totals::default());
        let reading =
            Reading { gpus: vec![gpu(None, Some(200.0))], cpu_utilization_ratio: Some(0.5), is_busy: true };
        meter.advance(&reading, Duration::from_secs(1_800), &settings, None);
        let totals = meter.totals();
        assert_eq!((totals.gpu_joules, totals.host_joules), (Some(360_000.0), 180_000.0));
        let costs = &totals.costs["EUR"];
        assert_eq!((costs.electricity, costs.amortisation), (None, Some(0.05)));
    }
}
