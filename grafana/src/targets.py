"""Queries of panels: PromQL for Prometheus, REST calls of the registry for Infinity."""

from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import prometheus as prometheus_builder
from grafana_foundation_sdk.cog import builder as cogbuilder
from grafana_foundation_sdk.cog import runtime as cogruntime
from grafana_foundation_sdk.cog import variants as cogvariants
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
INFINITY = DataSourceRef(type_val="yesoreyeram-infinity-datasource", uid="${api}")

# Of a panel whose queries go to both.
MIXED = DataSourceRef(type_val="datasource", uid="-- Mixed --")

# The registry's largest page.
PAGE_ROWS = 1000

# The dashboard's range, as the registry takes it.
RANGE = {"from": "${__from:date:iso}", "to": "${__to:date:iso}"}
# Days begin where the person who looks is.
RANGE_BY_DAY = {**RANGE, "tz": "${__timezone}"}


@dataclass(frozen=True)
class Promql:
    expr: str
    legend: str = "__auto"
    instant: bool = False
    is_table: bool = False

    @property
    def datasource(self) -> DataSourceRef:
        return PROMETHEUS

    def target(self, ref_id: str) -> cogbuilder.Builder[cogvariants.Dataquery]:
        query = prometheus_builder.Dataquery().expr(self.expr).ref_id(ref_id).datasource(PROMETHEUS)
        query = query.instant() if self.instant else query.range()
        if self.is_table:
            return query.format(PromQueryFormat.TABLE)
        return query.format(PromQueryFormat.TIME_SERIES).legend_format(self.legend)


def over_time(expr: str, legend: str = "__auto") -> Promql:
    """A graph: evaluated at every step of the range."""
    return Promql(expr, legend)


def now(expr: str, legend: str = "__auto") -> Promql:
    """One value a series: evaluated at the end of the range."""
    return Promql(expr, legend, instant=True)


def rows(expr: str) -> Promql:
    """A table: one row a series, its labels as columns."""
    return Promql(expr, instant=True, is_table=True)


@dataclass(frozen=True)
class Rest:
    """One GET of the registry's API; `select` is the jq program that makes rows of the answer.

    Columns are (name, type) pairs of what it selects; types are Infinity's: string, number, timestamp, boolean.
    """

    path: str
    select: str
    columns: tuple[tuple[str, str], ...]
    params: dict[str, str] = field(default_factory=dict)

    @property
    def datasource(self) -> DataSourceRef:
        return INFINITY

    def query(self, ref_id: str) -> dict[str, Any]:
        return infinity_query(ref_id, self.path, self.params) | {
            "parser": "jq-backend",
            "root_selector": self.select,
            "columns": [{"selector": name, "text": name, "type": type_} for name, type_ in self.columns],
        }

    def target(self, ref_id: str) -> cogbuilder.Builder[cogvariants.Dataquery]:
        return RestTarget(self.query(ref_id))


class RestTarget(cogbuilder.Builder[cogvariants.Dataquery]):
    """The SDK has no Infinity queries of its own: they pass through it unchanged."""

    def __init__(self, query: dict[str, Any]) -> None:
        self.query = query

    def build(self) -> cogvariants.Dataquery:
        return cogruntime.UnknownDataquery(self.query)


def infinity_query(ref_id: str, path: str, params: dict[str, str]) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "datasource": INFINITY.to_json(),
        "type": "json",
        "source": "url",
        "format": "table",
        "url": path,
        "url_options": {
            "method": "GET",
            "data": "",
            "params": [{"key": key, "value": value} for key, value in params.items()],
        },
        "filters": [],
        "computed_columns": [],
    }


Query = Promql | Rest
