"""Each rule of the lint is broken once, in a dashboard that keeps them all. Run: python3 grafana/tests/test_lint.py"""

import copy
import sys
import tomllib
import unittest
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(GRAFANA / "src"))

from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402

import lint  # noqa: E402
import listing  # noqa: E402
import metric_names  # noqa: E402

ROOT = GRAFANA.parent


def panel_with(board: dict[str, Any], title: str) -> dict[str, Any]:
    return next(panel for panel in listing.panels(board) if panel["title"] == title)


class EveryRuleBites(unittest.TestCase):
    def setUp(self) -> None:
        register_default_plugins()
        self.names = metric_names.Names(ROOT)
        boards = {board["uid"]: board for board in listing.load(GRAFANA / "dashboards")}
        self.board = copy.deepcopy(boards["pictor-worker-monitor"])
        self.workers = copy.deepcopy(boards["pictor-workers"])

    def assert_breach(self, word: str, board: dict[str, Any] | None = None) -> None:
        found = list(lint.of_dashboard(board or self.board, self.names))
        self.assertTrue(any(word in breach for breach in found), f"nothing about '{word}' in {found}")

    def with_expr(self, title: str, expr: str) -> None:
        panel_with(self.board, title)["targets"][0]["expr"] = expr

    def test_what_is_written_keeps_them_all(self) -> None:
        for board in (self.board, self.workers):
            self.assertEqual(list(lint.of_dashboard(board, self.names)), [])

    def test_panels_have_title_description_and_unit(self) -> None:
        panel = panel_with(self.board, "CPU")
        panel["description"] = "CPU"
        panel["fieldConfig"]["defaults"].pop("unit")
        self.assert_breach("no description")
        self.assert_breach("no unit")
        panel["title"] = ""
        self.assert_breach("no title")

    def test_data_sources_are_variables(self) -> None:
        panel_with(self.board, "CPU")["targets"][0]["datasource"]["uid"] = "pictor-prometheus"
        self.assert_breach("is not the variable")

    def test_rates_take_grafanas_interval(self) -> None:
        self.with_expr("Network", 'sum(rate(pictor_network_bytes_total{worker_id="$worker"}[5m]))')
        self.assert_breach("a graph takes [$__rate_interval]")
        self.with_expr("Alerts", 'sum(rate(pictor_network_bytes_total{worker_id="$worker"}[$__rate_interval]))')
        self.assert_breach("an instant query takes [$__range]")

    def test_counters_stand_under_a_rate_or_are_read_off_in_words(self) -> None:
        self.with_expr("Network", 'sum(pictor_network_bytes_total{worker_id="$worker"})')
        self.assert_breach("is a counter, outside rate()")
        panel_with(self.board, "ECC errors")["description"] = "Errors of the memory. Growing: replace the card soon."
        self.assert_breach("must say that it is cumulative")

    def test_totals_are_no_increase(self) -> None:
        self.with_expr("Alerts", 'sum(increase(pictor_tasks_total{worker_id="$worker"}[$__range]))')
        self.assert_breach("increase() draws shapes")

    def test_tables_of_series_are_bounded(self) -> None:
        self.with_expr("ECC errors", "sum by (gpu) (pictor_gpu_ecc_errors_total)")
        self.assert_breach("bounded by topk")

    def test_names_are_known(self) -> None:
        self.with_expr("CPU", 'sum(worker:no_such:rule{worker_id="$worker"})')
        self.assert_breach("nobody has heard of worker:no_such:rule")

    def test_ids_are_unique_and_panels_do_not_overlap(self) -> None:
        first, second = listing.panels(self.board)[:2]
        second["id"], second["gridPos"] = first["id"], dict(first["gridPos"])
        self.assert_breach("is used twice")
        self.assert_breach("overlap")

    def test_links_keep_time_and_variables(self) -> None:
        self.board["links"][0]["keepTime"] = False
        self.assert_breach("loses time or variables")
        overrides = panel_with(self.workers, "Workers")["fieldConfig"]["overrides"]
        links = next(item for override in overrides for item in override["properties"] if item["id"] == "links")
        links["value"][0]["url"] = "/d/pictor-worker-monitor?var-worker=1"
        self.assert_breach("link System monitor loses", self.workers)
        links["value"][0]["url"] = "https://example.org"
        self.assert_breach("neither to a dashboard nor to the console", self.workers)

    def test_dashboards_are_not_editable_and_fit_the_types(self) -> None:
        self.board["editable"] = True
        self.assert_breach("is editable")
        self.board["colour"] = "red"
        self.assert_breach("does not fit the SDK's types at /colour")


class PanelsThatMayBeEmpty(unittest.TestCase):
    def test_each_exists_and_has_a_reason(self) -> None:
        listed = tomllib.loads((GRAFANA / "tests" / "empty.toml").read_text())["empty"]
        queries = list(listing.queries(GRAFANA / "dashboards"))
        for item in listed:
            self.assertTrue(item["reason"], item)
            if "alerts" in item or "rules" in item:
                continue
            for ref_id in item.get("ref_ids", [None]):
                wanted = {key: item[key] for key in ("dashboard", "panel") if key in item}
                wanted |= {"ref_id": ref_id} if ref_id else {}
                self.assertTrue(any(wanted.items() <= query.items() for query in queries), item)


class NamesInExpressions(unittest.TestCase):
    def test_functions_labels_and_variables_are_none(self) -> None:
        expr = (
            'topk(3, max by (gpu) (a_total{worker_id="$worker",x=~"b_c|d"} offset $__range) or vector(0)) '
            "* on (account) group_left (worker_name) worker:name:info + rate(b_total[$__range]) > bool 2"
        )
        self.assertEqual(metric_names.metrics_of(expr), {"a_total", "worker:name:info", "b_total"})


if __name__ == "__main__":
    unittest.main()
