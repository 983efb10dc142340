//! What is wrong with a worker: seen, begun, over. Pure, so that every step can be tested.

use pictor_protocol::{Check, NotificationEvent, OfflineReason, UnixMillis, WorkerStatus};

use crate::workers::Standing;

/// What looks well for so long is over; until then it may come back without another message.
pub(super) const CLEAR_MILLIS: i64 = 60_000;
/// How many checks of one worker anybody is told of at once.
const CHECKS_MAX: usize = 8;
/// The checks that keep a whole machine from taking tasks.
const MACHINE_CHECKS: &[Check] = &[Check::Sandbox, Check::Blender, Check::Config, Check::Data, Check::Disk];

/// How things look now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Holds,
    Clear,
    /// The worker is offline, and nothing is heard of it.
    Unknown,
    /// The worker was deleted.
    Gone,
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Clearing { since: UnixMillis },
}

/// What has to be written, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Stay,
    /// A message goes out.
    Begin,
    Clear,
    /// It came back before it was over.
    Reopen,
    /// A message goes out.
    End,
    /// It ends, and nobody is told.
    Drop,
}

pub(super) fn step(stage: Option<Stage>, sight: Sight, now: UnixMillis) -> Step {
    match (stage, sight) {
        (None, Sight::Holds) => Step::Begin,
        (None, _) | (Some(_), Sight::Unknown) | (Some(Stage::Open), Sight::Holds) => Step::Stay,
        (Some(_), Sight::Gone) => Step::Drop,
        (Some(Stage::Clearing { .. }), Sight::Holds) => Step::Reopen,
        (Some(Stage::Open), Sight::Clear) => Step::Clear,
        (Some(Stage::Clearing { since }), Sight::Clear) => {
            if now.0 - since.0 >= CLEAR_MILLIS {
                Step::End
            } else {
                Step::Stay
            }
        }
    }
}

/// Something wrong with a worker now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) event: NotificationEvent,
    /// Which check; empty where an event has only one.
    pub(super) subject: String,
    /// In its agent's words.
    pub(super) detail: String,
}

/// What a worker's standing shows; failures of tasks are read from its history.
pub(super) fn troubles(standing: &Standing) -> Vec<Trouble> {
    if standing.offline_reason == Some(OfflineReason::Lost) {
        let event = NotificationEvent::WorkerLost;
        return vec![Trouble { event, subject: String::new(), detail: String::new() }];
    }
    let Some(seen) = standing.seen.as_ref().filter(|_| standing.status != WorkerStatus::Offline) else {
        return Vec::new();
    };
    let report = &seen.report;
    let finding = |check: Check| report.health.iter().find(|finding| finding.check == check.as_str());
    let mut found = Vec::new();
    if let Some(lost) = finding(Check::Gpus) {
        let (event, detail) = (NotificationEvent::GpuLost, format!("{}: {}", lost.found, lost.advice));
        found.push(Trouble { event, subject: String::new(), detail });
    }
    // What holds one of its slots, and what keeps all of it from tasks.
    let held = report.slots.iter().flat_map(|slot| &slot.reasons);
    let held = held.filter_map(|reason| Some((reason.check?, reason.detail.as_deref()?)));
    let whole = MACHINE_CHECKS.iter().filter(|_| !report.accepts_tasks);
    let whole = whole.filter_map(|check| Some((*check, finding(*check)?.found.as_str())));
    for (check, what) in held.chain(whole) {
        if check == Check::Gpus || found.iter().any(|other: &Trouble| other.subject == check.as_str()) {
            continue;
        }
        let detail = finding(check)
            .map_or_else(|| what.to_owned(), |finding| format!("{}: {}", finding.found, finding.advice));
        found.push(Trouble { event: NotificationEvent::HealthFailed, subject: check.to_string(), detail });
    }
    found.truncate(CHECKS_MAX);
    found
}

/// How an incident that is open looks when none of the troubles is it.
pub(super) fn otherwise(event: NotificationEvent, standing: &Standing) -> Sight {
    match event {
        NotificationEvent::GpuLost | NotificationEvent::HealthFailed
            if standing.status == WorkerStatus::Offline =>
        {
            Sight::Unknown
        }
        _ => Sight::Clear,
    }
}

#[cfg(test)]
mod tests {
    use pictor_protocol::UnixMillis;

    use super::{CLEAR_MILLIS, Sight, Stage, Step, step};

    #[test]
    fn every_stage_meets_every_sight() {
        let since = UnixMillis(1_000);
        let clearing = Some(Stage::Clearing { since });
        let soon = UnixMillis(since.0 + CLEAR_MILLIS - 1);
        let late = UnixMillis(since.0 + CLEAR_MILLIS);
        for (stage, sight, now, expected) in [
            (None, Sight::Holds, soon, Step::Begin),
            (None, Sight::Clear, soon, Step::Stay),
            (None, Sight::Unknown, soon, Step::Stay),
            (None, Sight::Gone, soon, Step::Stay),
            (Some(Stage::Open), Sight::Holds, soon, Step::Stay),
            (Some(Stage::Open), Sight::Clear, soon, Step::Clear),
            (Some(Stage::Open), Sight::Unknown, soon, Step::Stay),
            (Some(Stage::Open), Sight::Gone, soon, Step::Drop),
            (clearing, Sight::Holds, soon, Step::Reopen),
            (clearing, Sight::Holds, late, Step::Reopen),
            (clearing, Sight::Clear, soon, Step::Stay),
            (clearing, Sight::Clear, late, Step::End),
            (clearing, Sight::Unknown, late, Step::Stay),
            (clearing, Sight::Gone, soon, Step::Drop),
        ] {
            assert_eq!(step(stage, sight, now), expected, "{stage:?} {sight:?}");
        }
    }
}
