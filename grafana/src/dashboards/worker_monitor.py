"""`pictor-worker-monitor`: one worker now and in the range: what it renders, its GPUs, its machine."""

from typing import Any

import states
import variables
from board import Board
from dashboards import worker_monitor_gpus, worker_monitor_machine
from panels import Look, Text, gauge, graph, mapped, stat, table, timeline, unit
from queries import worker_monitor as queries
from settings import Settings


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-worker-monitor",
        title="System monitor",
        description="One worker: its tasks, its GPUs and its machine.",
        variables=[
            *variables.datasources(settings),
            variables.account(),
            variables.worker(),
            variables.gpu(),
            variables.slot(),
        ],
        alerts='worker_id="$worker"',
        console="/workers/${worker}",
        rows=[
            ("Worker", _worker()),
            ("Tasks", _tasks()),
            ("GPUs", worker_monitor_gpus.panels()),
            ("GPU faults", worker_monitor_gpus.faults()),
            ("Machine", worker_monitor_machine.panels()),
        ],
        time_from="now-3h",
        refresh="15s",
    )


def _worker() -> list[Any]:
    return [
        _info(),
        _hardware(),
        stat(
            Text(
                "Alerts",
                "Alerts of this worker that fire now. Not 0: each is marked on the graphs below and has a runbook.",
            ),
            Look("none", decimals=0, steps=[(1, states.BAD)]),
            queries.ALERTS,
            (3, 4),
        ),
        stat(
            Text("GPUs", "GPUs that answer, beside those that were ever seen. Fewer: a card is lost; see GPU answers."),
            Look("none", decimals=0, base="text"),
            queries.GPUS_VISIBLE,
            (4, 4),
        ),
        stat(
            Text(
                "Unsent results",
                "Finished work that waits to be sent to the registry. Grows: the line or the registry is down; "
                "nothing is lost, and it is sent when they return.",
            ),
            Look("none", decimals=0, steps=[(20, states.WARN), (100, states.BAD)]),
            queries.OUTBOX,
            (3, 4),
        ),
        stat(
            Text(
                "Clock",
                "The machine's clock less the registry's. Beyond a few seconds: turn on time synchronisation (NTP).",
            ),
            Look("s", decimals=2, base=states.WARN, steps=[(-5, states.GOOD), (5, states.WARN)]),
            queries.CLOCK,
            (3, 4),
        ),
        timeline(
            Text(
                "Status",
                "As the registry saw it. Grey: stopped by its owner. Red: it fell silent; look at its power and "
                "network at that time.",
            ),
            Look("none", mappings=(states.WORKER_CODE,)),
            queries.STATUS,
            (11, 4),
        ),
        timeline(
            Text(
                "Health checks",
                "What the agent checks of itself. Red: `pictor-agent doctor` on the machine says what to do about "
                "that check.",
            ),
            Look("none", mappings=(states.HEALTH,)),
            queries.HEALTH,
            (24, 9),
        ),
    ]


def _info() -> Any:
    panel = table(
        Text(
            "Worker",
            "What the registry knows of this worker. Lost: look at the machine. Never connected: import its config "
            "file there. An old agent: `pictor-agent update`.",
        ),
        Look("string"),
        queries.INFO,
        (24, 4),
    )
    panel.override_by_name("Uptime", unit("s", 1)).override_by_name("Online", unit("percentunit", 1))
    return panel.override_by_name("Heartbeat", unit("dateTimeFromNow"))


def _hardware() -> Any:
    panel = table(
        Text(
            "Hardware",
            "What the agent reported last. A GPU is missing: see GPU answers. No Blender: install one, `pictor-agent "
            "doctor` says where it looks.",
        ),
        Look("string"),
        queries.HARDWARE,
        (24, 4),
    )
    return panel.override_by_name("RAM", unit("bytes", 1)).override_by_name("Cores", unit("none", 0))


def _tasks() -> list[Any]:
    slots = table(
        Text(
            "Slots",
            "What each slot does now. Idle with a reason: that is why it takes no tasks. Progress that stands still: "
            "look at the GPU below; the task expires by itself.",
        ),
        Look("string"),
        queries.SLOTS,
        (24, 6),
    )
    slots.override_by_name("Status", mapped(states.SLOT_STATUS))
    slots.override_by_name("Progress", gauge("percentunit", [], base=states.QUIET))
    slots.override_by_name("Slot", unit("none", 0))
    slots.override_by_name("Elapsed", unit("s", 0)).override_by_name("Remaining", unit("s", 0))
    return [
        slots,
        timeline(
            Text(
                "Slots over time",
                "When each slot had a task. Long gaps: the network had no work, or the slot was paused; see Status.",
            ),
            Look("none", mappings=(states.SLOT_RUNNING,)),
            queries.SLOT_STATES,
            (24, 5),
        ),
        graph(
            Text(
                "Progress",
                "Of each slot's task. A flat line below 100 %: the task is stuck; see GPU utilisation at that time.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.PROGRESS,
        ),
        graph(
            Text(
                "Remaining",
                "The agent's estimate of each task's rest. It should fall a second each second; it rises when frames "
                "get heavier.",
            ),
            Look("s", decimals=0, minimum=0),
            queries.REMAINING,
        ),
    ]
