//! When the owner's program runs on one slot. No clock, no I/O.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// A program that ran this long was no failure, whatever ended it.
const STEADY: Duration = Duration::from_secs(60);
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
const BACKOFF_LONGEST: Duration = Duration::from_secs(600);

/// Where a slot's program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no GPU to run it on.
    Unsupported,
    /// The owner has not switched it on.
    Off,
    /// For the slot to be idle, and long enough.
    Waiting,
    Running,
    /// Asked to end; the slot's task waits for it.
    Stopping,
    /// It ended by itself, and is not started again at once.
    BackingOff,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Start,
    Stop,
}

/// What a look at the slot found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// How long the slot is to be idle before it starts; `None` while it is not to run.
    pub(super) after: Option<Duration>,
    /// Whether the slot would take a task, and has none.
    pub(super) is_idle: bool,
    /// Whether what runs is no longer what the owner wants.
    pub(super) is_other: bool,
}

#[derive(Debug, Clone, Copy)]
enum Process {
    None,
    Up { since: Instant },
    Ending { up_since: Instant },
}

#[derive(Debug)]
pub(super) struct Machine {
    process: Process,
    idle_since: Option<Instant>,
    after: Option<Duration>,
    /// How often it ended by itself, one time after the other.
    failures: u32,
    not_before: Option<Instant>,
    ran: Duration,
    starts: u64,
    last_exit: Option<String>,
    /// What is shown, and since when.
    shown: (State, Instant),
}

/// What the machine knows, at one moment.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) in_state: Duration,
    pub(super) ran: Duration,
    pub(super) starts: u64,
    pub(super) failures: u32,
    pub(super) last_exit: Option<String>,
    /// Until it may start.
    pub(super) left: Option<Duration>,
}

impl Machine {
    pub(super) fn new(now: Instant) -> Machine {
        Machine {
            process: Process::None,
            idle_since: None,
            after: None,
            failures: 0,
            not_before: None,
            ran: Duration::ZERO,
            starts: 0,
            last_exit: None,
            shown: (State::Off, now),
        }
    }

    pub(super) fn look(&mut self, look: Look, now: Instant) -> Option<Order> {
        self.after = look.after;
        // Nobody looks at the slot while it is switched off, so that time does not count.
        let counts = look.is_idle && look.after.is_some();
        self.idle_since = counts.then(|| self.idle_since.unwrap_or(now));
        if look.after.is_none() || look.is_other {
            // Switched off, or another command: what the old one did is no reason to wait.
            (self.failures, self.not_before) = (0, None);
        }
        let is_wanted = look.after.is_some() && look.is_idle && !look.is_other;
        let order = match self.process {
            Process::Up { since } if !is_wanted => {
                self.process = Process::Ending { up_since: since };
                if now.saturating_duration_since(since) >= STEADY {
                    self.failures = 0;
                }
                Some(Order::Stop)
            }
            Process::None if is_wanted && self.left(now).is_some_and(|left| left.is_zero()) => {
                self.process = Process::Up { since: now };
                self.starts += 1;
                Some(Order::Start)
            }
            _ => None,
        };
        self.show(now);
        order
    }

    /// The program is gone, or could not be started; said as its owner reads it.
    pub(super) fn ended(&mut self, exit: String, now: Instant) {
        match self.process {
            Process::None => return,
            Process::Ending { up_since } => self.ran += now.saturating_duration_since(up_since),
            Process::Up { since } => {
                let ran = now.saturating_duration_since(since);
                self.ran += ran;
                self.failures = if ran >= STEADY { 1 } else { self.failures.saturating_add(1) };
                let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1));
                let delay = BACKOFF_FIRST.saturating_mul(doubled).min(BACKOFF_LONGEST);
                self.not_before = Some(now + delay);
            }
        }
        self.process = Process::None;
        self.last_exit = Some(exit);
        self.show(now);
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let (state, since) = self.shown;
        let running = match self.process {
            Process::None => Duration::ZERO,
            Process::Up { since } | Process::Ending { up_since: since } => {
                now.saturating_duration_since(since)
            }
        };
        Standing {
            state,
            in_state: now.saturating_duration_since(since),
            ran: self.ran + running,
            starts: self.starts,
            failures: self.failures,
            last_exit: self.last_exit.clone(),
            left: self.left(now).filter(|_| matches!(state, State::Waiting | State::BackingOff)),
        }
    }

    /// How long until it may start, should the slot stay idle.
    fn left(&self, now: Instant) -> Option<Duration> {
        let idle_long_enough = self.idle_since? + self.after?;
        let at = idle_long_enough.max(self.not_before.unwrap_or(idle_long_enough));
        Some(at.saturating_duration_since(now))
    }

    fn show(&mut self, now: Instant) {
        let state = match self.process {
            Process::Up { .. } => State::Running,
            Process::Ending { .. } => State::Stopping,
            Process::None if self.after.is_none() => State::Off,
            Process::None if self.idle_since.is_some() && self.not_before.is_some_and(|at| at > now) => {
                State::BackingOff
            }
            Process::None => State::Waiting,
        };
        if self.shown.0 != state {
            self.shown = (state, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Look = Look { after: Some(Duration::from_secs(10)), is_idle: true, is_other: false };
    const BUSY: Look = Look { is_idle: false, ..ON };
    const OFF: Look = Look { after: None, ..ON };

    struct Clock {
        machine: Machine,
        now: Instant,
    }

    impl Clock {
        fn new() -> Clock {
            let now = Instant::now();
            Clock { machine: Machine::new(now), now }
        }

        /// What a look some seconds later comes to.
        fn after(&mut self, seconds: u64, look: Look) -> (Option<Order>, State) {
            self.now += Duration::from_secs(seconds);
            let order = self.machine.look(look, self.now);
            (order, self.machine.standing(self.now).state)
        }

        fn ended(&mut self) -> State {
            self.machine.ended("exit code 1".to_owned(), self.now);
            self.machine.standing(self.now).state
        }

        fn standing(&self) -> Standing {
            self.machine.standing(self.now)
        }
    }

    #[test]
    fn runs_while_the_slot_is_idle_long_enough() {
        let mut clock = Clock::new();
        assert_eq!(clock.after(0, OFF), (None, State::Off));
        assert_eq!(clock.after(100, ON), (None, State::Waiting), "it was not looked at before");
        assert_eq!(clock.standing().left, Some(Duration::from_secs(10)));
        assert_eq!(clock.after(9, ON), (None, State::Waiting));
        assert_eq!(clock.after(0, BUSY), (None, State::Waiting), "a task in between counts");
        assert_eq!(clock.standing().left, None);
        assert_eq!(clock.after(1, ON), (None, State::Waiting));
        assert_eq!(clock.after(10, ON), (Some(Order::Start), State::Running));
        assert_eq!(clock.after(5, ON), (None, State::Running));
        assert_eq!(clock.after(1, BUSY), (Some(Order::Stop), State::Stopping));
        assert_eq!(clock.after(1, BUSY), (None, State::Stopping), "it is told once");
        assert_eq!(clock.after(0, ON), (None, State::Stopping), "and not started beside itself");
        assert_eq!(clock.ended(), State::Waiting);
        assert_eq!(clock.standing().ran, Duration::from_secs(7));
        assert_eq!(clock.after(10, ON), (Some(Order::Start), State::Running));
        assert_eq!((clock.standing().starts, clock.standing().failures), (2, 0));
        assert_eq!(clock.after(1, OFF), (Some(Order::Stop), State::Stopping));
        assert_eq!(clock.ended(), State::Off);
        assert_eq!(clock.ended(), State::Off, "an end that nobody waits for is none");
    }

    #[test]
    fn what_ends_by_itself_is_started_ever_later() {
        let mut clock = Clock::new();
        clock.after(0, ON);
        assert_eq!(clock.after(10, ON).0, Some(Order::Start));
        for (failures, delay) in (1..).zip([5, 10, 20, 40, 80, 160, 320, 600, 600]) {
            assert_eq!(clock.ended(), State::BackingOff);
            let standing = clock.standing();
            assert_eq!((standing.failures, standing.left), (failures, Some(Duration::from_secs(delay))));
            assert_eq!(clock.after(delay - 1, ON), (None, State::BackingOff));
            assert_eq!(clock.after(1, ON), (Some(Order::Start), State::Running));
        }
        clock.now += STEADY;
        clock.ended();
        let standing = clock.standing();
        assert_eq!((standing.failures, standing.left), (1, Some(BACKOFF_FIRST)), "it had run well");
        assert_eq!(standing.last_exit.as_deref(), Some("exit code 1"));
    }

    #[test]
    fn a_task_does_not_forgive_a_crash_and_a_new_command_does() {
        let mut clock = Clock::new();
        clock.after(0, ON);
        clock.after(10, ON);
        clock.ended();
        assert_eq!(clock.after(1, BUSY), (None, State::Waiting));
        clock.after(20, ON);
        assert_eq!(clock.after(10, ON).0, Some(Order::Start));
        clock.ended();
        assert_eq!(clock.standing().left, Some(Duration::from_secs(10)));
        let other = Look { is_other: true, ..ON };
        assert_eq!(clock.after(0, other), (None, State::Waiting));
        assert_eq!(clock.after(0, ON), (Some(Order::Start), State::Running));
        assert_eq!(clock.after(1, other), (Some(Order::Stop), State::Stopping), "the old one ends first");
        clock.ended();
        assert_eq!(clock.after(0, ON), (Some(Order::Start), State::Running));
        assert_eq!(clock.standing().failures, 0);
    }

    #[test]
    fn switched_off_and_on_it_starts_anew() {
        let mut clock = Clock::new();
        clock.after(0, ON);
        clock.after(10, ON);
        clock.ended();
        assert_eq!(clock.after(0, OFF), (None, State::Off));
        assert_eq!(clock.after(1, ON), (None, State::Waiting), "its crash is forgiven");
        assert_eq!(clock.after(10, ON), (Some(Order::Start), State::Running));
    }
}
