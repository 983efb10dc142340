//! Why a slot does not run, and what an agent's checks are called, in sentences for people.

use std::fmt;

use askama::filters::HtmlSafe;
use pictor_look::text;
use pictor_protocol::{Check, SlotReason, SlotStatus};

/// One reason of a slot with this status as a sentence.
pub(super) fn sentence(reason: &SlotReason, status: SlotStatus) -> String {
    let is_busy = status == SlotStatus::Busy;
    let count = i64::try_from(reason.count.unwrap_or(0)).unwrap_or(i64::MAX);
    let waiting = text::count(count, "task waits", "tasks wait");
    match reason.code.as_str() {
        SlotReason::QUEUE_EMPTY => "Ready: no task waits in the network at present.".to_owned(),
        SlotReason::FAILED_HERE => format!(
            "{waiting}, but none for this worker now: it failed each of them, so that others are asked first."
        ),
        SlotReason::ABOUT_TO_START => format!("{waiting}: it gets one when it next asks, within seconds."),
        SlotReason::PAUSED_BY_CONSOLE if is_busy => {
            "Pausing, from the console: it stops with its next heartbeat.".to_owned()
        }
        SlotReason::PAUSED_BY_CONSOLE => "Paused from the console.".to_owned(),
        SlotReason::DRAINED_BY_CONSOLE if is_busy => {
            "Draining, from the console: it finishes its task and takes no other.".to_owned()
        }
        SlotReason::DRAINED_BY_CONSOLE => "Drained from the console: it takes no tasks.".to_owned(),
        SlotReason::PAUSED_HERE => {
            "Paused on the machine, where it can be resumed: in its worker app.".to_owned()
        }
        SlotReason::DRAINED_HERE if is_busy => {
            "Draining, from the machine's worker app: it finishes its task and takes no other.".to_owned()
        }
        SlotReason::DRAINED_HERE => {
            "Drained on the machine, where it can be resumed: in its worker app.".to_owned()
        }
        SlotReason::ABOUT_TO_RESUME => "Resumes with its next heartbeat.".to_owned(),
        // The agent's own words.
        words => match words.strip_prefix("health ").and_then(|words| words.split_once(": ")) {
            Some((check, found)) => format!("{}: {found}.", check_title(check)),
            None => format!("{}.", capitalised(words.trim_end_matches('.'))),
        },
    }
}

/// What a check of an agent looks at.
pub(super) fn check_title(check: &str) -> String {
    let known = check.parse().map(Check::title);
    // An agent newer than this registry.
    known.map_or_else(|_| capitalised(&check.replace('_', " ")), str::to_owned)
}

/// A text as a sentence begins.
pub(super) fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
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
    use pictor_protocol::{SlotReason, SlotStatus};

    use super::{sentence, words};

    #[test]
    fn every_reason_is_a_sentence() {
        for (code, count, says) in [
            (SlotReason::FAILED_HERE, Some(1), "1 task waits, but none"),
            (SlotReason::ABOUT_TO_START, Some(1_200), "1\u{202f}200 tasks wait: it gets one"),
            (SlotReason::PAUSED_BY_CONSOLE, None, "Paused from the console."),
            ("health gpu_xid: GPU 0 reported Xid 79", None, "GPU errors: GPU 0 reported Xid 79."),
            ("there is no Blender: install it", None, "There is no Blender: install it."),
        ] {
            let sentence = sentence(&SlotReason::new(code, count), SlotStatus::Idle);
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
