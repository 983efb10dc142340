"""`pictor-summary`: what an account earns, and whether its fleet is well."""

import states
import variables
from board import Board
from links import worker_links
from panels import (
    Draw,
    Look,
    Text,
    bars,
    colored_text,
    fixed_color,
    gauge,
    graph,
    hidden,
    join,
    linked,
    organize,
    shown_as,
    stat,
    table,
    unit,
)
from queries import summary as queries
from settings import EXACT_DECIMALS, Settings

WHOSE = "It is the account of the API's token: an operator's token shows the whole network."


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-summary",
        title="Summary",
        description="What the account earns, and whether its workers are well.",
        variables=[*variables.datasources(settings), variables.account()],
        alerts='account=~"$account",severity="critical"',
        console="/summary",
        rows=[
            ("Money, points and tasks", _money(settings)),
            ("Fleet health", _health()),
            ("Over time", _over_time(settings)),
            ("Workers", [_top_workers(settings)]),
        ],
    )


def _money(settings: Settings) -> list[object]:
    return [
        stat(
            Text(
                "Earnings",
                f"Rewards posted in the range, the balance and what was paid out, from the registry's ledger. {WHOSE} "
                "Less than you expect: look at the tasks beside it, then at the workers that are not busy.",
            ),
            Look(settings.money, decimals=EXACT_DECIMALS, base="text"),
            queries.MONEY,
            (10, 5),
        ),
        stat(
            Text(
                "Points",
                f"Points gained in the range: for every completed frame and every full hour able to work. {WHOSE} "
                "No points while workers are online: they refuse work; see their health.",
            ),
            Look("none", decimals=0, base="text"),
            queries.POINTS,
            (4, 5),
        ),
        stat(
            Text(
                "Net of electricity",
                "What an hour brings now (mean of the last hour), what electricity costs, and what is left after "
                "amortisation, in the owner's currency. Negative: Economics says which workers lose money and at "
                "which price they would break even. Empty: no price of electricity is set on the workers.",
            ),
            Look(settings.owner_money_per("h"), decimals=4, base="text"),
            queries.NET,
            (10, 5),
        ),
        stat(
            Text(
                "Tasks by result",
                f"Attempts of the range by what became of them, and those that are under way now. {WHOSE} "
                "Failed or expired grow: open Tasks of a worker and read the errors.",
            ),
            Look("none", decimals=0, base="text"),
            queries.TASKS,
            (24, 4),
        ),
    ]


def _health() -> list[object]:
    return [*_missing(), *_use(), *_statuses()]


def _missing() -> list[object]:
    return [
        stat(
            Text(
                "Alerts",
                "Alerts that fire now for this account. Not 0: they are marked on the graphs, and each has a runbook.",
            ),
            Look("none", decimals=0, steps=[(1, states.BAD)]),
            queries.ALERTS,
            (3, 4),
        ),
        stat(
            Text(
                "Lost workers",
                "Workers that fell silent without a goodbye. Not 0: is the machine on, is it online, does "
                "pictor-agent run? `pictor-agent doctor` on it tells.",
            ),
            Look("none", decimals=0, steps=[(1, states.BAD)]),
            queries.LOST,
            (3, 4),
        ),
        stat(
            Text(
                "GPUs missing",
                "GPUs that machines once had and that do not answer now. Not 0: System monitor shows which; reseat or "
                "reset the card, or restart the machine.",
            ),
            Look("none", decimals=0, steps=[(1, states.BAD)]),
            queries.GPUS_MISSING,
            (3, 4),
        ),
        stat(
            Text("GPUs", "GPUs that answer. Fewer than you own: a worker is offline, or a card is missing."),
            Look("none", decimals=0, base="text"),
            queries.GPUS,
            (3, 4),
        ),
    ]


def _use() -> list[object]:
    return [
        stat(
            Text(
                "Slots busy",
                "Slots with a task, of all slots. Low: the network has little work, or workers are paused; see "
                "Workers.",
            ),
            Look("percentunit", decimals=0, steps=[(0.5, states.GOOD)], base=states.WATCH),
            queries.SLOTS_BUSY,
            (3, 4),
        ),
        stat(
            Text(
                "Tasks that succeed",
                "Completed, of all tasks that ended in the last hour. Below 95 %: a worker or a job fails; see Tasks. "
                "Empty when none ended.",
            ),
            Look("percentunit", decimals=1, steps=[(0.8, states.WARN), (0.95, states.GOOD)], base=states.BAD),
            queries.SUCCESS,
            (3, 4),
        ),
        stat(
            Text(
                "Hottest GPU",
                "The highest core temperature of the fleet. Above 85 °C: clean the cooler, look at the fans, lower "
                "the power limit.",
            ),
            Look("celsius", decimals=0, steps=[(80, states.WATCH), (88, states.BAD)]),
            queries.HOTTEST,
            (3, 4),
        ),
        stat(
            Text("Power", "What all machines draw now. Higher than your line allows: lower the power limits."),
            Look("watt", decimals=1, base="text"),
            queries.POWER,
            (3, 4),
        ),
    ]


def _statuses() -> list[object]:
    return [
        bars(
            Text(
                "Workers by status",
                "Every registered worker, by what it does now. Many offline or paused: open Workers, sorted by status.",
            ),
            Look("none", decimals=0, base=states.QUIET, minimum=0),
            queries.WORKERS,
            (8, 8),
        ),
        graph(
            Text(
                "Workers over time",
                "Workers by status. A step from busy or idle to offline is a machine, or a site, that went away.",
            ),
            Look("none", decimals=0, minimum=0),
            queries.WORKERS_OVER_TIME,
            (16, 8),
            Draw(stacked=True, colors=states.WORKER_COLORS),
        ),
    ]


def _over_time(settings: Settings) -> list[object]:
    return [
        graph(
            Text(
                "Earnings over time",
                f"Rewards by hour, day or month, as the console shows them. {WHOSE} A gap while workers were busy: "
                "their tasks did not complete; see Tasks.",
            ),
            Look(settings.money, decimals=4, minimum=0),
            queries.EARNINGS_OVER_TIME,
            draw=Draw(as_bars=True),
        ),
        graph(
            Text(
                "Tasks over time",
                f"Tasks that ended, by hour, day or month. {WHOSE} Red grows: read the errors in Tasks.",
            ),
            Look("none", decimals=0, minimum=0),
            queries.TASKS_OVER_TIME,
            draw=Draw(as_bars=True, stacked=True, colors=states.TASK_COLORS),
        ),
        graph(
            Text(
                "Reward, cost and net per hour",
                "Each the mean of the last hour, in the owner's currency. Net below 0: Economics names the workers to "
                "pause.",
            ),
            Look(settings.owner_money_per("h"), decimals=4),
            queries.NET_OVER_TIME,
        ),
        graph(
            Text(
                "Use",
                "How busy the GPUs and the slots are. Slots busy while GPUs are not: tasks load or upload for long, "
                "or Blender fell back to the CPU.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.USE_OVER_TIME,
            (6, 8),
        ),
        graph(
            Text(
                "Power over time",
                "What all machines draw, and the part of it while they had no task. Much of it idle: let machines "
                "sleep, or pause fewer of them.",
            ),
            Look("watt", minimum=0),
            queries.POWER_OVER_TIME,
            (6, 8),
        ),
    ]


def _top_workers(settings: Settings) -> object:
    panel = table(
        Text(
            "Top workers",
            "The ten that earned most in the range, by the difference of their cumulative earnings. One is missing or "
            "has fallen: open its System monitor from here.",
        ),
        Look("string"),
        queries.TOP_WORKERS,
        (24, 10),
        sort=("Earned", True),
    )
    panel.with_transformation(join("worker_id", "outer"))
    panel.with_transformation(
        organize(
            ["worker_name", "Value #A", "Value #B", "Value #C", "Value #D", "worker_id"],
            {
                "worker_name": "Worker",
                "Value #A": "Earned",
                "Value #B": "Tasks completed",
                "Value #C": "Busy, 1 h",
                "Value #D": "Net per hour",
            },
            [f"{name} {index}" for name in ("Time", "account") for index in range(1, 5)],
        )
    )
    panel.override_by_name("Worker", [linked(worker_links("worker_id"))])
    panel.override_by_name("Earned", [*unit(settings.money, EXACT_DECIMALS), fixed_color("text")])
    panel.override_by_name("Tasks completed", unit("none", 0))
    panel.override_by_name("Busy, 1 h", gauge("percentunit", [(0.5, states.GOOD)], base=states.WATCH))
    panel.override_by_name(
        "Net per hour", [*unit(settings.owner_money_per("h"), 4), *colored_text([(0, states.GOOD)], states.BAD)]
    )
    return panel.override_by_name("worker_id", [hidden(), shown_as("worker_id")])
