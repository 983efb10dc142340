//! A start of the agent as updates see it: the installed program's, or a new version's trial.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context;
use semver::Version;

use super::{
    Settings,
    place::{self, Place},
    state::{Event, Stage, State},
    store::Store,
};
use crate::program::VERSION;

/// A new version whose heartbeat is not accepted in this time makes room for the old one.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);

/// What the start of this process comes to.
#[derive(Debug)]
pub enum Boot {
    Run(Started),
    /// Another program is to run in this process: a version that waits, or the installed one.
    Switch(Place, PathBuf),
}

/// This process, of which program and version.
#[derive(Debug)]
pub struct Started {
    pub place: Place,
    pub store: Store,
    pub version: Version,
    pub trial: Option<Trial>,
}

/// A trial under way. Ends with the process, or by [`Trial::end`].
#[derive(Debug, Clone)]
pub struct Trial {
    version: Version,
    place: Place,
    store: Store,
    /// Gone once the trial is over, so that nobody waits for it any more.
    watched: Arc<mpsc::Sender<()>>,
}

/// Decides, from what stands on disk, what this start is. The data folder must be this process's.
pub fn boot(settings: &Settings) -> anyhow::Result<Boot> {
    let place = Place::find().context("cannot tell where this program lies")?;
    let store = Store::at(&settings.data);
    let version = Version::parse(VERSION).context("this program's own version cannot be read")?;
    if !place.is_next() {
        return Ok(match installed(settings, &place, &store, &version) {
            Ok(true) => {
                let next = place.next();
                Boot::Switch(place, next)
            }
            Ok(false) => Boot::Run(Started { place, store, version, trial: None }),
            // The agent has to work without them, too.
            Err(error) => {
                tracing::error!("updates do not work: {error:#}");
                Boot::Run(Started { place, store, version, trial: None })
            }
        });
    }
    Ok(match store.read().stage {
        Stage::Trial { release, .. } if release.version == version => {
            let trial = Trial::begin(version.clone(), &place, &store)?;
            Boot::Run(Started { place, store, version, trial: Some(trial) })
        }
        // Started by hand, or left over.
        _ => {
            let installed = place.installed().to_owned();
            Boot::Switch(place, installed)
        }
    })
}

/// The installed program starts: whether it is to become the version that lies ready.
fn installed(settings: &Settings, place: &Place, store: &Store, version: &Version) -> anyhow::Result<bool> {
    store.prepare()?;
    // Who has the turn makes a version ready just now; that is seen later.
    let Some(turn) = store.try_turn()? else { return Ok(false) };
    let before = store.read().stage;
    let state = store.apply(&turn, Event::Started(version.clone()))?;
    tell(&before, &state, version);
    match state.stage {
        Stage::None => place.tidy(),
        // Asked for while no agent ran: there is nothing to wait for.
        Stage::Ready { release, tries: 0, is_asked } if is_asked || settings.is_enabled => {
            if place.next_is(&release)? {
                store.apply(&turn, Event::Begun)?;
                tracing::info!("starting version {} for a trial", release.version);
                return Ok(true);
            }
            store.apply(&turn, Event::Dropped)?;
        }
        Stage::Ready { .. } | Stage::Trial { .. } => {}
    }
    Ok(false)
}

/// What became of a trial, for the log.
fn tell(before: &Stage, state: &State, version: &Version) {
    let Stage::Trial { release, .. } = before else { return };
    match (&state.stage, state.is_given_up(&release.version)) {
        (_, Some(given_up)) => {
            let reason = &given_up.reason;
            tracing::error!("version {} is not tried again: {reason}; this is {version}", release.version);
        }
        (Stage::Ready { .. }, None) => {
            tracing::warn!(
                "the trial of version {} did not come to its end; it is tried once more",
                release.version
            );
        }
        _ => tracing::info!("updated to version {version}"),
    }
}

impl Trial {
    fn begin(version: Version, place: &Place, store: &Store) -> anyhow::Result<Trial> {
        let (watched, end) = mpsc::channel::<()>();
        let trial = Trial { version, place: place.clone(), store: store.clone(), watched: Arc::new(watched) };
        let (place, store, name) = (place.clone(), store.clone(), trial.version.clone());
        // A thread, not a task: the version on trial may well hang.
        thread::Builder::new().name("trial".to_owned()).spawn(move || {
            if end.recv_timeout(TRIAL_TIMEOUT) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            tracing::error!("version {name} was not heard within {} s: going back", TRIAL_TIMEOUT.as_secs());
            let noted =
                store.turn().map_err(anyhow::Error::from).and_then(|turn| store.apply(&turn, Event::Unheard));
            if let Err(error) = noted {
                tracing::error!("cannot note that: {error:#}");
            }
            let error = place::become_program(place.installed());
            tracing::error!("cannot go back to {}: {error}", place.installed().display());
            std::process::exit(1);
        })?;
        tracing::info!(
            "version {} is on trial: it takes no tasks until the registry has heard it",
            trial.version
        );
        Ok(trial)
    }

    /// The registry has heard this version: it gets its place.
    pub(super) fn prove(&self) -> anyhow::Result<()> {
        self.end();
        let place = &self.place;
        place.install_next().with_context(|| format!("cannot replace {}", place.installed().display()))?;
        let turn = self.store.turn()?;
        self.store.apply(&turn, Event::Proven)?;
        tracing::info!(
            "version {} works and is installed; the one before is {}",
            self.version,
            place.previous().display()
        );
        Ok(())
    }

    /// The registry does not accept this version's heartbeats.
    pub(super) fn unheard(&self) -> anyhow::Result<()> {
        self.note(Event::Unheard)
    }

    /// This version ended by itself.
    pub(super) fn failed(&self, reason: String) -> anyhow::Result<()> {
        self.note(Event::Failed { version: self.version.clone(), reason })
    }

    /// Somebody stopped the agent.
    pub(super) fn stopped(&self) -> anyhow::Result<()> {
        self.note(Event::Stopped)
    }

    fn note(&self, event: Event) -> anyhow::Result<()> {
        self.end();
        let turn = self.store.turn()?;
        self.store.apply(&turn, event)?;
        Ok(())
    }

    fn end(&self) {
        // It may have ended already.
        let _ = self.watched.send(());
    }
}
