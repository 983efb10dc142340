//! Waiting times between tries: doubling, with jitter so that a network's workers do not return all at once.

use std::time::Duration;

use uuid::Uuid;

/// Grows from a first delay to a longest one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait before the next try: between half the current delay and all of it.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.longest);
        delay / 2 + (delay / 2).mul_f64(random_ratio())
    }

    /// It worked: the next delay is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Between two thirds of an interval and all of it.
pub fn shortened(interval: Duration) -> Duration {
    interval.mul_f64(2.0 / 3.0) + (interval / 3).mul_f64(random_ratio())
}

/// Evenly from 0 to 1.
fn random_ratio() -> f64 {
    let [byte, ..] = Uuid::new_v4().into_bytes();
    f64::from(byte) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_longest_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for whole in [1, 2, 4, 8, 8] {
            let delay = backoff.delay().as_secs_f64();
            assert!((f64::from(whole) / 2.0..=f64::from(whole)).contains(&delay), "{delay} of {whole}");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_secs(1));
    }
}
