//! Whether a slot may be given work, by what is known of its worker and of itself. Nothing else decides it here; which
//! of the waiting tasks it may then have is the queue's.

use pictor_protocol::DesiredState;

/// What the registry knows of a slot that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its agent's last heartbeat says so.
    pub accepts_tasks: bool,
    /// The stricter of what is wanted of the worker and of the slot.
    pub desired: DesiredState,
    /// A test render runs on it.
    pub renders_test: bool,
}

/// Why a slot is given no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    ByAgent,
    ByPause,
    ByDrain,
    ByTestRender,
}

/// The first that keeps it from work is the reason.
pub fn may_work(facts: Facts) -> Result<(), Kept> {
    match facts {
        Facts { accepts_tasks: false, .. } => Err(Kept::ByAgent),
        Facts { desired: DesiredState::Paused, .. } => Err(Kept::ByPause),
        Facts { desired: DesiredState::Draining, .. } => Err(Kept::ByDrain),
        Facts { renders_test: true, .. } => Err(Kept::ByTestRender),
        Facts { accepts_tasks: true, desired: DesiredState::Active, renders_test: false } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::DesiredState::{self, Active, Draining, Paused};

    use super::{Facts, Kept, may_work};

    #[test]
    fn only_what_nothing_keeps_may_work() {
        for desired in DesiredState::ALL.iter().copied() {
            for accepts_tasks in [false, true] {
                for renders_test in [false, true] {
                    let expected = match (accepts_tasks, desired, renders_test) {
                        (true, Active, false) => Ok(()),
                        (false, _, _) => Err(Kept::ByAgent),
                        (true, Paused, _) => Err(Kept::ByPause),
                        (true, Draining, _) => Err(Kept::ByDrain),
                        (true, Active, true) => Err(Kept::ByTestRender),
                    };
                    assert_eq!(may_work(Facts { accepts_tasks, desired, renders_test }), expected);
                }
            }
        }
    }
}
