//! What this machine's work costs its owner: energy, electricity, wear. All of it is measured or estimated, none of
//! it is anybody's ledger, so it is counted in floating point.

mod meter;
mod settings;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::Zoned;

pub use meter::{Costs, GpuReading, Meter, Reading, Totals};
pub use settings::{Exchange, Settings, Table};

/// What an agent that is killed loses of its totals at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// The running totals, kept on disk across restarts.
#[derive(Debug)]
pub struct Economics {
    pub settings: Settings,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    meter: Meter,
    advanced: Instant,
    /// What is on disk. Nothing newer is shown: a counter that fell back after a power cut would be taken for one that
    /// began again, and all of it counted twice.
    shown: Totals,
    tried: Option<Instant>,
    failed: bool,
}

impl Economics {
    pub fn open(settings: Settings, data: &Path) -> anyhow::Result<Economics> {
        let path = data.join("economics.json");
        let totals = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).or_else(|error| set_aside(&path, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Totals::default(),
            Err(error) => {
                tracing::warn!(%error, "cannot read {}: energy is counted from zero", path.display());
                Totals::default()
            }
        };
        let state = State {
            meter: Meter::new(totals.clone()),
            advanced: Instant::now(),
            shown: totals,
            tried: None,
            failed: false,
        };
        Ok(Economics { settings, path, state: Mutex::new(state) })
    }

    /// What a kilowatt-hour costs now, on this machine's clock and in its time zone.
    pub fn price(&self) -> Option<f64> {
        self.settings.price_at(Zoned::now().datetime())
    }

    /// Counts what was used since the last call, and says what is known for good.
    pub fn advance(&self, reading: &Reading) -> Totals {
        let mut state = self.lock();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(state.advanced);
        state.advanced = now;
        let price = self.price();
        state.meter.advance(reading, elapsed, &self.settings, price);
        let is_due = state.tried.is_none_or(|tried| now.saturating_duration_since(tried) >= SAVE_INTERVAL);
        drop(state);
        if is_due {
            self.save();
        }
        self.lock().shown.clone()
    }

    /// Keeps the totals for the next start.
    pub fn save(&self) {
        let mut state = self.lock();
        state.tried = Some(Instant::now());
        let totals = state.meter.totals().clone();
        drop(state);
        let written = || -> io::Result<()> {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut file, &totals)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map(drop).map_err(io::Error::from)
        };
        let result = written();
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
fn set_aside(path: &Path, error: &serde_json::Error) -> anyhow::Result<Totals> {
    let aside = path.with_extension("json.damaged");
    fs::rename(path, &aside)
        .with_context(|| format!("{} is damaged and cannot be renamed", path.display()))?;
    tracing::warn!(%error, "the energy totals were damaged and start from zero; the file is now {}", aside.display());
    Ok(Totals::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_and_damage_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Economics::open(Table::default().settings().unwrap(), folder.path()).unwrap();
        let path = folder.path().join("economics.json");
        fs::write(&path, r#"{"gpu_joules":12.5,"host_joules":0.0,"costs":{}}"#).unwrap();
        let economics = open();
        assert_eq!(economics.advance(&Reading::default()).gpu_joules, Some(12.5));
        economics.save();
        assert_eq!(open().advance(&Reading::default()).gpu_joules, Some(12.5));
        fs::write(&path, "{").unwrap();
        assert_eq!(open().advance(&Reading::default()).gpu_joules, None);
        assert_eq!(fs::read_to_string(folder.path().join("economics.json.damaged")).unwrap(), "{");
    }
}
