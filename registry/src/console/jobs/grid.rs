//! A job's frames as a grid of at most about a thousand cells, each said in words too.

use std::collections::BTreeMap;

use pictor_protocol::{Job, TaskStatus};

use crate::jobs::Standing;

/// More cells tell nobody more.
const CELLS_MAX: i64 = 1_000;

/// One frame, or, in long jobs, some that stand side by side.
pub(super) struct Cell {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) status: TaskStatus,
    completed: i64,
}

impl Cell {
    pub(super) fn words(&self) -> String {
        if self.first == self.last {
            return format!("Frame {}: {}", self.first, self.status);
        }
        let frames = self.last - self.first + 1;
        format!(
            "Frames {} to {}: {}, {} of {frames} completed",
            self.first, self.last, self.status, self.completed
        )
    }

    /// The number, if this is one frame and its picture can be had.
    pub(super) fn picture(&self) -> Option<i64> {
        (self.first == self.last && self.status == TaskStatus::Completed).then_some(self.first)
    }

    pub(super) fn sign(&self) -> &'static str {
        match self.status {
            TaskStatus::Pending => "·",
            TaskStatus::Running => "▸",
            TaskStatus::Paused => "‖",
            TaskStatus::Completed => "✓",
            TaskStatus::Failed => "✕",
            TaskStatus::Cancelled => "–",
        }
    }
}

/// Whole tasks, so that none is in two cells.
pub(super) fn frames_per_cell(job: &Job) -> i64 {
    let per_task = i64::from(job.frames_per_task);
    let tasks = job.frames_total.div_euclid(CELLS_MAX.max(1) * per_task) + 1;
    if job.frames_total <= CELLS_MAX { per_task } else { tasks * per_task }
}

pub(super) fn cells(job: &Job, standing: &[Standing]) -> Vec<Cell> {
    let size = frames_per_cell(job);
    let (first, last) = (i64::from(job.frames.first()), i64::from(job.frames.last()));
    let mut groups: BTreeMap<i64, Vec<(TaskStatus, i64)>> = BTreeMap::new();
    for part in standing {
        groups.entry(part.group).or_default().push((part.status, part.frames));
    }
    let mut cells = Vec::new();
    for (group, parts) in groups {
        let from = first + group * size;
        let to = (from + size - 1).min(last);
        let status = shown(&parts);
        let completed = parts
            .iter()
            .filter(|(status, _)| *status == TaskStatus::Completed)
            .map(|(_, frames)| frames)
            .sum();
        if job.frames_total <= CELLS_MAX {
            cells.extend((from..=to).map(|frame| Cell { first: frame, last: frame, status, completed }));
        } else {
            cells.push(Cell { first: from, last: to, status, completed });
        }
    }
    cells
}

/// What needs attention first, then what goes on.
fn shown(parts: &[(TaskStatus, i64)]) -> TaskStatus {
    use TaskStatus::{Cancelled, Completed, Failed, Paused, Pending, Running};
    let order = [Failed, Running, Paused, Pending, Cancelled];
    order.into_iter().find(|status| parts.iter().any(|(there, _)| there == status)).unwrap_or(Completed)
}
