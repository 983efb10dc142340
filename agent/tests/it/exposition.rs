//! What must hold for any exposition of the agent: what promtool says, and what it does not look for.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use pictor_agent::collectors::catalogue;
use pictor_family::FamilyKind;

const UNITS: [&str; 8] = ["seconds", "bytes", "celsius", "watts", "joules", "hertz", "volts", "ratio"];
/// Words of a name that mean another unit than the base one.
const NO_BASE_UNITS: [&str; 26] = [
    "ms",
    "us",
    "ns",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "kb",
    "mb",
    "gb",
    "mib",
    "gib",
    "kilobytes",
    "megabytes",
    "mebibytes",
    "percent",
    "mhz",
    "megahertz",
    "milliwatts",
    "mw",
    "kwh",
    "millijoules",
    "fahrenheit",
    "kelvin",
];

/// One family as it stands in a text.
struct Shown<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    series: Vec<Series<'a>>,
}

struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

/// Fails unless the text is one that promtool accepts, in base units, with each family as the catalogue has it.
pub(crate) fn check(text: &str) {
    let families = parse(text);
    // The labels of DCGM's families are NVIDIA's: promtool does not like them.
    promtool(
        &text
            .lines()
            .filter(|line| !line.contains("DCGM_FI_"))
            .fold(String::new(), |ours, line| ours + line + "\n"),
    );
    let names: BTreeSet<&str> = families.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), families.len(), "a family stands twice in\n{text}");
    for family in &families {
        if family.name.starts_with("pictor_") {
            lint_name(family);
        }
        as_in_catalogue(family);
        lint_series(family);
    }
}

fn promtool(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs promtool: scripts/test installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn lint_name(family: &Shown<'_>) {
    let Shown { name, kind, .. } = family;
    assert_eq!(name.ends_with("_total"), *kind == "counter", "{name} is a {kind}");
    let words: Vec<&str> = name.split('_').collect();
    for (place, word) in words.iter().enumerate() {
        assert!(!NO_BASE_UNITS.contains(word), "{name}: {word} is no base unit");
        let ends = matches!(&words[place + 1..], [] | ["total"]);
        assert!(ends || !UNITS.contains(word), "{name}: the unit comes last");
    }
}

fn as_in_catalogue(shown: &Shown<'_>) {
    let catalogue = catalogue();
    let family = catalogue.iter().flat_map(|(_, families)| families).find(|family| family.name == shown.name);
    let family = family.unwrap_or_else(|| panic!("{} is not in the catalogue", shown.name));
    let kind = match family.kind {
        FamilyKind::Gauge => "gauge",
        FamilyKind::Counter => "counter",
        FamilyKind::Histogram => "histogram",
    };
    assert_eq!((shown.help, shown.kind), (family.help, kind), "{}", shown.name);
    for series in &shown.series {
        let labels = series.labels.iter().map(|(name, _)| *name).filter(|name| *name != "le");
        assert_eq!(labels.collect::<Vec<_>>(), family.labels, "{}", series.name);
    }
}

fn lint_series(family: &Shown<'_>) {
    assert!(!family.series.is_empty(), "{} has no series", family.name);
    let mut seen = BTreeSet::new();
    for series in &family.series {
        let Series { name, labels, value } = series;
        assert!(seen.insert((name, labels)), "{name} {labels:?} stands twice");
        assert!(value.is_finite() && *value > -9e18 && *value < 9e18, "{name} {labels:?} is {value}");
        if family.name.ends_with("_ratio") && family.kind == "gauge" {
            assert!((0.0..=1.0).contains(value), "{name} {labels:?} is {value}");
        }
    }
}

fn parse(text: &str) -> Vec<Shown<'_>> {
    let mut families: Vec<Shown<'_>> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.push(Shown { name, help, kind: "", series: Vec::new() });
            continue;
        }
        let family = families.last_mut().unwrap_or_else(|| panic!("no family before {line}"));
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(name, family.name);
            family.kind = kind;
            continue;
        }
        let series = parse_series(line);
        assert!(series.name.starts_with(family.name), "{line} stands under {}", family.name);
        family.series.push(series);
    }
    families
}

fn parse_series(line: &str) -> Series<'_> {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
    let labels = labels.map(|label| label.split_once("=\"").unwrap_or_else(|| panic!("no label in {line}")));
    Series {
        name,
        labels: labels.collect(),
        value: value.parse().unwrap_or_else(|_| panic!("no number in {line}")),
    }
}
