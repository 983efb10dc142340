"""Whether docs/monitoring.md says what is so: its table of alerts, and its table of fields and panels.

Used by check_rules.py. A row that is missing, stale or twice there is a fault; the fault of a missing one is the row.
"""

import json
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGE = "docs/monitoring.md"


def rows_below(heading, text):
    """The rows of the first table below a heading, as lists of cells, without its head."""
    part = text.split(f"\n## {heading}\n", 1)
    if len(part) < 2:
        return []
    part = part[1].split("\n## ", 1)[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def alert_row(alert, tests):
    """What the table must say of an alert. `tests`: pairs of a file's name and a test in it."""
    name = alert["alert"]
    firing, quiet, files = [], [], []
    for file, test in tests:
        cases = [case for case in test.get("alert_rule_test", []) if case["alertname"] == name]
        if cases:
            files += [] if file in files else [file]
            (firing if any(case["exp_alerts"] for case in cases) else quiet).append(test["name"])
    return [
        f"[{name}](runbooks/{name}.md)",
        alert["labels"].get("severity", ""),
        alert["labels"].get("level", ""),
        ", ".join(f"`{file}`" for file in files),
        "; ".join(firing),
        "; ".join(quiet),
    ]


def faults_of_alerts(alerts, tests, text):
    tests = list(tests)
    expected = [alert_row(alert, tests) for alert in alerts]
    found = rows_below("Alerts", text)
    for row in expected:
        if found.count(row) != 1:
            yield f"{PAGE}: must say once: | {' | '.join(row)} |"
    for row in found:
        if row not in expected:
            yield f"{PAGE}: the row of {row[0]} is stale"


def panels():
    """Each dashboard's panels, by uid and title, as JSON text."""
    found = {}
    for path in (PROJECT / "grafana/dashboards").glob("*/*.json"):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            key = board["uid"], panel.get("title")
            found[key] = found.get(key, "") + json.dumps(panel, ensure_ascii=False)
    return found


def faults_of_fields(text):
    """Cells name a dashboard, its panels, and columns or series, each in backticks."""
    known = panels()
    rows = rows_below("Fields", text)
    if not rows:
        yield f"{PAGE}: no table of fields"
    for row in rows:
        board, titles, columns = (re.findall("`([^`]+)`", cell) for cell in row[-3:])
        if len(board) != 1 or not titles:
            yield f"{PAGE}: {row} names no dashboard or no panel"
            continue
        for title in titles:
            if (board[0], title) not in known:
                yield f"{PAGE}: {board[0]} has no panel {title}"
        shown = "".join(known.get((board[0], title), "") for title in titles)
        for column in columns:
            if column not in shown:
                yield f"{PAGE}: {board[0]}, {titles}: no column {column}"


def faults(alerts, tests):
    path = PROJECT / PAGE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    yield from faults_of_alerts(alerts, tests, text)
    yield from faults_of_fields(text)
