//! `grafana/tests/empty.toml`: what may return nothing where all is well, each with its reason.

use std::fs;

use pictor_processes::repository;
use serde::Deserialize;

use crate::dashboards::{Kind, Question};

const PATH: &str = "grafana/tests/empty.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RightlyEmpty {
    empty: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dashboard: Option<String>,
    panel: Option<String>,
    #[serde(default)]
    ref_ids: Vec<String>,
    /// Of a table: the columns that may have no value in any row.
    #[serde(default)]
    columns: Vec<String>,
    annotation: Option<String>,
    #[serde(default)]
    alerts: Vec<String>,
    #[serde(default)]
    rules: Vec<String>,
    /// Whether it has data depends on the machine that runs the tests.
    #[serde(default)]
    depends_on_machine: bool,
    reason: String,
}

impl RightlyEmpty {
    pub(crate) fn read() -> RightlyEmpty {
        let text = fs::read_to_string(repository().join(PATH)).expect("the list");
        toml::from_str(&text).unwrap_or_else(|error| panic!("{PATH}: {error}"))
    }

    pub(crate) fn allows(&self, question: &Question) -> bool {
        self.empty.iter().any(|entry| entry.columns.is_empty() && entry.covers(question))
    }

    pub(crate) fn allows_column(&self, question: &Question, column: &str) -> bool {
        self.empty
            .iter()
            .any(|entry| entry.covers(question) && entry.columns.iter().any(|name| name == column))
    }

    /// Entries that nothing asks about, or that something with an answer stands on.
    pub(crate) fn needless(
        &self,
        questions: &[Question],
        has_data: impl Fn(&Question) -> bool,
    ) -> Vec<String> {
        let entries = self.empty.iter().filter(|entry| entry.columns.is_empty());
        let needless = entries.filter(|entry| {
            let covered: Vec<_> = questions.iter().filter(|question| entry.covers(question)).collect();
            let names = entry.alerts.len() + entry.rules.len();
            covered.len() < names.max(entry.ref_ids.len()).max(1)
                || !entry.depends_on_machine && covered.iter().any(|question| has_data(question))
        });
        needless.map(|entry| format!("{entry:?}")).collect()
    }
}

impl Entry {
    fn covers(&self, question: &Question) -> bool {
        assert!(!self.reason.is_empty(), "{PATH}: {self:?} has no reason");
        let is_named = |names: &[String]| names.contains(&question.name);
        let is_here = self.dashboard.as_ref().is_none_or(|uid| *uid == question.dashboard);
        match question.kind {
            Kind::Alert => is_named(&self.alerts),
            Kind::Rule => is_named(&self.rules),
            Kind::Annotation => is_here && self.annotation.as_ref() == Some(&question.name),
            Kind::Variable => false,
            Kind::Prometheus | Kind::Infinity => {
                let ref_ids = &self.ref_ids;
                is_here
                    && self.panel.as_ref() == Some(&question.name)
                    && (ref_ids.is_empty() || ref_ids.contains(&question.ref_id))
            }
        }
    }
}
