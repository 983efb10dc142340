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
        sign(self.status)
    }
}

/// What stands in a cell, for who does not see its colour.
pub(super) fn sign(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Pending => "·",
        TaskStatus::Running => "▸",
        TaskStatus::Paused => "‖",
        TaskStatus::Completed => "✓",
        TaskStatus::Failed => "✕",
        TaskStatus::Cancelled => "–",
    }
}

/// Whole tasks, so that none is in two cells.
pub(super) fn frames_per_cell(job: &Job) -> i64 {
    let per_task = i64::from(job.frames_per_task);
    if job.frames_total <= CELLS_MAX {
        return per_task;
    }
    (job.frames_total / (CELLS_MAX * per_task) + 1) * per_task
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

#[cfg(test)]
mod tests {
    use pictor_protocol::{Job, TaskStatus};

    use super::{cells, frames_per_cell};
    use crate::jobs::Standing;

    fn job(frames: &str, total: i64, per_task: u32) -> Job {
        serde_json::from_value(serde_json::json!({
            "id": "job_00000000000070008000000000000000", "name": "n", "status": "running", "error": null,
            "frames": frames, "frames_per_task": per_task, "frames_total": total, "frames_completed": 0,
            "tasks_total": 0, "tasks_completed": 0, "tasks_failed": 0, "tasks_running": 0, "currency": "EUR",
            "cost_micros": 0, "spent_micros": 0, "scene_sha256": "0".repeat(64), "created_at": "2026-01-01T00:00:00.000Z",
            "completed_at": null,
        }))
        .unwrap()
    }

    fn standing(group: i64, status: TaskStatus, frames: i64) -> Standing {
        Standing { group, status, frames }
    }

    #[test]
    fn each_frame_has_a_cell_until_there_are_too_many() {
        let short = job("5-9", 5, 2);
        let shown = cells(
            &short,
            &[
                standing(0, TaskStatus::Completed, 2),
                standing(1, TaskStatus::Running, 2),
                standing(2, TaskStatus::Failed, 1),
            ],
        );
        let words: Vec<String> = shown.iter().map(super::Cell::words).collect();
        assert_eq!(
            words,
            [
                "Frame 5: completed",
                "Frame 6: completed",
                "Frame 7: running",
                "Frame 8: running",
                "Frame 9: failed"
            ]
        );
        assert_eq!(shown[1].picture(), Some(6));
        let long = job("1-2500", 2_500, 3);
        assert_eq!(frames_per_cell(&long), 3);
        assert_eq!(frames_per_cell(&job("1-100000", 100_000, 7)), 105);
        let shown = cells(
            &job("1-2500", 2_500, 1),
            &[standing(0, TaskStatus::Completed, 2), standing(0, TaskStatus::Running, 1)],
        );
        assert_eq!(shown[0].words(), "Frames 1 to 3: running, 2 of 3 completed");
        assert_eq!(shown[0].picture(), None);
    }
}
