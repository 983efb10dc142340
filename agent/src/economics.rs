//! What this machine's work costs its owner: energy, electricity, wear. All of it is measured or estimated, none of
//! it is anybody's ledger, so it is counted in floating point.

mod meter;
mod settings;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pictor_ground::durable;
use pictor_protocol::{Electricity, Micros, UnixMillis};

use crate::clock;

pub use meter::{Costs, GpuReading, Meter, Reading, Totals};
pub use settings::{Exchange, Settings, Table};

/// What an agent that is killed loses of its totals at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// The running totals, kept on disk across restarts.
#[derive(Debug)]
pub struct Economics {
    path: PathBuf,
    state: Mutex<State>,
    /// Held from the look at the totals until they are shown: an older file never replaces a newer one.
    saving: Mutex<()>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    /// What holds from the next look at the machine on: all that was used until then has the price of its time.
    next: Option<Settings>,
    meter: Meter,
    advanced: Instant,
    /// What is on disk. Nothing newer is shown: a counter that fell back after a power cut would be taken for one that
    /// began again, and all of it counted twice.
    shown: Totals,
    tried: Option<Instant>,
    failed: bool,
}

impl Economics {
    pub fn open(settings: Settings, data: &Path) -> Economics {
        let path = data.join("economics.json");
        let totals = read(&path);
        let state = State {
            settings,
            next: None,
            meter: Meter::new(totals.clone()),
            advanced: Instant::now(),
            shown: totals,
            tried: None,
            failed: false,
        };
        Economics { path, state: Mutex::new(state), saving: Mutex::default() }
    }

    /// What prices and costs are made of now.
    pub fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// Other prices, from now on. What was used before them is counted at those of its time.
    pub fn set(&self, settings: Settings) {
        self.lock().next = Some(settings);
    }

    /// What a kilowatt-hour costs now, on this machine's clock and in its time zone.
    pub fn price(&self) -> Option<f64> {
        self.lock().settings.price_at(clock::local().datetime())
    }

    /// What is known for good.
    pub fn totals(&self) -> Totals {
        self.lock().shown.clone()
    }

    /// Counts what was used since the last call.
    pub fn advance(&self, reading: &Reading) {
        let mut state = self.lock();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(state.advanced);
        state.advanced = now;
        let State { meter, settings, next, .. } = &mut *state;
        meter.advance(reading, elapsed, settings, settings.price_at(clock::local().datetime()));
        if let Some(next) = next.take() {
            *settings = next;
        }
        let is_due = state.tried.is_none_or(|tried| now.saturating_duration_since(tried) >= SAVE_INTERVAL);
        drop(state);
        if is_due {
            self.save();
        }
    }

    /// What electricity has cost so far, for the registry; `None` until a price is known.
    pub fn electricity(&self) -> Option<Electricity> {
        let state = self.lock();
        let currency = state.settings.currency.clone()?;
        let cost = state.shown.costs.get(&currency)?.electricity?;
        let exchange = state.settings.exchange.as_ref();
        // Far below what a float holds exactly.
        #[allow(clippy::cast_possible_truncation)]
        let whole = |number: f64| number.round() as i64;
        Some(Electricity {
            currency,
            cost_micros: Micros(whole(cost * 1e6)),
            exchange_rate: exchange.map(|exchange| exchange.rate),
            exchange_rate_at: exchange.map(|exchange| UnixMillis(whole(exchange.at_seconds * 1e3))),
        })
    }

    /// Keeps the totals for the next start.
    pub fn save(&self) {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        state.tried = Some(Instant::now());
        let totals = state.meter.totals().clone();
        drop(state);
        let text = serde_json::to_vec(&totals).map_err(io::Error::from);
        let result = text.and_then(|text| durable::write(&self.path, &text));
        let mut state = self.lock();
        let failed_before = std::mem::replace(&mut state.failed, result.is_err());
        match result {
            Ok(()) => state.shown = totals,
            Err(error) if !failed_before => {
                tracing::warn!(%error, "the energy totals cannot be kept in {}", self.path.display());
            }
            Err(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Statistics that cannot be read are no reason not to earn: the file is kept for its owner, and counting starts anew.
fn read(path: &Path) -> Totals {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Totals::default(),
        text => text,
    };
    let totals = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
    totals.unwrap_or_else(|error| {
        let aside = path.with_extension("json.damaged");
        let kept = match fs::rename(path, &aside) {
            Ok(()) => format!("the file is now {}", aside.display()),
            Err(error) => format!("{} cannot be renamed: {error}", path.display()),
        };
        tracing::warn!(%error, "the energy totals cannot be read and start from zero; {kept}");
        Totals::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advanced(economics: &Economics, reading: &Reading) -> Totals {
        economics.advance(reading);
        economics.totals()
    }

    #[test]
    fn a_new_price_counts_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |text: &str| toml::from_str::<Table>(text).unwrap().settings().unwrap();
        let priced = |price: f64| {
            settings(&format!(
                "currency = 'EUR'\nprice_per_kwh = {price}\nhost_idle_watts = 0\nhost_busy_watts = 0"
            ))
        };
        let economics = Economics::open(priced(0.30), folder.path());
        let used = |kwh: f64| {
            let gpu =
                GpuReading { uuid: "GPU-1".to_owned(), energy_joules: Some(kwh * 3.6e6), power_watts: None };
            economics.advance(&Reading { gpus: vec![gpu], ..Reading::default() });
            economics.save();
            advanced(&economics, &Reading::default()).costs
        };
        used(1.0);
        assert!((used(2.0)["EUR"].electricity.unwrap() - 0.30).abs() < 1e-9);
        economics.set(priced(1.0));
        let costs = used(3.0);
        assert!((costs["EUR"].electricity.unwrap() - 0.60).abs() < 1e-9, "used before the change: {costs:?}");
        assert_eq!(economics.price(), Some(1.0));
        assert!((used(4.0)["EUR"].electricity.unwrap() - 1.60).abs() < 1e-9);
        economics.set(settings("currency = 'USD'\nprice_per_kwh = 2.0"));
        economics.advance(&Reading::default());
        let costs = used(5.0);
        assert!((costs["EUR"].electricity.unwrap() - 1.60).abs() < 1e-9, "its sum stands: {costs:?}");
        assert!(costs["USD"].electricity.unwrap() >= 2.0, "{costs:?}");
    }

    #[test]
    fn totals_survive_and_damage_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Economics::open(Table::default().settings().unwrap(), folder.path());
        let path = folder.path().join("economics.json");
        fs::write(&path, r#"{"gpu_joules":12.5,"host_joules":0.0,"costs":{}}"#).unwrap();
        let economics = open();
        assert_eq!(advanced(&economics, &Reading::default()).gpu_joules, Some(12.5));
        economics.save();
        assert_eq!(advanced(&open(), &Reading::default()).gpu_joules, Some(12.5));
        fs::write(&path, "{").unwrap();
        assert_eq!(advanced(&open(), &Reading::default()).gpu_joules, None);
        assert_eq!(fs::read_to_string(folder.path().join("economics.json.damaged")).unwrap(), "{");
    }

    #[test]
    fn what_cannot_be_read_or_renamed_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("economics.json");
        fs::create_dir(&path).unwrap();
        let open = || Economics::open(Table::default().settings().unwrap(), folder.path());
        assert_eq!(advanced(&open(), &Reading::default()).gpu_joules, None);
        assert!(path.is_file() && folder.path().join("economics.json.damaged").is_dir());
        fs::write(&path, "{").unwrap();
        let economics = open();
        assert_eq!(
            advanced(&economics, &Reading::default()).gpu_joules,
            None,
            "a folder is in the way of renaming"
        );
    }

    #[test]
    fn a_file_of_other_keys_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"gpu_joules":12.5,"costs":{"EUR":{"electricity":1.5}}}"#;
        fs::write(folder.path().join("economics.json"), text).unwrap();
        let totals = read(&folder.path().join("economics.json"));
        let costs = Costs { electricity: Some(1.5), ..Costs::default() };
        assert_eq!((totals.gpu_joules, totals.costs.get("EUR")), (Some(12.5), Some(&costs)));
    }

    #[test]
    fn totals_are_read_back_to_the_last_bit() {
        // A step back of one bit is a step back: all of it would be counted again.
        for number in 1..10_000 {
            let written =
                Totals { host_joules: f64::from(number) * 1_234.567_891 / 7.0, ..Totals::default() };
            let read: Totals = serde_json::from_slice(&serde_json::to_vec(&written).unwrap()).unwrap();
            assert_eq!(read, written);
        }
    }

    #[test]
    fn only_what_is_on_disk_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let economics = Economics::open(Table::default().settings().unwrap(), &data);
        let reading = |joules| Reading {
            gpus: vec![GpuReading {
                uuid: "GPU-1".to_owned(),
                energy_joules: Some(joules),
                power_watts: None,
            }],
            ..Reading::default()
        };
        assert_eq!(advanced(&economics, &reading(1_000.0)).gpu_joules, Some(0.0), "saved at once");
        assert_eq!(advanced(&economics, &reading(3_000.0)).gpu_joules, Some(0.0), "not yet saved");
        fs::remove_dir_all(&data).unwrap();
        economics.save();
        assert_eq!(advanced(&economics, &reading(3_000.0)).gpu_joules, Some(0.0), "cannot be saved");
        fs::create_dir(&data).unwrap();
        economics.save();
        let shown = advanced(&economics, &reading(4_000.0));
        assert_eq!(shown.gpu_joules, Some(2_000.0));
        assert_eq!(read(&data.join("economics.json")).gpu_joules, shown.gpu_joules);
    }
}
