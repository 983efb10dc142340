//! docs/metrics.md says what the code says.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use pictor_family::Family;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test --workspace --test it metrics_are_documented";

type Catalogue = Vec<(&'static str, Vec<Family>)>;

#[test]
fn metrics_are_documented() {
    let made = document(&pictor_agent::collectors::catalogue(), &pictor_registry::metrics::catalogue());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(PATH, &made).expect("docs/metrics.md can be written");
    }
    let written = fs::read_to_string(Path::new(PATH)).unwrap_or_default();
    assert!(written == made, "docs/metrics.md is stale: {UPDATE}");
}

#[test]
fn each_family_is_described_once() {
    for catalogue in [pictor_agent::collectors::catalogue(), pictor_registry::metrics::catalogue()] {
        let mut names = BTreeSet::new();
        for family in catalogue.iter().flat_map(|(_, families)| families) {
            assert!(names.insert(family.name), "{} stands twice", family.name);
            let help = family.help;
            assert!(
                help.ends_with('.') && !help.contains('|') && !help.contains('\n'),
                "{}: {help}",
                family.name
            );
        }
    }
}

fn document(agent: &Catalogue, registry: &Catalogue) -> String {
    let mut text = format!(
        "# Metrics\n\n\
         Made of the code by `{UPDATE}`; do not edit.\n\n\
         A value that is not known is absent, never 0. Prometheus adds `worker_id`, `worker_name`, `account` and\n\
         `instance` (the worker's id) to what it scrapes from an agent.\n"
    );
    section(
        &mut text,
        "Agent",
        "An agent serves all of them at `/metrics`, those of one collector at `/metrics/{collector}`; \
         `disabled_collectors` under `[metrics]` of its config file leaves collectors out.",
        agent,
    );
    section(
        &mut text,
        "Registry",
        "For an operator's read token; `/metrics/network` also for a provider's, who sees its own.",
        registry,
    );
    text
}

fn section(text: &mut String, title: &str, about: &str, catalogue: &Catalogue) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## {title}\n\n{about}\n");
    for (name, families) in catalogue {
        let _ = write!(
            text,
            "\n### {name}\n\n| name | type | unit | labels | what it is |\n| --- | --- | --- | --- | --- |\n"
        );
        for family in families {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let unit = family.unit().unwrap_or_default();
            let kind = family.kind.as_str();
            let _ = writeln!(
                text,
                "| `{}` | {kind} | {unit} | {} | {} |",
                family.name,
                labels.join(" "),
                family.help
            );
        }
    }
}
