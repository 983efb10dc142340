//! Why a slot does not run, and what an agent's checks are called, in sentences for people.

use std::fmt;

use askama::filters::HtmlSafe;
use pictor_look::text;
use pictor_protocol::{Check, ReasonCode, SlotReason, SlotStatus};

/// One reason of a slot with this status as a sentence.
pub(super) fn sentence(reason: &SlotReason, status: SlotStatus) -> String {
    let is_busy = status == SlotStatus::Busy;
    let count = i64::try_from(reason.count.unwrap_or(0)).unwrap_or(i64::MAX);
    let waiting = text::count(count, "task waits", "tasks wait");
    match reason.code {
        ReasonCode::QueueEmpty => "Ready: no task waits in the network at present.".to_owned(),
        ReasonCode::FailedHere => format!(
            "{waiting}, but none for this worker now: it failed each of them, so that others are asked first."
        ),
        ReasonCode::AboutToStart => format!("{waiting}: it gets one when it next asks, within seconds."),
        ReasonCode::PausedByConsole if is_busy => {
            "Pausing, from the console: it stops with its next heartbeat.".to_owned()
        }
        ReasonCode::PausedByConsole => "Paused from the console.".to_owned(),
        ReasonCode::DrainedByConsole if is_busy => {
            "Draining, from the console: it finishes its task and takes no other.".to_owned()
        }
        ReasonCode::DrainedByConsole => "Drained from the console: it takes no tasks.".to_owned(),
        ReasonCode::PausedHere => {
            "Paused on the machine, where it can be resumed: in its worker app.".to_owned()
        }
        ReasonCode::DrainedHere if is_busy => {
            "Draining, from the machine's worker app: it finishes its task and takes no other.".to_owned()
        }
        ReasonCode::DrainedHere => {
            "Drained on the machine, where it can be resumed: in its worker app.".to_owned()
        }
        ReasonCode::AboutToResume => "Resumes with its next heartbeat.".to_owned(),
        ReasonCode::TestRenderWaits => "Kept for a test render, which begins when it is free.".to_owned(),
        ReasonCode::TestRender => "A test render is under way.".to_owned(),
        ReasonCode::Updating => "An update is about to be installed.".to_owned(),
        // The agent's own words.
        ReasonCode::Health | ReasonCode::Refused | ReasonCode::Unknown => {
            format!("{}.", text::capitalised(reason.to_string().trim_end_matches('.')))
        }
    }
}

/// What a check of an agent looks at.
pub(super) fn check_title(check: &str) -> String {
    let known = check.parse().map(Check::title);
    // An agent newer than this registry.
    known.map_or_else(|_| text::capitalised(&check.replace('_', " ")), str::to_owned)
}

/// An agent's words, in which `commands` stand between backticks.
pub(super) struct Words(String);

pub(super) fn words(text: impl fmt::Display) -> Words {
    Words(text.to_string())
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces: Vec<&str> = self.0.split('`').collect();
        // As many backticks open as close.
        let has_commands = pieces.len() % 2 == 1;
        for (place, piece) in pieces.iter().enumerate() {
            let Ok(piece) = askama::filters::escape(piece, askama::filters::Html);
            match place {
                place if place % 2 == 1 && has_commands => write!(f, "<code>{piece}</code>")?,
                0 => write!(f, "{piece}")?,
                _ if has_commands => write!(f, "{piece}")?,
                _ => write!(f, "`{piece}")?,
            }
        }
        Ok(())
    }
}

impl HtmlSafe for Words {}

#[cfg(test)]
mod tests {
    use pictor_protocol::{Check, ReasonCode, SlotReason, SlotStatus};

    use super::{sentence, words};

    #[test]
    fn every_reason_is_a_sentence() {
        for (reason, says) in [
            (SlotReason::counted(ReasonCode::FailedHere, 1), "1 task waits, but none"),
            (SlotReason::counted(ReasonCode::AboutToStart, 1_200), "1\u{202f}200 tasks wait: it gets one"),
            (SlotReason::new(ReasonCode::PausedByConsole), "Paused from the console."),
            (SlotReason::found(Check::GpuXid, "GPU 0 reported Xid 79"), "GPU errors: GPU 0 reported Xid 79."),
            (SlotReason::refused("there is no Blender: install it."), "There is no Blender: install it."),
            (SlotReason::new(ReasonCode::TestRenderWaits), "Kept for a test render, "),
            (SlotReason::new(ReasonCode::Unknown), "Unknown."),
        ] {
            let sentence = sentence(&reason, SlotStatus::Idle);
            assert!(sentence.starts_with(says), "{sentence}");
        }
    }

    #[test]
    fn commands_stand_out_and_nothing_else_is_markup() {
        for (text, html) in [
            ("run `doctor` <b>", "run <code>doctor</code> &#60;b&#62;"),
            ("`<b>`", "<code>&#60;b&#62;</code>"),
            ("a ` b", "a ` b"),
            ("plain", "plain"),
        ] {
            assert_eq!(words(text).to_string(), html);
        }
    }
}
