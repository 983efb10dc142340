"""`pictor-workers`: the fleet, one row a worker, whether it was ever seen or not."""

from typing import Any

import states
import variables
from board import Board
from links import worker_links
from panels import (
    Look,
    Steps,
    Text,
    colored_text,
    gauge,
    hidden,
    join,
    linked,
    mapped,
    only_with,
    organize,
    stat,
    table,
    unit,
    width,
    without_frame_names,
)
from queries import workers as queries
from settings import EXACT_DECIMALS, Settings
from targets import Promql

HOT: Steps = [(80, states.WATCH), (88, states.BAD)]
FULL: Steps = [(0.85, states.WATCH), (0.95, states.BAD)]


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-workers",
        title="Workers",
        description="Every registered worker, offline and never connected ones included.",
        variables=[
            *variables.datasources(settings),
            variables.account(),
            variables.search("a name, id, GPU, IP address or tag"),
            variables.status(list(states.WORKER_COLORS)),
            variables.tag(),
            variables.page(),
            variables.midnight(),
        ],
        alerts='account=~"$account",level="worker"',
        console="/workers",
        rows=[
            ("The fleet", [_statuses(), _cut(), _fleet(settings)]),
            ("Who needs a look", _attention(settings)),
        ],
    )


def _statuses() -> Any:
    return stat(
        Text(
            "Workers by status",
            "All workers of the account, whatever the filters above say. Offline grows: sort the table by Status and "
            "read Why; only lost ones need you.",
        ),
        Look("none", decimals=0, base="text"),
        queries.STATUSES,
        (16, 4),
    )


def _cut() -> Any:
    return stat(
        Text(
            "In the table",
            "How many workers match the filters, and whether the table below is only the first part of them. Fewer "
            "than you expect: clear Search, Status and Tag.",
        ),
        Look("string", base="text"),
        queries.CUT,
        (8, 4),
        is_text=True,
    )


def _fleet(settings: Settings) -> Any:
    panel = table(
        Text(
            "Workers",
            "One row a registered worker, from the registry itself; what needs attention comes first. Click a name "
            "for its System monitor, Statistics, Tasks, or its page in the console, where it can be paused or "
            "renamed. Earned today is the cumulative earnings less those at midnight UTC. Offline with Why lost: look "
            "at the machine. Never connected: import its config file there.",
        ),
        Look("string"),
        queries.FLEET,
        (24, 18),
        paged=True,
    )
    panel.with_transformation(join("worker_id", "outer")).with_transformation(without_frame_names("A"))
    panel.with_transformation(only_with("Worker"))
    order = [*queries.COLUMN_NAMES[:13], "Value", *queries.COLUMN_NAMES[13:]]
    panel.with_transformation(organize(order, {"Value": "Earned today"}, ["Time"]))
    panel.override_by_name("Worker", [linked(worker_links("worker_id")), width(180)])
    panel.override_by_name("Status", [*mapped(states.WORKER_STATUS), width(90)])
    panel.override_by_name("Why", [*mapped(states.OFFLINE_REASON), width(120)])
    panel.override_by_name("Uptime", [*unit("s", 0), width(90)])
    panel.override_by_name("GPUs", [*unit("none", 0), width(60)])
    panel.override_by_name("GPU", gauge("percentunit", []))
    panel.override_by_name("GPU memory", gauge("percentunit", FULL))
    panel.override_by_name("RAM", gauge("percentunit", FULL))
    panel.override_by_name("Hottest", [*unit("celsius", 0), *colored_text(HOT), width(80)])
    panel.override_by_name("Progress", gauge("percentunit", [], base=states.QUIET))
    panel.override_by_name("Remaining", [*unit("s", 0), width(90)])
    panel.override_by_name("Earned today", unit(settings.money, EXACT_DECIMALS))
    panel.override_by_name("Heartbeat", [*unit("dateTimeFromNow"), width(130)])
    panel.override_by_name("Online", [*unit("percentunit", 1), width(80)])
    return panel.override_by_name("worker_id", [hidden()])


def _attention(settings: Settings) -> list[Any]:
    return [
        _ten(
            "Hottest GPUs",
            "The ten workers with the hottest GPU. Above 85 °C: clean the cooler, look at the fans, lower the power "
            "limit.",
            queries.HOTTEST,
            [*unit("celsius", 0), *colored_text(HOT)],
        ),
        _ten(
            "GPUs missing",
            "Workers with fewer GPUs than they once had. Any row: open its System monitor to see which; reseat or "
            "reset it.",
            queries.GPUS_MISSING,
            [*unit("none", 0), *colored_text([(1, states.BAD)])],
        ),
        _ten(
            "Failing tasks",
            "Share of the last hour's tasks that failed or expired. Any row: open its Tasks and read the errors.",
            queries.FAILING,
            [*unit("percentunit", 0), *colored_text([(0.05, states.WARN), (0.2, states.BAD)])],
        ),
        _ten(
            "Least busy",
            "Share of the last six hours in which a slot had a task. Idle while others work: `pictor-agent doctor` on "
            "it says why it takes no tasks.",
            queries.IDLE,
            gauge("percentunit", [(0.2, states.WATCH), (0.5, states.GOOD)], base=states.BAD),
        ),
        _ten(
            "Fullest disks",
            "Free share of the fullest disk. Below 10 %: clear the agent's cache or give it a larger disk; rendering "
            "stops when it is full.",
            queries.DISKS,
            gauge("percentunit", [(0.1, states.WATCH), (0.2, states.GOOD)], base=states.BAD),
        ),
        _ten(
            "Least net per hour",
            "Mean of the last day: reward less electricity and amortisation. Below 0 it costs more than it earns: see "
            "Economics.",
            queries.NET,
            [*unit(settings.owner_money_per("h"), 4), *colored_text([(0, states.GOOD)], states.BAD)],
        ),
    ]


def _ten(title: str, description: str, query: list[Promql], look: list[Any]) -> Any:
    panel = table(Text(title, description), Look("string"), query, (8, 9))
    panel.with_transformation(organize(["worker_name", "Value"], {"worker_name": "Worker"}, ["Time", "account"]))
    panel.override_by_name("Worker", [linked(worker_links("worker_id"))])
    panel.override_by_name("worker_id", [hidden()])
    return panel.override_by_name("Value", look)
