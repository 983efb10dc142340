#!/usr/bin/python3
"""What promtool does not ask of rules and alerts: that each is tested, explained and linked.

Every alert needs a severity, a level, a summary, a description, a link to a dashboard, a
runbook, a test in which it fires, one in which it stays quiet, and its row in
docs/monitoring.md. Every recording rule needs a test of its value and a name
`level:metric:operation`. Every group has a name of its own, and every test names the groups it
loads in the order in which they read one another: promtool takes any other group at random, and
an alert would see the value of this minute or of the last one.

Needs PyYAML (Debian: python3-yaml). Prints what is wrong and exits 1.
"""

import re
import sys
from pathlib import Path

import yaml

import monitoring_page

PROMETHEUS = Path(__file__).resolve().parents[1]
PROJECT = PROMETHEUS.parent
SEVERITIES = {"critical", "warning", "info"}
LEVELS = {"network", "worker", "slot", "gpu"}
DASHBOARDS = {
    "pictor-summary", "pictor-workers", "pictor-worker-monitor", "pictor-worker-statistics",
    "pictor-worker-tasks", "pictor-network", "pictor-economics",
}
RULE_NAME = re.compile(r"(gpu|worker|account|registry|network):[a-z0-9_]+:[a-z0-9_]+")
LINK = re.compile(r"\{\{ \$externalLabels\.grafana_url \}\}/d/([a-z-]+)(\?.*)?")
# What a link to one worker, slot or GPU must choose in the dashboard.
CHOSEN = {
    "network": [],
    "worker": ["var-account", "var-worker"],
    "slot": ["var-account", "var-worker", "var-slot"],
    "gpu": ["var-account", "var-worker", "var-gpu"],
}
RUNBOOK_PARTS = ["**What it means.**", "**How to check.**", "**What to do.**"]


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(folder):
    for path in sorted((PROMETHEUS / folder).glob("*.yml")):
        for group in load(path)["groups"]:
            yield from group["rules"]


def tests_by_file():
    for path in sorted(Path(__file__).parent.glob("*.yml")):
        for test in load(path)["tests"]:
            yield path.name, test


def tests():
    return (test for _, test in tests_by_file())


def tested_alerts():
    """The alerts with a test in which they fire, and those with one in which they never do."""
    firing, quiet = set(), set()
    for test in tests():
        fires = {}
        for case in test.get("alert_rule_test", []):
            name = case["alertname"]
            fires[name] = fires.get(name, False) or bool(case["exp_alerts"])
        for name, has_fired in fires.items():
            (firing if has_fired else quiet).add(name)
    return firing, quiet


def tested_values():
    names = set()
    for test in tests():
        for case in test.get("promql_expr_test", []):
            if case["exp_samples"]:
                names.update(match.group(0) for match in RULE_NAME.finditer(case["expr"]))
    return names


def faults_of_links(alert):
    name, level = alert["alert"], alert["labels"].get("level")
    link = LINK.fullmatch(alert["annotations"].get("dashboard_url", ""))
    if not link:
        yield f"{name}: dashboard_url must start with {{{{ $externalLabels.grafana_url }}}}/d/"
    elif link.group(1) not in DASHBOARDS:
        yield f"{name}: there is no dashboard {link.group(1)}"
    else:
        for variable in CHOSEN.get(level, []):
            if f"{variable}=" not in (link.group(2) or ""):
                yield f"{name}: its dashboard_url does not set {variable}"
    runbook = f"docs/runbooks/{name}.md"
    if alert["annotations"].get("runbook_url") != runbook:
        yield f"{name}: runbook_url must be {runbook}"
    elif not (PROJECT / runbook).is_file():
        yield f"{name}: {runbook} is missing"
    else:
        text = (PROJECT / runbook).read_text(encoding="utf-8")
        for part in [f"# {name}\n", *RUNBOOK_PARTS]:
            if part not in text:
                yield f"{runbook} lacks {part.strip()!r}"


def faults_of_alerts():
    firing, quiet = tested_alerts()
    names = set()
    for alert in rules("alerts"):
        name = alert["alert"]
        names.add(name)
        if alert["labels"].get("severity") not in SEVERITIES:
            yield f"{name}: severity must be one of {sorted(SEVERITIES)}"
        if alert["labels"].get("level") not in LEVELS:
            yield f"{name}: level must be one of {sorted(LEVELS)}"
        for annotation in ("summary", "description"):
            if not alert["annotations"].get(annotation):
                yield f"{name}: no {annotation}"
        yield from faults_of_links(alert)
        if name not in firing:
            yield f"{name}: no test in which it fires"
        if name not in quiet:
            yield f"{name}: no test in which it stays quiet"
    for path in sorted((PROJECT / "docs/runbooks").glob("*.md")):
        if path.stem not in names:
            yield f"{path.relative_to(PROJECT)}: no such alert"
    for name in sorted((firing | quiet) - names):
        yield f"{name}: tested, but no such alert"
    yield from faults_of_routes(names)


def faults_of_routes(names):
    """The example must route like the real one, and both may only name alerts that exist."""
    real, example = (load(PROMETHEUS / f) for f in ("alertmanager.yml", "alertmanager.example.yml"))
    for part in ("route", "inhibit_rules"):
        if real[part] != example[part]:
            yield f"alertmanager.example.yml: its {part} is not that of alertmanager.yml"
    for rule in real["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            label, listed = re.fullmatch(r'(\w+) =~? "(.*)"', matcher).groups()
            for name in listed.split("|"):
                if name not in (names if label == "alertname" else LEVELS):
                    yield f"alertmanager.yml: {matcher} names what does not exist"


def faults_of_records():
    tested = tested_values()
    for rule in rules("rules"):
        name = rule["record"]
        if not RULE_NAME.fullmatch(name):
            yield f"{name}: not level:metric:operation"
        if name not in tested:
            yield f"{name}: no test of its value"
        # A rename of a worker would split whatever is kept or joined by its name.
        if "worker_name" in rule["expr"] and name != "worker:name:info":
            yield f"{name}: must not use worker_name"


def groups(path):
    return [group["name"] for group in load(path)["groups"]]


def faults_of_groups():
    files = [path for folder in ("rules", "alerts") for path in sorted((PROMETHEUS / folder).glob("*.yml"))]
    names = [name for path in files for name in groups(path)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: the name of two groups"
    for path in sorted(Path(__file__).parent.glob("*.yml")):
        test = load(path)
        loaded = [name for file in test["rule_files"] for name in groups(path.parent / file)]
        if test.get("group_eval_order") != loaded:
            yield f"{path.name}: group_eval_order must be {loaded}"


def main():
    faults = [*faults_of_alerts(), *faults_of_records(), *faults_of_groups(),
              *monitoring_page.faults(rules("alerts"), tests_by_file())]
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{len(list(rules('rules')))} rules and {len(list(rules('alerts')))} alerts: each tested, explained and linked")


if __name__ == "__main__":
    main()
