//! A word for where something stands is known wherever such words are listed: in CHECKs and partial indexes, in the
//! diagram, in the console's colours, on the dashboards and in the rules. What Rust lists, its compiler knows.

use std::{fs, path::Path};

use pictor_protocol::{
    AttemptStatus, JobStatus, OfflineReason, PayoutStatus, SlotStatus, TaskStatus, WorkerStatus,
};
use pictor_registry::tasks::sets::LEASED_JOBS;
use sqlx::Row;

use crate::database::Place;

/// The words of one machine, and which of them are not its end.
struct Words {
    what: &'static str,
    all: Vec<&'static str>,
    open: Vec<&'static str>,
}

impl Words {
    fn of<T: Copy>(
        what: &'static str,
        all: &[T],
        word: fn(T) -> &'static str,
        ended: fn(T) -> bool,
    ) -> Words {
        let open = all.iter().filter(|status| !ended(**status));
        Words {
            what,
            all: all.iter().map(|status| word(*status)).collect(),
            open: open.map(|status| word(*status)).collect(),
        }
    }

    fn ended(&self) -> Vec<&'static str> {
        self.all.iter().filter(|word| !self.open.contains(word)).copied().collect()
    }
}

fn machines() -> [Words; 4] {
    [
        Words::of("task", TaskStatus::ALL, TaskStatus::as_str, TaskStatus::has_ended),
        Words::of("job", JobStatus::ALL, JobStatus::as_str, JobStatus::has_ended),
        Words::of("attempt", AttemptStatus::ALL, AttemptStatus::as_str, AttemptStatus::has_ended),
        Words::of("payout", PayoutStatus::ALL, PayoutStatus::as_str, |status| {
            status != PayoutStatus::Pending
        }),
    ]
}

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every list `status IN ('…', '…')` of a statement.
fn lists(sql: &str) -> Vec<Vec<&str>> {
    let after = sql.split("status IN (").skip(1);
    after
        .map(|rest| {
            rest.split(')')
                .next()
                .unwrap_or_default()
                .split(", ")
                .map(|word| word.trim_matches('\''))
                .collect()
        })
        .collect()
}

/// The text between two others, the first time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no {from}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no {to} after {from}")).0
}

fn missing(place: &str, words: &[&str], has: impl Fn(&str) -> bool) -> Vec<String> {
    words.iter().filter(|word| !has(word)).map(|word| format!("{place}: {word}")).collect()
}

async fn the_schema_knows_every_word(place: Place) {
    let db = place.open().await;
    let mut reader = db.read().await.unwrap();
    let columns = "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL";
    let rows = sqlx::query(columns).fetch_all(&mut *reader).await.unwrap();
    let leased = format!("status IN {LEASED_JOBS}");
    let mut unknown = Vec::new();
    for words in machines() {
        let mut named = vec![words.all.clone(), words.open.clone(), words.ended()];
        if words.what == "job" {
            named.extend(lists(&leased));
        }
        let table = format!("{}s", words.what);
        let mut is_checked = false;
        for row in rows.iter().filter(|row| row.get::<String, _>("tbl_name") == table) {
            let (name, sql): (String, String) = (row.get("name"), row.get("sql"));
            for list in lists(&sql) {
                is_checked |= list == words.all;
                if !named.contains(&list) {
                    unknown.push(format!("{name}: {list:?} is neither all, nor the open, nor the ended"));
                }
            }
        }
        if !is_checked {
            unknown.push(format!("{table}: no CHECK has all of {:?}", words.all));
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[tokio::test]
async fn the_schema_knows_every_word_of_each_machine() {
    crate::database::on_sqlite(the_schema_knows_every_word).await;
}

#[test]
fn the_diagram_the_console_the_dashboards_and_the_rules_know_every_word() {
    let of = |what: &str| machines().into_iter().find(|words| words.what == what).unwrap();
    let (tasks, attempts) = (of("task"), of("attempt"));
    let mut unknown = Vec::new();

    let states = text("docs/states.md");
    for words in machines() {
        let diagram = between(&states, &format!("\n{} ", words.what), "\n\n");
        unknown.extend(missing("docs/states.md", &words.all, |word| diagram.contains(word)));
    }

    let style = text("registry/look/src/look.css");
    let workers: Vec<&str> = WorkerStatus::ALL.iter().map(|status| status.as_str()).collect();
    let slots: Vec<&str> = SlotStatus::ALL.iter().map(|status| status.as_str()).collect();
    for words in machines().iter().map(|words| &words.all).chain([&workers, &slots]) {
        unknown.extend(missing("look.css .badge", words, |word| style.contains(&format!(".badge.{word}"))));
    }
    let grid = text("registry/src/console/jobs.css");
    unknown.extend(missing("jobs.css .cell", &tasks.all, |word| grid.contains(&format!(".cell.{word}"))));

    let source = text("grafana/src/states.py");
    let quoted = |list: &str, word: &str| list.contains(&format!("\"{word}\""));
    let colors = between(&source, "\nTASK_COLORS = {", "}");
    unknown.extend(missing("states.py TASK_COLORS", &tasks.all, |word| quoted(colors, word)));
    unknown.extend(missing("states.py TASK_COLORS", &attempts.all, |word| quoted(colors, word)));
    let colors = between(&source, "\nWORKER_COLORS = {", "}");
    unknown.extend(missing("states.py WORKER_COLORS", &workers, |word| quoted(colors, word)));
    let colors = between(&source, "\nSLOT_STATUS = words({", "}");
    unknown.extend(missing("states.py SLOT_STATUS", &slots, |word| quoted(colors, word)));
    let results = text("grafana/src/queries/figures.py");
    let results = between(&results, "\nTASK_RESULTS = [", "]").to_owned();
    unknown.extend(missing("figures.py TASK_RESULTS", &attempts.all, |word| quoted(&results, word)));
    let queue = text("grafana/src/queries/network.py");
    let queue: Vec<&str> = between(&queue, "\nQUEUE = ", "\n").split(['"', '|']).collect();
    unknown.extend(missing("network.py QUEUE", &tasks.open, |word| queue.contains(&word)));

    let rules = text("prometheus/rules/workers.yml");
    let shown = workers.iter().copied().filter(|word| *word != WorkerStatus::Offline.as_str());
    let shown: Vec<&str> = shown.collect();
    unknown.extend(missing("workers.yml worker:status:code", &shown, |word| {
        rules.contains(&format!("pictor_registry_worker_status{{status=\"{word}\"}}"))
    }));
    let reasons: Vec<&str> = OfflineReason::ALL.iter().map(|reason| reason.as_str()).collect();
    unknown.extend(missing("workers.yml worker:status:code", &reasons, |word| {
        rules.contains(&format!("reason=\"{word}\""))
    }));

    assert!(unknown.is_empty(), "not known everywhere:\n{}", unknown.join("\n"));
}
