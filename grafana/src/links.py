"""Links: every one inside Grafana keeps the time range and the variables."""

from urllib.parse import quote

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

TAG = "my-workers"

# What each dashboard has; worker is set by the link itself.
KEPT = "${__url_time_range}&${datasource:queryparam}&${api:queryparam}&${account:queryparam}"


def between_dashboards() -> DashboardLink:
    """The list of all dashboards of this set, at the top of each."""
    return _in_sight(
        DashboardLink("My Workers")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
        .tooltip("The other dashboards, for the same time, account and worker")
    )


def to_console(page: str) -> DashboardLink:
    """The console's page about the same thing, which can also change it."""
    return _in_sight(
        DashboardLink("Console")
        .type(DashboardLinkType.LINK)
        .url("${registry}" + page)
        .icon("external link")
        .target_blank(True)
        .tooltip("The registry's own page about this, where workers are added, paused and renamed")
    )


def _in_sight(link: DashboardLink) -> DashboardLink:
    """The SDK puts every link into a menu; these stand at the top."""
    link.build().placement = None
    return link


def worker_links(worker_id_field: str) -> list[dict[str, object]]:
    """From a row about a worker: to its dashboards, and to the page of the console that can act on it."""
    worker = f'${{__data.fields["{worker_id_field}"]}}'
    inside = [
        ("System monitor", "pictor-worker-monitor"),
        ("Statistics", "pictor-worker-statistics"),
        ("Tasks", "pictor-worker-tasks"),
    ]
    links: list[dict[str, object]] = [
        {"title": title, "url": f"/d/{quote(uid)}?{KEPT}&var-worker={worker}", "targetBlank": False}
        for title, uid in inside
    ]
    console = {"title": "Console", "url": f"${{registry}}/workers/{worker}", "targetBlank": True}
    return [*links, console]
