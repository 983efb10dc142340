//! One stream for a page: its parts when they have changed, and the lines that tasks print, as they come.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::unfold;
use pictor_protocol::AttemptId;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::App;
use crate::task_log::Lines;

/// Fast enough for a log to run, slow enough for a machine that renders.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The parts of a page by the ids of their elements, each as HTML.
pub(super) type Parts = Vec<(String, String)>;

/// Some lines of a slot's log.
#[derive(Serialize)]
struct SlotLines {
    slot: u32,
    #[serde(flatten)]
    lines: Lines,
}

struct Watch<F> {
    app: Arc<App>,
    parts: F,
    sent: HashMap<String, String>,
    /// For each slot the number of the line to be sent next, and whose it is; none where the page shows no logs.
    next_lines: Vec<(u64, Option<AttemptId>)>,
    look: tokio::time::Interval,
    ready: VecDeque<Event>,
}

/// The page's parts, and with `logs` those of all slots.
pub(super) fn live<F>(State(app): State<Arc<App>>, logs: bool, parts: F) -> Response
where
    F: Fn(&App) -> Parts + Send + 'static,
{
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let slots = if logs { app.slots.devices().len() } else { 0 };
    let watch = Watch {
        app,
        parts,
        sent: HashMap::new(),
        next_lines: vec![(0, None); slots],
        look,
        ready: VecDeque::new(),
    };
    Sse::new(unfold(watch, next)).keep_alive(KeepAlive::default()).into_response()
}

async fn next<F: Fn(&App) -> Parts>(mut watch: Watch<F>) -> Option<(Result<Event, Infallible>, Watch<F>)> {
    loop {
        if let Some(event) = watch.ready.pop_front() {
            return Some((Ok(event), watch));
        }
        tokio::select! {
            () = watch.app.shutdown.cancelled() => return None,
            _ = watch.look.tick() => {}
        }
        watch.look_at_parts();
        watch.look_at_logs();
    }
}

impl<F: Fn(&App) -> Parts> Watch<F> {
    fn look_at_parts(&mut self) {
        let mut changed = HashMap::new();
        for (id, html) in (self.parts)(&self.app) {
            if self.sent.get(&id) != Some(&html) {
                self.sent.insert(id.clone(), html.clone());
                changed.insert(id, html);
            }
        }
        if !changed.is_empty() {
            self.ready.extend(Event::default().json_data(changed));
        }
    }

    fn look_at_logs(&mut self) {
        for (slot, (next, attempt)) in (0..).zip(&mut self.next_lines) {
            let Some(lines) = self.app.logs.from(slot, *next) else { continue };
            // A new task's log is empty at first: the page clears what it shows.
            if lines.lines.is_empty() && lines.attempt_id == *attempt {
                continue;
            }
            (*next, *attempt) = (lines.next(), lines.attempt_id);
            self.ready.extend(Event::default().event("log").json_data(SlotLines { slot, lines }));
        }
    }
}
