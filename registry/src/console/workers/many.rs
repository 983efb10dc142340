//! One action on the workers that were selected: confirmed with their number, then done, with a result for each.

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use pictor_look::text;
use pictor_protocol::{BulkAction, BulkOutcome, BulkRequest, Role, WorkerFilter, WorkerId, WorkerName};
use serde::Deserialize;

use super::back_to;
use crate::App;
use crate::console::{Form, Page};
use crate::error::{Error, Result};
use crate::workers;

/// How many names somebody reads before confirming.
const NAMES_SHOWN: usize = 20;

#[derive(Deserialize)]
pub(super) struct Selection {
    #[serde(default)]
    ids: Vec<WorkerId>,
    /// All that match the filter, instead of `ids`.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    search: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    tag: String,
    action: BulkAction,
    #[serde(default)]
    new_tag: String,
    expected: Option<u64>,
    /// The list that it came from.
    #[serde(default)]
    list: String,
}

impl Selection {
    fn filter(&self) -> WorkerFilter {
        let given = |text: &String| (!text.trim().is_empty()).then(|| text.clone());
        WorkerFilter { search: given(&self.search), status: given(&self.status), tag: given(&self.tag) }
    }

    fn request(&self) -> BulkRequest {
        BulkRequest {
            ids: (!self.all).then(|| self.ids.clone()),
            filter: self.all.then(|| self.filter()),
            action: self.action,
            tag: self.action.needs_tag().then(|| self.new_tag.clone()),
            expected: self.expected,
        }
    }
}

#[derive(Template)]
#[template(path = "console/workers_confirm.html")]
struct ConfirmPage<'a> {
    page: &'a Page,
    question: String,
    consequence: &'static str,
    button: String,
    action: &'static str,
    new_tag: String,
    count: usize,
    names: Vec<WorkerName>,
    more: usize,
    is_all: bool,
    ids: Vec<WorkerId>,
    filter_search: String,
    filter_status: String,
    filter_tag: String,
    list: String,
    back: String,
}

#[derive(Template)]
#[template(path = "console/workers_results.html")]
struct ResultsPage {
    heading: String,
    done: usize,
    refused: usize,
    results: Vec<(String, Option<String>)>,
    back: String,
}

fn workers_text(count: usize) -> String {
    text::count(i64::try_from(count).unwrap_or(i64::MAX), "worker", "workers")
}

/// (the action's word in a form, what is asked, what it means)
fn words(action: BulkAction, tag: &str, count: usize) -> (&'static str, String, &'static str) {
    let workers = workers_text(count);
    match action {
        BulkAction::Pause => (
            "pause",
            format!("Pause {workers}"),
            "Tasks that they render now are given back, unpaid; they take no new ones.",
        ),
        BulkAction::Resume => {
            ("resume", format!("Resume {workers}"), "They take tasks again, where nothing else holds them.")
        }
        BulkAction::Drain => {
            ("drain", format!("Drain {workers}"), "They finish what they render now and take no new tasks.")
        }
        BulkAction::Tag => {
            ("tag", format!("Add the tag “{tag}” to {workers}"), "Tags filter, group and select workers.")
        }
        BulkAction::Untag => {
            ("untag", format!("Remove the tag “{tag}” from {workers}"), "Nothing else about them changes.")
        }
        BulkAction::Delete => (
            "delete",
            format!("Delete {workers}"),
            "Their config files stop working at once, and tasks that they render now are given back, unpaid. What they earned stays yours, and their history stays in every sum.",
        ),
    }
}

pub(super) async fn confirm(
    State(app): State<App>,
    Form(visitor, selection): Form<Selection>,
) -> Result<impl IntoResponse> {
    let caller = visitor.acting(Role::Provider)?;
    if selection.action.needs_tag() && selection.new_tag.trim().is_empty() {
        return Err(Error::Invalid("a tag is missing: go back and write one beside the action".to_owned()));
    }
    // Those that are still there: what is confirmed is what is then counted.
    let meant = workers::meant(&app, caller, &selection.request()).await?;
    let mut there: Vec<(WorkerId, WorkerName)> =
        meant.into_iter().filter_map(|(id, name)| Some((id, name?))).collect();
    there.sort_by_cached_key(|(_, name)| name.as_str().to_lowercase());
    let (mut ids, names): (Vec<WorkerId>, Vec<WorkerName>) = there.into_iter().unzip();
    if selection.all {
        // The filter is confirmed, not the workers that it means now.
        ids.clear();
    }
    let count = names.len();
    let (action, button, consequence) = words(selection.action, selection.new_tag.trim(), count);
    let (question, consequence) = match count {
        0 => ("No worker is selected".to_owned(), "Tick the workers that you mean, or “all that match”."),
        _ => (format!("{button}?"), consequence),
    };
    let page = Page::new(&app, &visitor, &question);
    page.show(&ConfirmPage {
        page: &page,
        question,
        consequence,
        button,
        action,
        count,
        more: count.saturating_sub(NAMES_SHOWN),
        names: names.into_iter().take(NAMES_SHOWN).collect(),
        is_all: selection.all,
        new_tag: selection.new_tag,
        ids,
        filter_search: selection.search,
        filter_status: selection.status,
        filter_tag: selection.tag,
        back: back_to(&selection.list),
        list: selection.list,
    })
}

pub(super) async fn act(
    State(app): State<App>,
    Form(visitor, selection): Form<Selection>,
) -> Result<impl IntoResponse> {
    let caller = visitor.acting(Role::Provider)?;
    let response = workers::bulk(&app, caller, &selection.request()).await?;
    let refused = response.results.iter().filter(|result| result.result == BulkOutcome::Refused).count();
    let (_, heading, _) = words(selection.action, selection.new_tag.trim(), response.results.len());
    let named = |result: pictor_protocol::BulkResult| {
        let name = result.name.map_or_else(|| result.id.to_string(), |name| name.to_string());
        (name, result.detail)
    };
    let page = Page::new(&app, &visitor, &heading);
    page.show(&ResultsPage {
        heading,
        done: response.results.len() - refused,
        refused,
        results: response.results.into_iter().map(named).collect(),
        back: back_to(&selection.list),
    })
}
