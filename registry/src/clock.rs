//! The one place where time and randomness come from, so that tests can bring their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pictor_protocol::UnixMillis;

/// A clock and a source of random bytes, handed to everything that needs either.
#[derive(Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Clock {
        Clock { source: Source::System }
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn fixed(now: UnixMillis) -> Clock {
        Clock { source: Source::Fixed(Arc::new(AtomicI64::new(now.0))) }
    }

    /// Moves a fixed clock; the machine's own cannot be moved.
    pub fn advance(&self, seconds: i64) {
        if let Source::Fixed(millis) = &self.source {
            millis.fetch_add(seconds * 1_000, Ordering::SeqCst);
        }
    }

    pub fn now(&self) -> UnixMillis {
        match &self.source {
            Source::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Fixed(millis) => UnixMillis(millis.load(Ordering::SeqCst)),
        }
    }

    /// Bytes nobody can guess.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can be done then.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }

    /// A new identifier of this moment: `clock.id(WorkerId::from_parts)`.
    pub fn id<T>(&self, from_parts: fn(u64, [u8; 10]) -> T) -> T {
        from_parts(u64::try_from(self.now().0).unwrap_or(0), self.random())
    }
}
