//! What Blender prints in each slot's task, as it comes; the last task's stays until the next one begins.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pictor_protocol::AttemptId;
use serde::Serialize;

/// As much as somebody scrolls through; the registry keeps more.
const LINES_MAX: usize = 2_000;
/// A scene can print without an end.
const LINE_CHARS_MAX: usize = 500;

/// The logs of all slots.
#[derive(Debug)]
pub struct TaskLogs(Vec<Mutex<TaskLog>>);

#[derive(Debug, Default)]
struct TaskLog {
    attempt: Option<AttemptId>,
    /// The number of the first line kept. Numbers go on from task to task.
    first: u64,
    lines: VecDeque<String>,
}

/// Some lines of a slot's log, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lines {
    pub attempt_id: Option<AttemptId>,
    /// The number of the task's first line that is still there.
    pub first: u64,
    /// The number of the first line here.
    pub from: u64,
    pub lines: Vec<String>,
}

impl Lines {
    /// The number that the next line will have.
    pub fn next(&self) -> u64 {
        self.from + self.lines.len() as u64
    }
}

impl TaskLogs {
    pub fn new(slots: usize) -> TaskLogs {
        TaskLogs((0..slots).map(|_| Mutex::default()).collect())
    }

    /// A task begins: the last one's lines go.
    pub fn begin(&self, slot: u32, attempt: AttemptId) {
        if let Some(mut log) = self.lock(slot) {
            log.first += log.lines.len() as u64;
            log.lines.clear();
            log.attempt = Some(attempt);
        }
    }

    pub fn add(&self, slot: u32, line: &str) {
        if let Some(mut log) = self.lock(slot) {
            if log.lines.len() == LINES_MAX {
                log.lines.pop_front();
                log.first += 1;
            }
            log.lines.push_back(line.chars().take(LINE_CHARS_MAX).collect());
        }
    }

    /// What came from this number on, as far as it is kept.
    pub fn from(&self, slot: u32, number: u64) -> Option<Lines> {
        let log = self.lock(slot)?;
        let from = number.clamp(log.first, log.first + log.lines.len() as u64);
        let skipped = usize::try_from(from - log.first).unwrap_or(usize::MAX);
        let lines = log.lines.iter().skip(skipped).cloned().collect();
        Some(Lines { attempt_id: log.attempt, first: log.first, from, lines })
    }

    fn lock(&self, slot: u32) -> Option<MutexGuard<'_, TaskLog>> {
        let log = self.0.get(usize::try_from(slot).ok()?)?;
        // Its worst is a line too many or too few.
        Some(log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_from_task_to_task_and_old_ones_go() {
        let logs = TaskLogs::new(1);
        let attempt = |number| AttemptId::from_parts(number, [0; 10]);
        logs.begin(0, attempt(1));
        logs.add(0, "one");
        logs.add(0, "two");
        let seen = logs.from(0, 1).unwrap();
        assert_eq!((seen.lines.as_slice(), seen.next()), (["two".to_owned()].as_slice(), 2));
        logs.begin(0, attempt(2));
        let seen = logs.from(0, 0).unwrap();
        assert_eq!((seen.attempt_id, seen.first, seen.from), (Some(attempt(2)), 2, 2));
        for number in 0..LINES_MAX + 3 {
            logs.add(0, &number.to_string());
        }
        let seen = logs.from(0, 2).unwrap();
        assert_eq!((seen.from, seen.lines.len(), seen.lines[0].as_str()), (5, LINES_MAX, "3"));
        assert_eq!(logs.from(0, u64::MAX).unwrap().lines, Vec::<String>::new());
        assert!(logs.from(1, 0).is_none());
    }
}
