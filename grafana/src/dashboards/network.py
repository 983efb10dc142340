"""`pictor-network`: for the operator: the queue, the registry and its promises."""

from typing import Any

import states
import variables
from board import Board
from panels import Draw, Look, Text, bars, graph, organize, stat, table, unit
from queries import network as queries
from settings import EXACT_DECIMALS, Settings


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-network",
        title="Network",
        description="For the operator: the queue, the registry, and how well it keeps its promises.",
        variables=[*variables.datasources(settings), variables.route()],
        alerts='level="network"',
        console="/summary",
        rows=[
            ("Registry", _registry(settings)),
            ("Queue", _queue()),
            ("Workers", _workers()),
            ("Requests", _requests()),
        ],
        time_from="now-6h",
        refresh="30s",
    )


def _registry(settings: Settings) -> list[Any]:
    return [*_state(settings), *_promises()]


def _state(settings: Settings) -> list[Any]:
    return [
        stat(
            Text("Registry", "Whether Prometheus reaches each registry. Not 1: read its log and its /readyz."),
            Look("none", mappings=(states.ANSWERS,)),
            queries.UP,
            (4, 4),
        ),
        stat(
            Text(
                "Alerts",
                "Alerts about the network that fire now. Not 0: each is marked on the graphs and has a runbook.",
            ),
            Look("none", decimals=0, steps=[(1, states.BAD)]),
            queries.ALERTS,
            (3, 4),
        ),
        stat(
            Text(
                "Ledger", "The last check of the books. Failed: stop payouts and follow the runbook LedgerCheckFailing."
            ),
            Look("none", mappings=(states.CHECK_PASSED,)),
            queries.LEDGER,
            (3, 4),
        ),
        stat(
            Text(
                "Since the ledger check",
                "Since it last passed. Longer than two of its intervals: the loop hangs; read the registry's log.",
            ),
            Look("s", decimals=1, steps=[(7200, states.WARN), (86400, states.BAD)]),
            queries.LEDGER_AGE,
            (3, 4),
        ),
        stat(
            Text(
                "Since the last backup",
                "Older than a day: run `pictor-registry backup`, and see why its timer did not. Empty: none was made.",
            ),
            Look("s", decimals=1, steps=[(93600, states.WARN), (172800, states.BAD)]),
            queries.BACKUP_AGE,
            (3, 4),
        ),
        stat(
            Text("Uptime", "Of each registry. Short, and not by your hand: it crashed or was killed; read its log."),
            Look("s", decimals=1, base="text"),
            queries.UPTIME,
            (3, 4),
        ),
        stat(
            Text(
                "Paid",
                "Rewards and fees of all completed tasks, all time: last values of cumulative series. The fee is the "
                "share set by --fee-ratio.",
            ),
            Look(settings.money, decimals=EXACT_DECIMALS, base="text"),
            queries.PAID,
            (5, 4),
        ),
    ]


def _promises() -> list[Any]:
    return [
        stat(
            Text(
                "Error budget burn",
                "1 spends the budget exactly in time; 14 spends it in two days. Above 1 for hours: find the route "
                "below that fails or is slow.",
            ),
            Look("none", decimals=2, steps=[(1, states.WARN), (6, states.BAD)]),
            queries.BURN,
            (8, 8),
        ),
        graph(
            Text(
                "Error budget burn over time",
                "Where it leaves 1, compare with requests, errors and the database below.",
            ),
            Look("none", decimals=2, minimum=0, steps=[(1, states.WARN), (6, states.BAD)]),
            queries.BURN_OVER_TIME,
            (16, 8),
        ),
    ]


def _queue() -> list[Any]:
    return [
        graph(
            Text(
                "Queue",
                "Tasks that wait, run or are paused. Pending grows while slots are idle: no idle worker can run them; "
                "look at what the jobs ask for.",
            ),
            Look("none", decimals=0, minimum=0),
            queries.QUEUE,
            draw=Draw(colors=states.TASK_COLORS),
        ),
        graph(
            Text(
                "Oldest pending task",
                "How long it has waited. Grows steadily: it fits no worker, or there are too few. Empty: none waits.",
            ),
            Look("s", decimals=0, minimum=0),
            queries.OLDEST,
        ),
        graph(
            Text(
                "Assignment latency",
                "Picking and leasing, without the wait for work. Above 100 ms: the database is slow; see its pool.",
            ),
            Look("s", decimals=4, minimum=0),
            queries.ASSIGNMENT,
        ),
        graph(
            Text(
                "Leases",
                "By what became of them, a second. Expired or failed grow: workers fall silent, or a job is broken.",
            ),
            Look("cps", decimals=3, minimum=0),
            queries.LEASES,
            draw=Draw(colors=states.TASK_COLORS),
        ),
        graph(
            Text(
                "Leases that expire",
                "Of all that ended in an hour. Above 5 %: many workers lose their line, or heartbeats are late.",
            ),
            Look("percentunit", decimals=1, minimum=0, steps=[(0.05, states.WARN)]),
            queries.EXPIRY,
        ),
        bars(
            Text("Jobs", "All jobs, by status. Many failed: look at their scenes; three failed tasks fail a job."),
            Look("none", decimals=0, base=states.QUIET, minimum=0),
            queries.JOBS,
            (12, 8),
        ),
    ]


def _workers() -> list[Any]:
    versions = table(
        Text(
            "Agent versions",
            "Workers by the version they run. Old ones stay: their owners turned updates off; tell them.",
        ),
        Look("string"),
        queries.VERSIONS,
        (6, 8),
        sort=("Workers", True),
    )
    versions.with_transformation(organize(["version", "Value"], {"version": "Version", "Value": "Workers"}, ["Time"]))
    versions.override_by_name("Workers", unit("none", 0))
    return [
        graph(
            Text(
                "Workers",
                "All registered workers, by status. Many go offline at once: a provider's site, or this registry's "
                "line.",
            ),
            Look("none", decimals=0, minimum=0),
            queries.WORKERS,
            (6, 8),
            Draw(stacked=True, colors=states.WORKER_COLORS),
        ),
        graph(
            Text("Slots", "All slots that are scraped, by status. Idle while the queue grows: see Queue."),
            Look("none", decimals=0, minimum=0),
            queries.SLOTS,
            (6, 8),
            Draw(stacked=True, colors=states.WORKER_COLORS),
        ),
        graph(
            Text(
                "Unsent results",
                "What agents finished and could not send. Grows: the registry refuses or is slow; see Errors.",
            ),
            Look("none", decimals=0, minimum=0),
            queries.OUTBOX,
            (6, 8),
        ),
        versions,
    ]


def _requests() -> list[Any]:
    return [
        graph(
            Text("Requests", "By route, a second. A step up on one route: a new client, or a retry storm; see Errors."),
            Look("reqps", decimals=2, minimum=0),
            queries.REQUESTS,
        ),
        graph(
            Text(
                "Errors",
                "By route and status, a second. 5xx: read the registry's log. 4xx on agents' routes: an old agent, or "
                "a revoked token.",
            ),
            Look("reqps", decimals=3, minimum=0),
            queries.ERRORS,
        ),
        graph(
            Text(
                "Latency, median",
                "By route; long polls for work wait on purpose. Rises everywhere: the database or the disk.",
            ),
            Look("s", decimals=3, minimum=0),
            queries.LATENCY_P50,
        ),
        graph(
            Text(
                "Latency, 99th percentile",
                "By route; long polls and transfers are long on purpose. One route alone: its query; all: the "
                "database.",
            ),
            Look("s", decimals=3, minimum=0),
            queries.LATENCY_P99,
        ),
        graph(
            Text(
                "Database pool",
                "Connections in use, of all. At 100 %: requests wait for one; raise the pool or find the slow query.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1, steps=[(0.9, states.BAD)]),
            queries.DATABASE,
            (24, 7),
        ),
    ]
