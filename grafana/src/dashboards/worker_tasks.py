"""`pictor-worker-tasks`: what one worker was given and what became of it."""

from typing import Any

import states
import variables
from board import Board
from panels import (
    DynamicConfigValue,
    Look,
    Text,
    gauge,
    inspectable,
    mapped,
    one_lane_each,
    stat,
    table,
    timeline,
    unit,
    width,
)
from queries import worker_tasks as queries
from settings import EXACT_DECIMALS, Settings


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-worker-tasks",
        title="Tasks",
        description="The task history of one worker, from the registry: its attempts that were leased in the range.",
        variables=[
            *variables.datasources(settings),
            variables.account(),
            variables.worker(),
            variables.gpu_of_history(),
            variables.status(list(states.TASK_COLORS)),
            variables.search("a job's or task's id"),
            variables.limit(),
        ],
        alerts='worker_id="$worker",level=~"slot|worker"',
        console="/workers/${worker}/tasks",
        rows=[("Tasks", [_cut(), _tasks(), _earned(settings), _lanes(), _history(settings)])],
    )


def _cut() -> Any:
    return stat(
        Text(
            "In the table",
            "How many tasks match, and whether older ones are cut off. Cut: narrow the time range, or choose more "
            "rows above; the console has them all, and as CSV.",
        ),
        Look("string", base="text"),
        queries.CUT,
        (6, 4),
        is_text=True,
    )


def _tasks() -> Any:
    return stat(
        Text(
            "Tasks by status",
            "All of this worker's, ended in the range or under way, whatever the filters above say. Failed or "
            "expired: read the errors below.",
        ),
        Look("none", decimals=0, base="text"),
        queries.TASKS,
        (13, 4),
    )


def _earned(settings: Settings) -> Any:
    return stat(
        Text(
            "Earnings",
            "Rewards of this worker posted in the range. Less than the rewards below: those completed outside the "
            "range.",
        ),
        Look(settings.money, decimals=EXACT_DECIMALS, base="text"),
        queries.EARNED,
        (5, 4),
    )


def _lanes() -> Any:
    panel = timeline(
        Text(
            "When each slot rendered",
            "One lane a slot, one bar a task of the table below. Many short red bars: tasks fail at once; read their "
            "errors. Gaps: no work, or paused.",
        ),
        Look("none", mappings=(states.TASK_STATUS,)),
        queries.LANES,
        (24, 8),
    )
    panel.with_transformation(one_lane_each("Lane"))
    return panel.override_by_name("Status", [DynamicConfigValue("displayName", "${__field.labels.Lane}")])


def _history(settings: Settings) -> Any:
    panel = table(
        Text(
            "Task history",
            "One row a task this worker was given, newest first. Failed: Error says why. Expired: the worker fell "
            "silent while it rendered. Released: it was handed back, by a pause or a shutdown.",
        ),
        Look("string"),
        queries.HISTORY,
        (24, 18),
        paged=True,
    )
    panel.override_by_name("Status", [*mapped(states.TASK_STATUS), width(100)])
    panel.override_by_name("Progress", gauge("percentunit", [], base=states.QUIET))
    panel.override_by_name("Started", unit("dateTimeAsIso")).override_by_name("Completed", unit("dateTimeAsIso"))
    panel.override_by_name("Render time", [*unit("s", 1), width(110)])
    panel.override_by_name("Cost", unit(settings.money, EXACT_DECIMALS))
    panel.override_by_name("Reward", unit(settings.money, EXACT_DECIMALS))
    panel.override_by_name("Error", [inspectable(), width(240)])
    return panel.override_by_name("Slot", [*unit("none", 0), width(60)])
