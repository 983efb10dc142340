//! The cells of a worker's row that change by themselves: written on the page, and again when they change.

use askama::Template;
use pictor_look::text;
use pictor_protocol::{Slot, SlotStatus, Worker, WorkerStatus};

use crate::console::{Page, reasons};

pub(super) struct Cell {
    pub(super) id: String,
    pub(super) label: &'static str,
    pub(super) is_number: bool,
    /// Left out where there is little room.
    pub(super) is_minor: bool,
    pub(super) html: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<span class="badge {{ class }}">{{ word }}</span>{% if let Some(why) = why %}<div class="why">{{ why }}</div>{% endif %}"#
)]
struct Status {
    class: &'static str,
    word: &'static str,
    why: Option<String>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{% if models.is_empty() %}<span class="soft">{{ text::UNKNOWN }}</span>{% endif %}{% for model in models %}<div>{{ model }}</div>{% endfor %}{% if let Some(load) = load %}<span class="soft num">{{ load }}</span>{% endif %}"#
)]
struct Gpus {
    models: Vec<String>,
    load: Option<String>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{% if let Some(task) = task %}<a class="mono" href="/attempts/{{ attempt }}" title="{{ task }}">…{{ short }}</a>{% if let Some(ratio) = ratio %} <span class="num">{{ text::percent(ratio) }}</span><progress max="1" value="{{ ratio }}" aria-label="Progress">{{ text::percent(ratio) }}</progress>{% endif %}{% else %}<span class="soft">{{ text::UNKNOWN }}</span>{% endif %}"#
)]
struct Task {
    task: Option<String>,
    attempt: String,
    short: String,
    ratio: Option<f64>,
}

/// In the order of the table's columns.
pub(super) fn of(worker: &Worker, page: &Page) -> Vec<Cell> {
    let id = worker.id.to_string();
    // The end of an id is random: enough to tell the rows of one page apart.
    let short = &id[id.len() - 10..];
    let cell = |key: &str, label, is_number, html| {
        let is_minor = matches!(key, "u" | "r" | "c" | "d");
        Cell { id: format!("{key}{short}"), label, is_number, is_minor, html }
    };
    let busy = worker.slots.iter().filter(|slot| slot.status == SlotStatus::Busy).count();
    let slots = match worker.slots.len() {
        0 => text::UNKNOWN.to_owned(),
        all => format!("{busy}/{all}"),
    };
    vec![
        cell("s", "Status", false, html(&status(worker))),
        cell("u", "Uptime", true, text::duration_or_unknown(&worker.uptime_seconds)),
        cell("g", "GPUs", false, html(&gpus(worker))),
        cell("r", "RAM", true, text::part_of(&worker.memory_used_bytes, &worker.memory_total_bytes)),
        cell("b", "Slots", true, slots),
        cell("t", "Task", false, html(&task(worker.task.as_ref()))),
        cell("e", "Earned", true, text::money(&worker.earnings_micros, &page.currency)),
        cell("c", "Created", false, page.time(&worker.created_at).to_string()),
        cell("d", "Updated", false, page.time(&worker.updated_at).to_string()),
    ]
}

/// What cannot be written shows as unknown: a cell is no reason to lose the page.
fn html(template: &impl Template) -> String {
    template.render().unwrap_or_else(|_| text::UNKNOWN.to_owned())
}

fn status(worker: &Worker) -> Status {
    let class = match (worker.status, worker.offline_reason) {
        (WorkerStatus::Offline, Some(pictor_protocol::OfflineReason::Lost)) => "lost",
        (status, _) => status.as_str(),
    };
    let idle = worker.slots.iter().filter(|slot| slot.status != SlotStatus::Busy);
    let why = match worker.offline_reason {
        Some(reason) => Some(reason.as_str().replace('_', " ")),
        None => idle
            .into_iter()
            .find_map(|slot| slot.reasons.first().map(|reason| reasons::sentence(reason, slot.status))),
    };
    Status { class, word: worker.status.as_str(), why }
}

/// Each model once with how many there are, then how busy they are together and the hottest of them.
fn gpus(worker: &Worker) -> Gpus {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for gpu in &worker.gpus {
        let name = gpu.name.as_deref().unwrap_or(&gpu.uuid);
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let models = counts
        .into_iter()
        .map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{count} × {name}") });
    let known: Vec<f64> = worker.gpus.iter().filter_map(|gpu| gpu.utilization_ratio).collect();
    #[allow(clippy::cast_precision_loss)]
    let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    let hottest = worker
        .gpus
        .iter()
        .filter_map(|gpu| gpu.temperature_celsius)
        .fold(None, |hottest: Option<f64>, celsius| {
            Some(hottest.map_or(celsius, |hottest| hottest.max(celsius)))
        });
    let load = [mean.as_ref().map(text::percent), hottest.as_ref().map(text::celsius)];
    let load: Vec<String> = load.into_iter().flatten().collect();
    Gpus { models: models.collect(), load: (!load.is_empty()).then(|| load.join(", ")) }
}

fn task(slot: Option<&Slot>) -> Task {
    let id = |id: Option<String>| id.unwrap_or_default();
    let task = slot.and_then(|slot| slot.task_id).map(|task| task.to_string());
    Task {
        short: task.as_ref().map(|task| task[task.len() - 8..].to_owned()).unwrap_or_default(),
        attempt: id(slot.and_then(|slot| slot.attempt_id).map(|attempt| attempt.to_string())),
        ratio: slot.and_then(|slot| slot.progress_ratio),
        task,
    }
}
