#!/usr/bin/env python3
"""Checks the written dashboards, and provisioning, against our rules, and prints every breach.

Metric names must be known: from docs/metrics.md (tables with the name in backticks first), or as a record of
prometheus/rules. Without docs/metrics.md, names that no rule records are not checked.
Needs grafana/requirements.txt.
"""

import argparse
import copy
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import listing
import provisioning
from links import TAG
from metric_names import CUMULATIVE_RULES, Names, is_counter, metrics_of
from targets import INFINITY, MIXED, PROMETHEUS

ROOT = Path(__file__).resolve().parents[2]

GRID_COLUMNS = 24
DESCRIPTION_CHARS_MIN = 40
TEMPLATED = {source.type_val: source.uid for source in (PROMETHEUS, INFINITY)}
# Fixed: links from alerts, from the console and from other people's pages lead there.
UIDS = {
    "pictor-summary",
    "pictor-workers",
    "pictor-worker-monitor",
    "pictor-worker-statistics",
    "pictor-worker-tasks",
    "pictor-network",
    "pictor-economics",
}
RATES = re.compile(r"\b(?:rate|irate|increase)\(\s*([a-zA-Z_:][\w:]*)\s*(?:\{[^}]*\})?\s*\[([^\]]+)\]")


def of_dashboard(board: dict[str, Any], names: Names) -> Iterator[str]:
    yield from _of_frame(board)
    yield from _of_types(board)
    yield from _of_layout(board)
    for variable in board["templating"]["list"]:
        if "datasource" in variable:
            yield from _of_source(variable["datasource"], f"variable {variable['name']}")
        if isinstance(variable.get("query"), str) and variable["type"] == "query":
            yield from _of_names(_inside(variable["query"]), names, f"variable {variable['name']}")
    for annotation in board["annotations"]["list"]:
        yield from _of_source(annotation["datasource"], "annotation")
        yield from _of_names(annotation["target"]["expr"], names, "annotation")
    for panel in listing.panels(board):
        for breach in _of_panel(panel, names):
            yield f"panel '{panel.get('title')}': {breach}"


def _inside(query: str) -> str:
    """What a variable asks: label_values(metric, label) or query_result(expression)."""
    label_values = re.fullmatch(r"label_values\((.+),\s*\w+\)", query)
    query_result = re.fullmatch(r"query_result\((.+)\)", query)
    found = label_values or query_result
    return found.group(1) if found else query


def _of_frame(board: dict[str, Any]) -> Iterator[str]:
    if board["uid"] not in UIDS:
        yield f"uid {board['uid']} is not one of the agreed ones"
    if board["editable"]:
        yield "is editable: what is changed in Grafana would be lost"
    if TAG not in board["tags"]:
        yield f"has no tag {TAG}: the others' links do not find it"
    if not any('ALERTS{alertstate="firing"' in note["expr"] for note in board["annotations"]["list"]):
        yield "marks no alerts"
    variables = {variable["name"] for variable in board["templating"]["list"]}
    if missing := {"datasource", "api", "registry"} - variables:
        yield f"lacks variables {sorted(missing)}"
    for link in board["links"]:
        if link["type"] == "dashboards" and not (link["keepTime"] and link["includeVars"]):
            yield f"link {link['title']} loses time or variables"
    if not any(link["type"] == "dashboards" for link in board["links"]):
        yield "has no link to the other dashboards"


def _of_types(board: dict[str, Any]) -> Iterator[str]:
    """What the SDK's types do not know would be lost on the way through them."""
    board = copy.deepcopy(board)
    for panel in listing.panels(board):
        # The SDK takes a panel's source for that of its queries; without one it looks at each query.
        if panel["datasource"] == MIXED.to_json():
            del panel["datasource"]
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    yield from (f"does not fit the SDK's types at {path}" for path in _differences(board, again, ""))


def _differences(left: Any, right: Any, path: str) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        # What only the right side has is a default that the SDK put there.
        for key in sorted(left):
            yield from _differences(left[key], right.get(key), f"{path}/{key}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _differences(one, other, f"{path}/{index}")
    elif left != right:
        yield path


def _of_layout(board: dict[str, Any]) -> Iterator[str]:
    ids = [panel["id"] for panel in board["panels"]]
    yield from (f"panel id {panel_id} is used twice" for panel_id in {i for i in ids if ids.count(i) > 1})
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        x, y, w, h = (place.get(key, 0) for key in "xywh")
        if x + w > GRID_COLUMNS or w < 1 or h < 1:
            yield f"panel '{panel['title']}' stands outside the grid"
        for cell in ((column, row) for column in range(x, x + w) for row in range(y, y + h)):
            if cell in taken:
                yield f"panels '{taken[cell]}' and '{panel['title']}' overlap"
                break
            taken[cell] = panel["title"]


def _of_source(source: dict[str, Any], where: str) -> Iterator[str]:
    if TEMPLATED.get(source.get("type", "")) != source.get("uid"):
        yield f"{where}: data source {source} is not the variable"


def _of_panel(panel: dict[str, Any], names: Names) -> Iterator[str]:
    if not panel.get("title"):
        yield "has no title"
    if len(panel.get("description", "")) < DESCRIPTION_CHARS_MIN:
        yield "has no description that says what to do when it looks wrong"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "has no unit"
    if not panel.get("targets"):
        yield "asks nothing"
        return
    sources = {target["datasource"]["uid"] for target in panel["targets"]}
    if panel["datasource"]["uid"] != (MIXED.uid if len(sources) > 1 else next(iter(sources))):
        yield "its data source is not that of its queries"
    for target in panel["targets"]:
        yield from _of_source(target["datasource"], f"query {target['refId']}")
        if "expr" in target:
            yield from _of_promql(panel, target, names)
        elif not target["url"].startswith("/v1/"):
            yield f"{target['url']} is not a path of the registry's API"
    for override in panel["fieldConfig"]["overrides"]:
        for item in override["properties"]:
            if item["id"] == "links":
                yield from _of_data_links(item["value"])


def _of_data_links(links: list[dict[str, Any]]) -> Iterator[str]:
    kept = ["${__url_time_range}", "${datasource:queryparam}", "${api:queryparam}", "${account:queryparam}"]
    for link in links:
        is_inside = link["url"].startswith("/d/")
        if is_inside and not all(part in link["url"] for part in kept):
            yield f"link {link['title']} loses time or variables"
        if not is_inside and not link["url"].startswith("${registry}/"):
            yield f"link {link['title']} leads neither to a dashboard nor to the console"


def _of_promql(panel: dict[str, Any], target: dict[str, Any], names: Names) -> Iterator[str]:
    expr, is_instant = target["expr"], bool(target.get("instant"))
    yield from _of_names(expr, names, f"query {target['refId']}")
    window = "$__range" if is_instant else "$__rate_interval"
    under_rate = set()
    for name, range_ in RATES.findall(expr):
        under_rate.add(name)
        if range_ != window:
            yield f"{name}[{range_}]: {'an instant query' if is_instant else 'a graph'} takes [{window}]"
    yield from _of_counters(panel, expr, is_instant, under_rate)
    if "increase(" in expr and panel["type"] != "timeseries":
        yield "increase() draws shapes; a total is the last value of a cumulative series, or the API's"
    if target.get("format") == "table" and not re.search(r"\b(?:topk|bottomk)\(", expr):
        yield "a table of series is bounded by topk or bottomk"
    if target.get("format") == "table" and not is_instant:
        yield "a table of series is an instant query"
    if panel["type"] in ("stat", "table", "bargauge") and not is_instant:
        yield f"a {panel['type']} is an instant query"


def _of_counters(panel: dict[str, Any], expr: str, is_instant: bool, under_rate: set[str]) -> Iterator[str]:
    """A raw counter is only for reading off, and then the panel says so: its description has the word cumulative."""
    for name in sorted(metrics_of(expr)):
        if not is_counter(name) or name in under_rate or ":" in name and name not in CUMULATIVE_RULES:
            continue
        if not is_instant:
            yield f"{name} is a counter, outside rate() and increase()"
        elif "cumulative" not in panel["description"]:
            yield f"{name} is read off as it is; the description must say that it is cumulative"


def _of_names(expr: str, names: Names, where: str) -> Iterator[str]:
    for name in sorted(metrics_of(expr)):
        if names.unknown(name):
            yield f"{where}: nobody has heard of {name}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository, unless it is around this file")
    root = parser.parse_args().root
    register_default_plugins()
    names = Names(root)
    boards = listing.load(root / "grafana" / "dashboards")
    breaches = [f"{board['uid']}: {breach}" for board in boards for breach in of_dashboard(board, names)]
    breaches += provisioning.of_repository(root)
    missing = UIDS - {board["uid"] for board in boards}
    breaches += [f"{uid} is missing" for uid in sorted(missing)]
    for breach in breaches:
        print(breach, file=sys.stderr)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
