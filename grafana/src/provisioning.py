"""Checks what provisioning says against the dashboards and against Prometheus' own configuration.

Read by lines: there is no YAML parser among what the dashboards need, and these files are ours and plain.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from targets import INFINITY, PROMETHEUS

FOLDERS = ["provisioning", "provider/provisioning"]


def _value(text: str, key: str) -> str | None:
    found = re.search(rf"^\s*-?\s*{key}:\s*(\S.*?)\s*$", text, re.MULTILINE)
    return found.group(1) if found else None


def of_repository(root: Path) -> Iterator[str]:
    scrape_interval = _value((root / "prometheus" / "prometheus.yml").read_text(), "scrape_interval")
    for folder in FOLDERS:
        files = sorted((root / "grafana" / folder).rglob("*.yml"))
        text = "\n".join(path.read_text() for path in files)
        yield from (f"{folder}: {breach}" for breach in _of_text(text, scrape_interval))
    if "operator" in (root / "grafana/provider/provisioning/dashboards/dashboards.yml").read_text():
        yield "a provider's Grafana shows dashboards of the operator"


def _of_text(text: str, scrape_interval: str | None) -> Iterator[str]:
    if _value(text, "timeInterval") != scrape_interval:
        yield f"timeInterval is not Prometheus' {scrape_interval}: $__rate_interval holds too few samples"
    for source in (PROMETHEUS, INFINITY):
        if f"type: {source.type_val}\n" not in text:
            yield f"no data source of type {source.type_val}"
    if "allowedHosts: [$REGISTRY_URL/]" not in text:
        yield "allowedHosts does not hold Infinity, and the token with it, to the registry"
    if _value(text, "manageAlerts") != "false":
        yield "manageAlerts is not off"
    if _value(text, "prometheusVersion") is None:
        yield "no prometheusVersion: the values of a label are fetched as whole series"
    for secret in re.findall(r"(?:bearerToken|httpHeaderValue1): (.*)", text):
        if "$REGISTRY_TOKEN" not in secret:
            yield "a token stands in the file"
