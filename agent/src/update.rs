//! How the agent replaces itself: looks for a newer version, makes it ready, waits until no task runs, tries it, and goes
//! back where it does not come up. `state` is the machine, docs/releases.md the whole.

pub mod command;
mod manifest;
mod place;
mod releases;
mod settings;
mod state;
mod store;
mod trial;

use std::{
    convert::Infallible,
    future, io,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use pictor_ground::backoff;
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use manifest::TARGET;
use place::Keeper;
pub use place::Place;
pub use settings::{Settings, Table};
pub use trial::{Boot, Started, Trial, boot};

use crate::{
    clock,
    connection::{Connection, Line},
    registry::Registry,
    slots::Slots,
};
use releases::{Offer, Releases};
use state::{Event, Stage};

/// Between two looks, less a third at random: a network's agents must not come all at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// After a look that came to nothing.
const RETRY_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// How often the state is read again, which `pictor-agent update` may have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Why a version is not taken that could be.
const IS_OFF: &str = "automatic updates are off: `pictor-agent update` takes it";

/// What a run of the agent comes to.
#[derive(Debug)]
pub enum Ended {
    Stopped,
    /// This process is to become another program, with the same arguments.
    Switch(Place, PathBuf),
}

impl Ended {
    /// Becomes the other program, or the installed one if that fails.
    pub fn proceed(self) -> anyhow::Result<()> {
        let Ended::Switch(place, program) = self else { return Ok(()) };
        let error = place::become_program(&program);
        if program != place.installed() {
            tracing::error!("cannot start {}: {error}; going on with the version before", program.display());
            place::become_program(place.installed());
        }
        Err(anyhow!("cannot start {}: {error}", program.display()))
    }
}

/// Runs the agent; after an error or a panic, the installed program takes over where this is another one on trial.
pub fn or_go_back(run: impl FnOnce() -> anyhow::Result<Ended>) -> anyhow::Result<Ended> {
    let ended = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(anyhow!("it panicked")));
    let Err(error) = ended else { return ended };
    match Place::find() {
        Ok(place) if place.is_next() && place.installed().exists() => {
            tracing::error!("{error:#}; going back to {}", place.installed().display());
            let installed = place.installed().to_owned();
            Ok(Ended::Switch(place, installed))
        }
        _ => Err(error),
    }
}

/// Notes what became of a trial that ended otherwise than by its proof.
pub fn conclude(trial: Option<Trial>, ended: &anyhow::Result<Ended>) {
    let noted = match (trial, ended) {
        (Some(trial), Err(error)) => trial.failed(format!("it ended by itself: {error:#}")),
        (Some(trial), Ok(Ended::Stopped)) => trial.stopped(),
        (None, _) | (_, Ok(Ended::Switch(..))) => Ok(()),
    };
    if let Err(error) = noted {
        tracing::error!("cannot note the end of the trial: {error:#}");
    }
}

/// How updates stand, for pages and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    pub current: String,
    /// A newer version that the registry offers.
    pub available: Option<String>,
    pub notes: Option<String>,
    pub state: Phase,
    /// Why nothing is done about it, or what went wrong.
    pub reason: Option<String>,
    /// Whether new versions are taken without being asked for.
    pub is_enabled: bool,
    /// Why this program does not replace itself, and who does; `None` where it does.
    pub kept_by: Option<String>,
    pub checked_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody has looked yet.
    Unknown,
    Current,
    /// There is a newer version, and this agent does not take it: `reason` says why.
    Available,
    Downloading,
    /// It lies ready until no task runs.
    Waiting,
    /// This process runs the new version, which is not installed yet.
    Trial,
}

/// Keeps the agent up to date.
#[derive(Debug)]
pub struct Updates {
    releases: Releases,
    trial: Option<Trial>,
    slots: Arc<Slots>,
    connection: watch::Receiver<Connection>,
    /// Rings the heartbeat.
    news: Arc<Notify>,
    status: watch::Sender<Status>,
    /// Rings when somebody wants a look, or turns the switch.
    wanted: Notify,
    hindrance: Mutex<Option<Hindrance>>,
}

/// Why a trial could not begin, as it was last logged: it is tried again every few seconds.
#[derive(Debug)]
struct Hindrance {
    release: state::Release,
    /// Without what differs from time to time, such as the names of temporary files.
    kind: (String, Option<io::ErrorKind>),
    words: String,
}

impl Updates {
    pub fn new(
        started: Started,
        settings: Settings,
        registry: Registry,
        slots: Arc<Slots>,
        connection: watch::Receiver<Connection>,
        news: Arc<Notify>,
    ) -> Updates {
        let Started { place, store, version, trial } = started;
        if trial.is_some() {
            slots.close();
        }
        let status = Status {
            current: version.to_string(),
            available: None,
            notes: None,
            state: if trial.is_some() { Phase::Trial } else { Phase::Unknown },
            reason: None,
            is_enabled: settings.is_enabled,
            kept_by: place.keeper().other(),
            checked_at: None,
        };
        let (key, config) = (settings.key, settings.config_file);
        let releases = Releases { registry, key, current: version, store, place, config };
        let (status, wanted) = (watch::Sender::new(status), Notify::new());
        Updates { releases, trial, slots, connection, news, status, wanted, hindrance: Mutex::default() }
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Looks for a newer version soon.
    pub fn check_now(&self) {
        self.status.send_modify(|status| status.checked_at = None);
        self.wanted.notify_one();
    }

    /// Does as the switch of the settings says, for ever.
    pub async fn follow(&self, mut switch: watch::Receiver<bool>) -> Infallible {
        while switch.changed().await.is_ok() {
            self.set_enabled(*switch.borrow_and_update());
        }
        future::pending().await
    }

    fn set_enabled(&self, is_enabled: bool) {
        self.status.send_modify(|status| status.is_enabled = is_enabled);
        self.wanted.notify_one();
    }

    /// Looks every few hours, and returns what this process is to become once no task runs.
    pub async fn run(&self) -> Ended {
        if let Some(trial) = &self.trial {
            return self.prove(trial).await;
        }
        self.heard().await;
        let mut due = Instant::now();
        loop {
            if self.status.borrow().checked_at.is_none() || Instant::now() >= due {
                let went_well = self.check().await;
                let interval = if went_well { CHECK_INTERVAL } else { RETRY_INTERVAL };
                due = Instant::now() + backoff::shortened(interval);
            }
            if let Some(ended) = self.switch().await {
                return ended;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Waits for the registry to hear of this version, which gets its place then.
    async fn prove(&self, trial: &Trial) -> Ended {
        let mut connection = self.connection.clone();
        let said = connection.wait_for(|now| matches!(now.line, Line::Up | Line::Refused)).await;
        let is_up = said.is_ok_and(|now| now.is_up());
        let concluded = trial.clone();
        let done =
            tokio::task::spawn_blocking(move || if is_up { concluded.prove() } else { concluded.unheard() });
        if !is_up {
            tracing::error!("the registry does not accept this version's heartbeats: going back");
        }
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the trial cannot be concluded: {error:#}"),
            Err(error) => tracing::error!("the trial cannot be concluded: {error}"),
        }
        self.becomes(self.releases.place.installed().to_owned())
    }

    /// Whether the look told anything; what it told stands in the status.
    async fn check(&self) -> bool {
        let checked = self.take().await;
        self.status.send_modify(|status| status.checked_at = Some(clock::timestamp()));
        if let Err(error) = &checked {
            tracing::warn!("no update: {error:#}");
            self.status.send_modify(|status| status.reason = Some(format!("{error:#}")));
        }
        checked.is_ok()
    }

    async fn take(&self) -> anyhow::Result<()> {
        let (offer, published_at) = self.releases.look().await?;
        let Some(turn) = self.releases.store.try_turn()? else { return Ok(()) };
        self.releases.remember(&turn, published_at)?;
        let keeper = self.releases.place.keeper();
        self.status.send_modify(|status| status.kept_by = keeper.clone().other());
        let Offer::Newer { version, notes, program } = offer else {
            let is_nothing = offer == Offer::Nothing;
            self.status.send_modify(|status| {
                (status.available, status.notes) = (None, None);
                status.state = Phase::Current;
                status.reason = is_nothing.then(|| "the registry publishes no releases".to_owned());
            });
            return Ok(());
        };
        let is_enabled = self.status.borrow().is_enabled;
        let program = match (keeper, program) {
            (Keeper::Other(why), _) | (Keeper::Itself, Err(why)) => Err(why),
            (Keeper::Itself, Ok(_)) if !is_enabled => Err(IS_OFF.to_owned()),
            (Keeper::Itself, Ok(program)) => Ok(program),
        };
        let is_news = self.status.borrow().available.as_deref() != Some(&version.to_string());
        self.status.send_modify(|status| {
            status.available = Some(version.to_string());
            status.notes = Some(notes).filter(|notes| !notes.is_empty());
            status.state = if program.is_ok() { Phase::Downloading } else { Phase::Available };
            status.reason = program.as_ref().err().cloned();
        });
        match program {
            Err(why) if is_news => tracing::info!("version {version} is available: {why}"),
            Err(_) => {}
            Ok((file, release)) => {
                let prepared = self.releases.prepare(&turn, &file, release, false).await;
                self.status.send_modify(|status| status.state = Phase::Available);
                prepared?;
                tracing::info!("version {version} is verified and ready");
            }
        }
        Ok(())
    }

    /// The version that lies ready, once nothing runs here; `None` if there is none that may be tried.
    async fn switch(&self) -> Option<Ended> {
        let Stage::Ready { release, is_asked, .. } = self.releases.store.read().stage else {
            self.waits_no_more("what lay ready is gone");
            return None;
        };
        if !is_asked && !self.status.borrow().is_enabled {
            self.waits_no_more(IS_OFF);
            return None;
        }
        self.status.send_modify(|status| {
            status.available = Some(release.version.to_string());
            status.state = Phase::Waiting;
            let last = self.hindrance(&release);
            let last = last.map(|words| format!("; the last try came to nothing: {words}"));
            status.reason =
                Some(format!("it is installed as soon as no task runs{}", last.unwrap_or_default()));
        });
        self.slots.close();
        self.news.notify_one();
        let may_begin = async {
            self.slots.emptied().await;
            self.heard().await;
        };
        tokio::select! {
            () = may_begin => {}
            () = self.turned_off(), if !is_asked => {
                self.slots.reopen();
                self.waits_no_more(IS_OFF);
                return None;
            }
        }
        match tokio::task::block_in_place(|| self.begin(&release)) {
            Ok(true) => {
                tracing::info!("starting version {} for a trial", release.version);
                return Some(self.becomes(self.releases.place.next()));
            }
            Ok(false) => tracing::debug!("no trial yet: `pictor-agent update` is at work"),
            Err(error) => {
                self.tell(release, &error);
                if !matches!(self.releases.store.read().stage, Stage::Ready { .. }) {
                    self.waits_no_more(&format!("{error:#}"));
                }
            }
        }
        self.slots.reopen();
        None
    }

    /// Nothing lies ready any more that would be tried.
    fn waits_no_more(&self, why: &str) {
        self.status.send_if_modified(|status| {
            let has_waited = status.state == Phase::Waiting;
            if has_waited {
                (status.state, status.reason) = (Phase::Available, Some(why.to_owned()));
            }
            has_waited
        });
    }

    /// Notes that the trial begins; not while somebody else has the turn.
    fn begin(&self, release: &state::Release) -> anyhow::Result<bool> {
        let (store, place) = (&self.releases.store, &self.releases.place);
        // It may take its time; slots must not stay closed for it.
        let Some(turn) = store.try_turn()? else { return Ok(false) };
        match store.read().stage {
            Stage::Ready { release: ready, .. } if ready == *release => {}
            _ => bail!("another version lies ready, or none"),
        }
        if !place.next_is(release)? {
            store.apply(&turn, Event::Dropped)?;
            bail!("what lies ready is not what was verified");
        }
        store.apply(&turn, Event::Begun)?;
        Ok(true)
    }

    /// Says why a trial cannot begin, once.
    fn tell(&self, release: state::Release, error: &anyhow::Error) {
        let of_system = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        let kind = (error.to_string(), of_system.map(io::Error::kind));
        let mut last = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| (&last.release, &last.kind) == (&release, &kind)) {
            return;
        }
        let words = format!("{error:#}");
        tracing::error!("the trial of version {} cannot begin: {words}", release.version);
        *last = Some(Hindrance { release, kind, words });
    }

    fn hindrance(&self, release: &state::Release) -> Option<String> {
        let last = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|last| last.release == *release).map(|last| last.words.clone())
    }

    /// Waits until the registry accepts heartbeats: what does not reach it now could not be tried.
    async fn heard(&self) {
        // The sender lives as long as the agent.
        let _ = self.connection.clone().wait_for(Connection::is_up).await;
    }

    async fn turned_off(&self) {
        let _ = self.status.subscribe().wait_for(|status| !status.is_enabled).await;
    }

    fn becomes(&self, program: PathBuf) -> Ended {
        Ended::Switch(self.releases.place.clone(), program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::tests::lease;
    use pictor_blender::Device;
    use semver::Version;
    use state::Release;

    /// With a version that lies ready, on a worker with one slot.
    fn waiting(data: &std::path::Path) -> Updates {
        let identity = toml::from_str(
            "registry = 'http://127.0.0.1:1'\nworker_id = 'wrk_019a0000000070008000000000000000'\n\
             worker_name = 'test'\ntoken = 'test'",
        );
        let releases = Releases {
            registry: Registry::new(&identity.unwrap()).unwrap(),
            key: Table::default().key().unwrap(),
            current: Version::new(1, 0, 0),
            store: store::Store::at(data),
            place: Place::find().unwrap(),
            config: data.join("worker.toml"),
        };
        releases.store.prepare().unwrap();
        let release = Release { version: Version::new(2, 0, 0), size_bytes: 1, sha256: [0; 32].into() };
        let turn = releases.store.turn().unwrap();
        releases.store.apply(&turn, Event::Placed { release, is_asked: false }).unwrap();
        let up = Connection { line: Line::Up, ..Connection::default() };
        let status = Status {
            current: "1.0.0".to_owned(),
            available: None,
            notes: None,
            state: Phase::Unknown,
            reason: None,
            is_enabled: true,
            kept_by: None,
            checked_at: None,
        };
        Updates {
            releases,
            trial: None,
            slots: Arc::new(Slots::new(vec![Device::Cpu])),
            connection: watch::channel(up).1,
            news: Arc::new(Notify::new()),
            status: watch::Sender::new(status),
            wanted: Notify::new(),
            hindrance: Mutex::default(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_version_waits_for_the_task_under_way_until_the_switch_is_turned_off() {
        // The second test of a process finds it done.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let updates = waiting(folder.path());
        let _signal = updates.slots.take(&lease(0)).unwrap();
        let mut status = updates.status.subscribe();
        let waits = async {
            let waiting = status.wait_for(|status| status.state == Phase::Waiting).await.unwrap().clone();
            assert_eq!(waiting.available.as_deref(), Some("2.0.0"));
            assert!(updates.slots.free().is_empty());
            updates.set_enabled(false);
        };
        let (ended, ()) = tokio::join!(updates.switch(), waits);
        let stands = || {
            let Status { state, reason, .. } = updates.status();
            (state, reason.unwrap_or_default())
        };
        assert!(ended.is_none());
        assert_eq!(stands(), (Phase::Available, IS_OFF.to_owned()));
        updates.slots.leave(0);
        assert_eq!(updates.slots.free(), [0]);
        assert!(updates.switch().await.is_none(), "off, it does not even wait");
        updates.set_enabled(true);
        // `pictor-agent update` is at work: it waits on, and that is no hindrance.
        let turn = updates.releases.store.turn().unwrap();
        assert!(updates.switch().await.is_none());
        assert!(updates.hindrance.lock().unwrap().is_none());
        assert_eq!((updates.slots.free(), stands().0), (vec![0], Phase::Waiting));
        drop(turn);
        // Free to go on, it finds that what lies ready is not what was verified.
        assert!(updates.switch().await.is_none());
        assert_eq!((updates.slots.free(), updates.releases.store.read().stage), (vec![0], Stage::None));
        assert_eq!(stands(), (Phase::Available, "what lies ready is not what was verified".to_owned()));
    }
}
