//! One stream for a page: its parts when they have changed, and the lines that tasks print, as they come.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use pictor_look::live::{Parts, Seen, Watch, stream};
use pictor_protocol::AttemptId;
use serde::Serialize;

use super::App;
use crate::task_log::Lines;

/// Fast enough for a log to run, slow enough for a machine that renders.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Some lines of a slot's log.
#[derive(Serialize)]
struct SlotLines {
    slot: u32,
    #[serde(flatten)]
    lines: Lines,
}

struct Watched<F> {
    app: Arc<App>,
    parts: F,
    /// For each slot the number of the line to be sent next, and whose it is; none where the page shows no logs.
    next_lines: Vec<(u64, Option<AttemptId>)>,
}

/// The page's parts, and with `logs` those of all slots.
pub(super) fn live<F>(State(app): State<Arc<App>>, logs: bool, parts: F) -> Response
where
    F: Fn(&App) -> Parts + Send + 'static,
{
    let slots = if logs { app.slots.devices().len() } else { 0 };
    let shutdown = app.shutdown.clone();
    stream(Watched { app, parts, next_lines: vec![(0, None); slots] }, LOOK_EVERY, shutdown)
}

impl<F: Fn(&App) -> Parts + Send + 'static> Watch for Watched<F> {
    async fn look(&mut self) -> Option<Seen> {
        Some(Seen { parts: (self.parts)(&self.app), events: self.new_lines() })
    }
}

impl<F> Watched<F> {
    fn new_lines(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (slot, (next, attempt)) in (0..).zip(&mut self.next_lines) {
            let Some(lines) = self.app.logs.from(slot, *next) else { continue };
            // A new task's log is empty at first: the page clears what it shows.
            if lines.lines.is_empty() && lines.attempt_id == *attempt {
                continue;
            }
            (*next, *attempt) = (lines.next(), lines.attempt_id);
            events.extend(Event::default().event("log").json_data(SlotLines { slot, lines }));
        }
        events
    }
}
