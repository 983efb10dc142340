//! What an update has come to, as it stands on disk: a pure machine, so that an agent killed at any moment knows at its
//! next start what to do.
//!
//! The installed program is replaced only by one that has run: a new version lies beside it as `….next`, is started from
//! there (a trial), and takes its place once the registry has accepted its heartbeat. Until then whoever starts the agent
//! starts the old one.

use jiff::Timestamp;
use pictor_protocol::Sha256;
use semver::Version;
use serde::{Deserialize, Serialize};

/// How often a version may be tried that neither came up nor failed: a power cut, or a registry that was away.
pub(super) const TRIES_MAX: u32 = 2;
/// Versions given up are remembered; of a registry that offers them without end, the latest.
const GIVEN_UP_MAX: usize = 20;

/// One version's program, as the signed manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    pub version: Version,
    pub size_bytes: u64,
    pub sha256: Sha256,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(super) enum Stage {
    #[default]
    None,
    /// It lies beside the installed program, verified, and has passed its self-check.
    Ready { release: Release, tries: u32, is_asked: bool },
    /// It runs, or ran when the machine stopped.
    Trial { release: Release, tries: u32, is_asked: bool },
}

/// A version that is not tried again, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GivenUp {
    pub version: Version,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// When the newest manifest that was accepted had been made: an older one is an old answer played again.
    pub newest_published_at: Option<Timestamp>,
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
    #[serde(flatten)]
    pub stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A manifest made then was accepted.
    Seen(Timestamp),
    /// Its program is in place for a trial; `is_asked`: its owner wanted it, whatever the switch says.
    Placed { release: Release, is_asked: bool },
    /// The program in place is no longer what was verified.
    Dropped,
    /// A version is no good: it failed its self-check, or ended by itself during its trial.
    Failed { version: Version, reason: String },
    /// Its trial is about to begin.
    Begun,
    /// It came up, and has been put in the place of the installed program.
    Proven,
    /// It ran, but the registry accepted no heartbeat of it.
    Unheard,
    /// It was told to stop before that.
    Stopped,
    /// The installed program has started, and is of this version.
    Started(Version),
}

/// An event that cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the update's state does not allow this: another program changes it too")]
pub(super) struct Refused;

impl State {
    pub(super) fn is_given_up(&self, version: &Version) -> Option<&GivenUp> {
        self.given_up.iter().find(|given_up| given_up.version == *version)
    }

    pub(super) fn apply(mut self, event: Event) -> Result<State, Refused> {
        self.stage = match (self.stage, event) {
            (stage, Event::Seen(published_at)) => {
                self.newest_published_at = self.newest_published_at.max(Some(published_at));
                stage
            }
            (Stage::None | Stage::Ready { .. }, Event::Placed { release, .. })
                if self.given_up.iter().any(|given_up| given_up.version == release.version) =>
            {
                return Err(Refused);
            }
            // The same again keeps count of its tries, and is asked for if it ever was.
            (Stage::Ready { release: old, tries, is_asked: was }, Event::Placed { release, is_asked })
                if old.version == release.version =>
            {
                Stage::Ready { release, tries, is_asked: was || is_asked }
            }
            (Stage::None | Stage::Ready { .. }, Event::Placed { release, is_asked }) => {
                Stage::Ready { release, tries: 0, is_asked }
            }
            (Stage::Ready { .. }, Event::Dropped) => Stage::None,
            (Stage::Trial { release, .. }, Event::Failed { version, reason })
                if release.version == version =>
            {
                give_up(&mut self.given_up, version, reason);
                Stage::None
            }
            (stage @ (Stage::None | Stage::Ready { .. }), Event::Failed { version, reason }) => {
                give_up(&mut self.given_up, version.clone(), reason);
                match stage {
                    Stage::Ready { release, .. } if release.version == version => Stage::None,
                    other => other,
                }
            }
            (Stage::Ready { release, tries, is_asked }, Event::Begun) if tries < TRIES_MAX => {
                Stage::Trial { release, tries: tries + 1, is_asked }
            }
            (Stage::Trial { .. }, Event::Proven) => Stage::None,
            (Stage::Trial { release, tries, is_asked }, Event::Unheard) => {
                let reason = "it ran, and the registry did not hear from it";
                again(&mut self.given_up, release, tries, is_asked, reason)
            }
            (Stage::Trial { release, tries, is_asked }, Event::Stopped) => {
                Stage::Ready { release, tries: tries.saturating_sub(1), is_asked }
            }
            // A trial that got its place was killed before it could say so, or somebody put the version there by hand.
            (Stage::Ready { release, .. } | Stage::Trial { release, .. }, Event::Started(version))
                if release.version.cmp_precedence(&version).is_le() =>
            {
                Stage::None
            }
            (Stage::Trial { release, tries, is_asked }, Event::Started(_)) => {
                let reason = "it ended before it was seen to work";
                again(&mut self.given_up, release, tries, is_asked, reason)
            }
            (stage, Event::Started(_)) => stage,
            _ => return Err(Refused),
        };
        Ok(self)
    }
}

/// Another try, or none.
fn again(given_up: &mut Vec<GivenUp>, release: Release, tries: u32, is_asked: bool, reason: &str) -> Stage {
    if tries < TRIES_MAX {
        return Stage::Ready { release, tries, is_asked };
    }
    give_up(given_up, release.version, reason.to_owned());
    Stage::None
}

fn give_up(given_up: &mut Vec<GivenUp>, version: Version, reason: String) {
    given_up.retain(|other| other.version != version);
    given_up.push(GivenUp { version, reason });
    let too_many = given_up.len().saturating_sub(GIVEN_UP_MAX);
    given_up.drain(..too_many);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(minor: u64) -> Version {
        Version::new(0, minor, 0)
    }

    fn release(minor: u64) -> Release {
        Release { version: version(minor), size_bytes: 1, sha256: [u8::try_from(minor).unwrap(); 32].into() }
    }

    fn ready(minor: u64, tries: u32) -> Stage {
        Stage::Ready { release: release(minor), tries, is_asked: false }
    }

    fn trial(minor: u64, tries: u32) -> Stage {
        Stage::Trial { release: release(minor), tries, is_asked: false }
    }

    fn placed(minor: u64) -> Event {
        Event::Placed { release: release(minor), is_asked: false }
    }

    fn failed(minor: u64) -> Event {
        Event::Failed { version: version(minor), reason: "no good".to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The version that runs is 1, the new one 2, and 3 is a still newer one.
    #[test]
    fn every_event_in_every_stage() {
        use Event::{Begun, Dropped, Proven, Seen, Started, Stopped, Unheard};
        let none = || Some((Stage::None, false));
        let to = |stage| Some((stage, false));
        // (stage, event, the stage after it and whether version 2 is given up; none: refused).
        type After = Option<(Stage, bool)>;
        let table: Vec<(Stage, Event, After)> = vec![
            (Stage::None, Seen(at(9)), none()),
            (Stage::None, placed(2), to(ready(2, 0))),
            (Stage::None, Dropped, None),
            (Stage::None, failed(2), Some((Stage::None, true))),
            (Stage::None, Begun, None),
            (Stage::None, Proven, None),
            (Stage::None, Unheard, None),
            (Stage::None, Stopped, None),
            (Stage::None, Started(version(1)), none()),
            (ready(2, 1), Seen(at(9)), to(ready(2, 1))),
            (ready(2, 1), placed(2), to(ready(2, 1))),
            (ready(2, 1), placed(3), to(ready(3, 0))),
            (ready(2, 1), Dropped, none()),
            (ready(2, 1), failed(2), Some((Stage::None, true))),
            (ready(3, 1), failed(2), Some((ready(3, 1), true))),
            (ready(2, 1), Begun, to(trial(2, 2))),
            (ready(2, TRIES_MAX), Begun, None),
            (ready(2, 1), Proven, None),
            (ready(2, 1), Unheard, None),
            (ready(2, 1), Stopped, None),
            (ready(2, 1), Started(version(1)), to(ready(2, 1))),
            (ready(2, 1), Started(version(2)), none()),
            (ready(2, 1), Started(version(3)), none()),
            (trial(2, 1), Seen(at(9)), to(trial(2, 1))),
            (trial(2, 1), placed(3), None),
            (trial(2, 1), Dropped, None),
            (trial(2, 1), failed(2), Some((Stage::None, true))),
            (trial(2, 1), failed(3), None),
            (trial(2, 1), Begun, None),
            (trial(2, 1), Proven, none()),
            (trial(2, 1), Unheard, to(ready(2, 1))),
            (trial(2, 2), Unheard, Some((Stage::None, true))),
            (trial(2, 2), Stopped, to(ready(2, 1))),
            (trial(2, 1), Started(version(1)), to(ready(2, 1))),
            (trial(2, 2), Started(version(1)), Some((Stage::None, true))),
            (trial(2, 2), Started(version(2)), none()),
        ];
        for (stage, event, expected) in table {
            let after = State { stage: stage.clone(), ..State::default() }.apply(event.clone());
            let after =
                after.ok().map(|after| (after.stage.clone(), after.is_given_up(&version(2)).is_some()));
            assert_eq!(after, expected, "{event:?} in {stage:?}");
        }
    }

    #[test]
    fn what_is_given_up_is_not_tried_again_and_the_newest_manifest_stays_the_newest() {
        let state = State::default().apply(Event::Seen(at(9))).unwrap().apply(Event::Seen(at(5))).unwrap();
        assert_eq!(state.newest_published_at, Some(at(9)));
        let state = state.apply(failed(2)).unwrap();
        assert_eq!(state.clone().apply(placed(2)), Err(Refused));
        assert!(state.clone().apply(placed(3)).is_ok());
        let full = (0..100).fold(state, |state, minor| state.apply(failed(minor)).unwrap());
        assert_eq!(full.given_up.len(), GIVEN_UP_MAX);
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), full);
    }

    /// The programs on disk and the state beside them, while the agent does what it does and is killed after any step.
    #[derive(Debug, Clone, PartialEq)]
    struct Disk {
        installed: u64,
        next: Option<u64>,
        state: State,
    }

    /// How the new version behaves, once it is started.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Newcomer {
        Works,
        Crashes,
        IsUnheard,
    }

    impl Disk {
        fn apply(&mut self, event: Event) -> bool {
            match self.state.clone().apply(event) {
                Ok(state) => {
                    self.state = state;
                    true
                }
                Err(Refused) => false,
            }
        }
    }

    /// One life of the machine: from a start until nothing is left to do, or a kill after `steps` writes to the disk.
    /// Returns whether it came to rest.
    fn live(disk: &mut Disk, newcomer: Newcomer, steps: usize, trials: &mut usize) -> bool {
        let mut left = steps;
        let mut killed = || {
            let is_killed = left == 0;
            left = left.saturating_sub(1);
            is_killed
        };
        macro_rules! write {
            ($change:expr) => {
                if killed() {
                    return false;
                }
                $change;
            };
        }
        loop {
            // Whoever starts the agent starts the installed one; one that is not proven must never stand there.
            assert!(disk.installed == 1 || newcomer == Newcomer::Works, "{disk:?}");
            write!(assert!(disk.apply(Event::Started(version(disk.installed)))));
            if matches!(disk.state.stage, Stage::None) {
                let is_wanted = disk.installed == 1 && disk.state.is_given_up(&version(2)).is_none();
                if !is_wanted {
                    return true;
                }
                write!(disk.next = Some(2));
                write!(assert!(disk.apply(placed(2))));
            }
            assert_eq!(disk.next, Some(2), "a trial needs its program: {disk:?}");
            write!(assert!(disk.apply(Event::Begun)));
            *trials += 1;
            match newcomer {
                Newcomer::Works => {
                    write!({
                        disk.installed = 2;
                        disk.next = None;
                    });
                    write!(assert!(disk.apply(Event::Proven)));
                }
                Newcomer::Crashes => {}
                Newcomer::IsUnheard => {
                    write!(assert!(disk.apply(Event::Unheard)));
                }
            }
        }
    }

    #[test]
    fn killed_at_every_step_it_comes_to_rest() {
        for newcomer in [Newcomer::Works, Newcomer::Crashes, Newcomer::IsUnheard] {
            for (first, second) in (0..12).flat_map(|first| (0..12).map(move |second| (first, second))) {
                let mut disk = Disk { installed: 1, next: None, state: State::default() };
                let mut trials = 0;
                for steps in [first, second, usize::MAX] {
                    live(&mut disk, newcomer, steps, &mut trials);
                }
                let case = format!("{newcomer:?} killed after {first} and {second}: {disk:?}");
                assert_eq!(disk.state.stage, Stage::None, "{case}");
                assert!(trials <= usize::try_from(TRIES_MAX).unwrap(), "{trials} trials, {case}");
                let given_up = disk.state.is_given_up(&version(2)).is_some();
                let works = newcomer == Newcomer::Works;
                // Killed in both its trials, a good version is given up too: nobody can tell it from a bad one.
                assert!(disk.installed == 2 || given_up, "{case}");
                assert!(works || disk.installed == 1, "{case}");
                if works && (first, second) == (0, 0) {
                    assert_eq!((disk.installed, given_up), (2, false), "{case}");
                }
            }
        }
    }
}
