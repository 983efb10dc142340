#!/usr/bin/env python3
"""Prints every query that written dashboards send, a JSON object a line: what tests and benches run. Needs no package.

    listing.py [FOLDER]     of grafana/dashboards, or of another folder that generate.py wrote
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Dashboard = dict[str, Any]


def load(folder: Path) -> list[Dashboard]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """All panels that show something, those inside collapsed rows too."""
    found = []
    for panel in dashboard.get("panels", []):
        if panel["type"] == "row":
            found += panel.get("panels", [])
        else:
            found.append(panel)
    return found


def queries(folder: Path) -> Iterator[dict[str, Any]]:
    for dashboard in load(folder):
        yield from _of_dashboard(dashboard)


def _of_dashboard(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    base = {"dashboard": dashboard["uid"]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield {**base, "kind": "variable", "name": variable["name"], **_of_variable(variable)}
    for annotation in dashboard["annotations"]["list"]:
        yield {**base, "kind": "annotation", "name": annotation["name"], "query": annotation["target"]["expr"]}
    for panel in panels(dashboard):
        for target in panel["targets"]:
            where = {**base, "panel": panel["title"], "panel_id": panel["id"], "ref_id": target["refId"]}
            yield {**where, **_of_target(target)}


def _of_target(target: dict[str, Any]) -> dict[str, Any]:
    if target["datasource"]["type"] == "prometheus":
        mode = "instant" if target.get("instant") else "range"
        return {"kind": "prometheus", "query": target["expr"], "mode": mode, "format": target["format"]}
    return {"kind": "infinity", **_of_request(target)}


def _of_request(query: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": query["url"],
        "params": {param["key"]: param["value"] for param in query["url_options"]["params"]},
        "parser": query["parser"],
        "root_selector": query["root_selector"],
        "columns": {column["text"]: column["type"] for column in query["columns"]},
    }


def _of_variable(variable: dict[str, Any]) -> dict[str, Any]:
    query = variable["query"]
    if isinstance(query, str):
        return {"source": "prometheus", "query": query, "regex": variable.get("regex", "")}
    return {"source": "infinity", **_of_request(query["infinityQuery"])}


def main() -> None:
    written = Path(__file__).resolve().parent.parent / "dashboards"
    for query in queries(Path(sys.argv[1]) if len(sys.argv) > 1 else written):
        print(json.dumps(query, ensure_ascii=False))


if __name__ == "__main__":
    main()
