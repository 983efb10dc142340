//! Why a slot takes no task: a code, and what goes with it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::UnknownWord;
use crate::status::words;
use crate::{Check, DesiredState};

words!(
    /// Why a slot takes no task now. These words never change; one of a newer program is read as `unknown`.
    ReasonCode {
        /// No task of the network waits.
        QueueEmpty = "queue_empty",
        /// This worker failed these waiting tasks: others are asked first, for as long as a lease lasts.
        FailedHere = "failed_here",
        /// These tasks wait and this slot may have them: it gets one when its agent next asks.
        AboutToStart = "about_to_start",
        /// The owner paused the slot, or the whole worker, in the console or through the API.
        PausedByConsole = "paused_by_console",
        /// As above: it finishes its task and takes no other.
        DrainedByConsole = "drained_by_console",
        /// The machine's owner paused it there: the console cannot resume it.
        PausedHere = "paused_here",
        /// As above: it finishes its task and takes no other.
        DrainedHere = "drained_here",
        /// It is wanted again, and its agent hears so with its next heartbeat.
        AboutToResume = "about_to_resume",
        /// `check` found that the slot is of no use: `detail` says what.
        Health = "health",
        /// A test render waits until the slot is free.
        TestRenderWaits = "test_render_waits",
        /// It renders a test scene, which is no task.
        TestRender = "test_render",
        /// The agent is about to install an update, or tries one out.
        Updating = "updating",
        /// The agent takes no task on any slot: `detail` says why.
        Refused = "refused",
        /// What this program has no word for; `detail` has what was said of it.
        Unknown = "unknown",
    }
);

/// Why a slot takes no task now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "Said")]
pub struct SlotReason {
    pub code: ReasonCode,
    /// How many tasks that concerns.
    pub count: Option<u64>,
    /// Which look at the machine found it.
    pub check: Option<Check>,
    /// What was found, for people.
    pub detail: Option<String>,
}

/// A reason as somebody says it who may be newer.
#[derive(Deserialize)]
struct Said {
    code: String,
    count: Option<u64>,
    check: Option<String>,
    detail: Option<String>,
}

impl From<Said> for SlotReason {
    fn from(said: Said) -> SlotReason {
        let Said { code, count, check, detail } = said;
        let check = check.and_then(|check| check.parse().ok());
        match code.parse() {
            Ok(code) => SlotReason { code, count, check, detail },
            Err(_) => {
                SlotReason { code: ReasonCode::Unknown, count, check, detail: Some(detail.unwrap_or(code)) }
            }
        }
    }
}

impl Said {
    /// Agents of version 0.1 say all of it in `code`, in words: `health CHECK: what was found`. To be struck one release later.
    fn of_any_release(self) -> Said {
        let code = match self.code.as_str() {
            "a test render is under way" => ReasonCode::TestRender,
            "an update is about to be installed" => ReasonCode::Updating,
            words => match words.strip_prefix("health ").and_then(|words| words.split_once(": ")) {
                Some((check, found)) => {
                    let (check, detail) = (Some(check.to_owned()), Some(found.to_owned()));
                    return Said { code: ReasonCode::Health.to_string(), check, detail, ..self };
                }
                None => return self,
            },
        };
        Said { code: code.to_string(), ..self }
    }
}

/// The reasons in a heartbeat, of agents before and after reasons had codes.
pub(crate) fn of_any_release<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SlotReason>, D::Error> {
    let said = Vec::<Said>::deserialize(from)?;
    Ok(said.into_iter().map(|said| said.of_any_release().into()).collect())
}

impl SlotReason {
    pub const fn new(code: ReasonCode) -> SlotReason {
        SlotReason { code, count: None, check: None, detail: None }
    }

    /// One that concerns so many tasks.
    pub fn counted(code: ReasonCode, count: u64) -> SlotReason {
        SlotReason { count: Some(count), ..SlotReason::new(code) }
    }

    /// What a check found about the slot.
    pub fn found(check: Check, what: impl Into<String>) -> SlotReason {
        SlotReason { check: Some(check), detail: Some(what.into()), ..SlotReason::new(ReasonCode::Health) }
    }

    /// Why the whole machine takes no task.
    pub fn refused(why: impl Into<String>) -> SlotReason {
        SlotReason { detail: Some(why.into()), ..SlotReason::new(ReasonCode::Refused) }
    }

    /// What the console's pause of this kind is called; nothing for `active`.
    pub fn of_console(desired: DesiredState) -> Option<SlotReason> {
        match desired {
            DesiredState::Active => None,
            DesiredState::Paused => Some(SlotReason::new(ReasonCode::PausedByConsole)),
            DesiredState::Draining => Some(SlotReason::new(ReasonCode::DrainedByConsole)),
        }
    }

    /// What a pause of this kind on the machine itself is called; nothing for `active`.
    pub fn of_machine(desired: DesiredState) -> Option<SlotReason> {
        match desired {
            DesiredState::Active => None,
            DesiredState::Paused => Some(SlotReason::new(ReasonCode::PausedHere)),
            DesiredState::Draining => Some(SlotReason::new(ReasonCode::DrainedHere)),
        }
    }

    pub fn is_of_console(&self) -> bool {
        matches!(self.code, ReasonCode::PausedByConsole | ReasonCode::DrainedByConsole)
    }
}

/// In a few words: what was found, where there is something, or the code's own.
impl fmt::Display for SlotReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.check, &self.detail) {
            (Some(check), Some(detail)) => write!(f, "{}: {detail}", check.title()),
            (_, Some(detail)) => f.write_str(detail),
            (_, None) => f.write_str(&self.code.as_str().replace('_', " ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ReasonCode, SlotReason};
    use crate::{Check, ReportedSlot};

    fn reported(reasons: &serde_json::Value) -> Vec<SlotReason> {
        let slot = json!({"slot": 0, "gpu_uuid": null, "status": "draining", "attempt_id": null, "reasons": reasons});
        serde_json::from_value::<ReportedSlot>(slot).unwrap().reasons
    }

    #[test]
    fn a_heartbeat_is_read_in_the_words_of_the_last_release() {
        let old = json!([
            {"code": "drained_by_console", "count": null},
            {"code": "health gpu_xid: Xid 79: reset it", "count": null},
            {"code": "a test render is under way", "count": null},
            {"code": "an update is about to be installed", "count": null},
            {"code": "it rains", "count": null},
        ]);
        let read = [
            SlotReason::new(ReasonCode::DrainedByConsole),
            SlotReason::found(Check::GpuXid, "Xid 79: reset it"),
            SlotReason::new(ReasonCode::TestRender),
            SlotReason::new(ReasonCode::Updating),
            SlotReason { detail: Some("it rains".to_owned()), ..SlotReason::new(ReasonCode::Unknown) },
        ];
        assert_eq!(reported(&old), read);
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(reported(&again), read, "what is kept of it is read as it was");
    }

    #[test]
    fn words_of_a_newer_agent_are_read() {
        let newer = json!([
            {"code": "on_battery", "count": null, "check": null, "detail": "it runs on its battery"},
            {"code": "health", "check": "fan", "detail": "a fan stands", "advice": "clean it"},
            {"code": "on_battery"},
        ]);
        let said =
            |code, detail: &str| SlotReason { detail: Some(detail.to_owned()), ..SlotReason::new(code) };
        let read = [
            said(ReasonCode::Unknown, "it runs on its battery"),
            said(ReasonCode::Health, "a fan stands"),
            said(ReasonCode::Unknown, "on_battery"),
        ];
        assert_eq!(reported(&newer), read);
    }

    #[test]
    fn it_is_said_in_a_few_words() {
        for (reason, says) in [
            (SlotReason::found(Check::GpuXid, "Xid 79"), "GPU errors: Xid 79"),
            (SlotReason::refused("no sandbox"), "no sandbox"),
            (SlotReason::counted(ReasonCode::FailedHere, 2), "failed here"),
        ] {
            assert_eq!(reason.to_string(), says);
        }
    }
}
