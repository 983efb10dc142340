"""Variables of the dashboards. Their names are fixed: links from alerts and from the console set them."""

from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    ConstantVariable,
    CustomVariable,
    DatasourceVariable,
    QueryVariable,
    TextBoxVariable,
)
from grafana_foundation_sdk.models.dashboard import (
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from settings import Settings
from targets import INFINITY, PAGE_ROWS, PROMETHEUS, infinity_query

ALL = VariableOption(text="All", value="$__all")
# The registry takes a blank for "no filter". Grafana takes no empty text for its "All".
BLANK = " "


def datasources(settings: Settings) -> list[Any]:
    registry = (
        ConstantVariable("registry")
        .label("Registry")
        .description("Where the registry's console is; set when the dashboards are generated")
        .value(settings.registry_url)
    )
    return [
        DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        DatasourceVariable("api").label("Registry API").type(str(INFINITY.type_val)),
        registry,
    ]


def account() -> QueryVariable:
    return (
        _prometheus("account", "Account", "label_values(worker:name:info, account)")
        .include_all(True)
        .multi(True)
        .all_value(".*")
        .current(ALL)
    )


def worker() -> QueryVariable:
    """One worker: its id, shown by its name."""
    return _prometheus("worker", "Worker", 'query_result(worker:name:info{account=~"$account"})').regex(
        '/worker_id="(?<value>[^"]+)"|worker_name="(?<text>[^"]+)"/g'
    )


def gpu() -> QueryVariable:
    """GPUs of the worker: UUIDs, shown by index and name.

    "All" is the list of them: Prometheus looks up a few values, and would try `.*` on every UUID of the network.
    """
    query = (
        'query_result(label_join(max by (uuid, gpu, name) (pictor_gpu_info{worker_id="$worker"}), '
        '"shown", " ", "gpu", "name"))'
    )
    return (
        _prometheus("gpu", "GPU", query)
        .regex('/uuid="(?<value>[^"]+)"|shown="(?<text>[^"]+)"/g')
        .include_all(True)
        .multi(True)
        .current(ALL)
    )


def gpu_of_history() -> QueryVariable:
    """As `gpu`, for the registry's API: one UUID, or none for all."""
    return gpu().multi(False).all_value(BLANK)


def slot() -> QueryVariable:
    return (
        _prometheus("slot", "Slot", 'label_values(pictor_task_running{worker_id="$worker"}, slot)')
        .sort(VariableSort.NUMERICAL_ASC)
        .include_all(True)
        .multi(True)
        .current(ALL)
    )


def route() -> QueryVariable:
    return (
        _prometheus("route", "Route", "label_values(registry:http_requests:rate5m, route)")
        .include_all(True)
        .multi(True)
        .all_value(".*")
        .current(ALL)
    )


def midnight() -> QueryVariable:
    """When today began, for `@`: Unix seconds, in UTC."""
    return (
        _prometheus("midnight", "Midnight", "query_result(floor(vector(time()) / 86400) * 86400)")
        .regex(r"/\{\} (\d+) /")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .hide(VariableHide.HIDE_VARIABLE)
    )


def search(what: str) -> TextBoxVariable:
    return TextBoxVariable("search").label("Search").description(f"A part of {what}").default_value("")


def tag() -> TextBoxVariable:
    return TextBoxVariable("tag").label("Tag").description("Only workers that carry this tag").default_value("")


def status(values: list[str]) -> CustomVariable:
    return (
        CustomVariable("status")
        .label("Status")
        .values(",".join(values))
        .include_all(True)
        .multi(True)
        .all_value(BLANK)
        .current(ALL)
    )


def limit() -> CustomVariable:
    first = VariableOption(text="100", value="100", selected=True)
    return CustomVariable("limit").label("Rows").values(f"100,500,{PAGE_ROWS}").current(first)


def page() -> QueryVariable:
    """Where in the list of workers the table begins: the registry's cursors, each shown by the name before it.

    Infinity follows at most five pages unless GF_PLUGIN_PAGINATION_MAX_PAGES allows more.
    """
    params = {**WORKERS_FILTER, "limit": str(PAGE_ROWS)}
    query = infinity_query("page", "/v1/workers", params) | {
        "parser": "backend",
        "root_selector": (
            '[{"text":!"Start","cursor":!""},{"text":items.@reverse.0.name,"cursor":next_cursor}]|#(cursor!=~null)#'
        ),
        "columns": [
            {"selector": "text", "text": "__text", "type": "string"},
            {"selector": "cursor", "text": "__value", "type": "string"},
        ],
        "pagination_mode": "cursor",
        "pagination_max_pages": 5,
        "pagination_param_cursor_field_name": "cursor",
        "pagination_param_cursor_field_type": "query",
        "pagination_param_cursor_extraction_path": "next_cursor",
    }
    return (
        QueryVariable("page")
        .label("Page after")
        .description(f"Lists of more than {PAGE_ROWS} workers: where the table goes on")
        .datasource(INFINITY)
        .query({"refId": "page", "queryType": "infinity", "infinityQuery": query})
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .current(VariableOption(text="Start", value="", selected=True))
    )


# What narrows the list of workers.
WORKERS_FILTER = {
    "search": "${search}",
    "status": "${status:csv}",
    "tag": "${tag}",
    "sort": "status",
}


def _prometheus(name: str, label: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(query)
        # Not with every refresh of the panels: the list of a large fleet is long.
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )
