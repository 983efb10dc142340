"""A dashboard out of its variables and rows of panels."""

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard, Row, TimePicker
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

import links
from targets import PROMETHEUS, Promql

# A refresh sooner than a scrape would show the same numbers again.
REFRESH_INTERVALS = ["15s", "30s", "1m", "5m", "15m"]


@dataclass(frozen=True)
class Board:
    """`alerts` selects the firing alerts that are marked on the graphs; `console` is the console's page to match."""

    uid: str
    title: str
    description: str
    variables: list[Any]
    alerts: str
    console: str
    rows: list[tuple[str, list[Any]]]
    time_from: str = "now-24h"
    refresh: str = "1m"

    def build(self) -> Dashboard:
        dashboard = (
            Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags([links.TAG])
            .readonly()
            .time(self.time_from, "now")
            .timezone("browser")
            .timepicker(TimePicker().refresh_intervals(REFRESH_INTERVALS))
            .refresh(self.refresh)
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .links([links.between_dashboards(), links.to_console(self.console)])
            .variables(self.variables)
            .annotation(_firing(self.alerts))
        )
        panel_id = 0
        for title, panels in self.rows:
            panel_id += 1
            dashboard.with_row(Row(title).id(panel_id))
            for panel in panels:
                panel_id += 1
                dashboard.with_panel(panel.id(panel_id))
        return dashboard


def _firing(selector: str) -> AnnotationQuery:
    expr = f'ALERTS{{alertstate="firing",{selector}}}'
    annotation = (
        AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("red")
        .target(Promql(expr).target("Alerts"))
        .expr(expr)
        .step("60s")
        .title_format("{{alertname}}")
        .text_format("{{worker_name}} {{gpu}} {{slot}}")
        .tag_keys("severity")
    )
    # The SDK hides the switch in a menu.
    annotation.build().placement = None
    return annotation
