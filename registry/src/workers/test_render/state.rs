//! Where one slot's test render can go from where it stands.

use pictor_protocol::TestRenderStatus;

/// What an agent says of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestRenderEvent {
    /// It renders; said again, it still does.
    Runs,
    Completed,
    Failed,
}

/// It has ended already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A slot's test render ends once. Its agent may end it without ever having said that it runs.
pub fn apply(status: TestRenderStatus, event: TestRenderEvent) -> Result<TestRenderStatus, Refused> {
    use TestRenderStatus::{Completed, Failed, Pending, Running};
    match (status, event) {
        (Pending | Running, TestRenderEvent::Runs) => Ok(Running),
        (Pending | Running, TestRenderEvent::Completed) => Ok(Completed),
        (Pending | Running, TestRenderEvent::Failed) => Ok(Failed),
        (Completed | Failed, _) => Err(Refused),
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::TestRenderStatus::{self, Completed, Failed, Pending, Running};

    use super::{Refused, TestRenderEvent, apply};

    #[test]
    fn every_state_meets_every_event() {
        let events = [TestRenderEvent::Runs, TestRenderEvent::Completed, TestRenderEvent::Failed];
        let allowed = [(Pending, [Running, Completed, Failed]), (Running, [Running, Completed, Failed])];
        for status in TestRenderStatus::ALL {
            let targets = allowed.iter().find(|(from, _)| from == status).map(|(_, to)| to);
            for (at, event) in events.into_iter().enumerate() {
                let expected = targets.map_or(Err(Refused), |to| Ok(to[at]));
                assert_eq!(apply(*status, event), expected, "{status} {event:?}");
            }
        }
    }
}
