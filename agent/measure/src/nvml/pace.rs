//! How often GPUs are measured: seldom while they have nothing to do, so that they can sleep deeply.

use std::time::{Duration, Instant};

/// Between two tasks, measuring goes on as before.
const IDLE_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) idle_interval: Duration,
    idle_since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(interval: Duration, idle_interval: Duration) -> Pace {
        Pace { interval, idle_interval: idle_interval.max(interval), idle_since: None }
    }

    /// What the GPUs did just now.
    pub(super) fn saw(&mut self, is_busy: bool, now: Instant) {
        self.idle_since = match is_busy {
            true => None,
            false => self.idle_since.or(Some(now)),
        };
    }

    /// Asked again while waiting: a task that starts ends a long interval.
    pub(super) fn interval(&self, has_task: bool, now: Instant) -> Duration {
        match self.idle_since {
            Some(since) if !has_task && now - since >= IDLE_AFTER => self.idle_interval,
            _ => self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_once_idle_and_at_once_fast_again() {
        let (second, ten) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut pace = Pace::new(second, ten);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        pace.saw(true, at(0));
        pace.saw(false, at(1));
        pace.saw(false, at(60));
        assert_eq!(pace.interval(false, at(60)), second, "idle for 59 s");
        assert_eq!(pace.interval(false, at(61)), ten);
        assert_eq!(pace.interval(true, at(61)), second, "a task has started");
        pace.saw(true, at(62));
        pace.saw(false, at(63));
        assert_eq!(pace.interval(false, at(64)), second, "idle for 1 s");
        assert_eq!(Pace::new(ten, second).idle_interval, ten, "never faster when idle");
    }
}
