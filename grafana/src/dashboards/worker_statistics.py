"""`pictor-worker-statistics`: what one worker earned and did in the range, and how well."""

from typing import Any

import states
import variables
from board import Board
from panels import Draw, Look, Text, bars, graph, stat
from queries import worker_statistics as queries
from settings import EXACT_DECIMALS, Settings

MOSTLY_GOOD = [(0.8, states.WARN), (0.95, states.GOOD)]


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-worker-statistics",
        title="Statistics",
        description="What one worker earned and did in the range.",
        variables=[*variables.datasources(settings), variables.account(), variables.worker()],
        alerts='worker_id="$worker",level!="gpu"',
        console="/workers/${worker}/statistics",
        rows=[
            ("Earnings and tasks", _earnings(settings)),
            ("How well it renders", _quality()),
            ("Use and electricity", _use(settings)),
        ],
        time_from="now-7d",
    )


def _earnings(settings: Settings) -> list[Any]:
    return [
        stat(
            Text(
                "Earnings",
                "Rewards of this worker posted in the range, from the registry's ledger. 0 while it was busy: its "
                "tasks do not complete; see Tasks.",
            ),
            Look(settings.money, decimals=EXACT_DECIMALS, base="text"),
            queries.EARNED,
            (5, 5),
        ),
        stat(
            Text("Points", "Points of this worker in the range. 0 while online: it refuses work; see System monitor."),
            Look("none", decimals=0, base="text"),
            queries.POINTS,
            (4, 5),
        ),
        stat(
            Text(
                "Tasks",
                "Its attempts that ended in the range, by result, and those under way. Failed or expired: open Tasks "
                "and read the errors.",
            ),
            Look("none", decimals=0, base="text"),
            queries.TASKS,
            (15, 5),
        ),
        graph(
            Text(
                "Earnings over time",
                "By hour, day or month, as the console shows them. A gap: it was offline, paused, or without work.",
            ),
            Look(settings.money, decimals=4, minimum=0),
            queries.EARNINGS_OVER_TIME,
            draw=Draw(as_bars=True),
        ),
        graph(
            Text("Tasks over time", "Tasks that ended, by hour, day or month. Red grows: read the errors in Tasks."),
            Look("none", decimals=0, minimum=0),
            queries.TASKS_OVER_TIME,
            draw=Draw(as_bars=True, stacked=True, colors=states.TASK_COLORS),
        ),
    ]


def _quality() -> list[Any]:
    return [*_shares(), *_phases()]


def _shares() -> list[Any]:
    return [
        stat(
            Text(
                "Render time",
                "Mean time a task rendered, over the range. Longer than on like machines: throttling, or the CPU "
                "renders.",
            ),
            Look("s", decimals=1, base="text"),
            queries.RENDER_TIME,
            (6, 5),
        ),
        stat(
            Text(
                "Tasks that succeed",
                "Completed, of all that ended in the range, as the agent counted. Below 95 %: see Tasks.",
            ),
            Look("percentunit", decimals=1, steps=MOSTLY_GOOD, base=states.BAD),
            queries.SUCCESS,
            (6, 5),
        ),
        stat(
            Text(
                "Scenes from the cache",
                "Share of scenes that were on the disk already. Low with few jobs: the cache is too small; give it "
                "more disk.",
            ),
            Look("percentunit", decimals=0, base="text"),
            queries.CACHE,
            (6, 5),
        ),
        stat(
            Text(
                "Warm starts",
                "Share of tasks that found Blender running with their scene. Low with one job: Blender crashes; see "
                "its log.",
            ),
            Look("percentunit", decimals=0, base="text"),
            queries.WARM,
            (6, 5),
        ),
    ]


def _phases() -> list[Any]:
    return [
        bars(
            Text(
                "Phases, 95th percentile",
                "How long all but the slowest tasks took in each phase. Fetch or upload long: the line is slow. Load "
                "long: a slow disk or huge scenes.",
            ),
            Look("s", decimals=1, base=states.QUIET, minimum=0),
            queries.PHASES,
            (8, 8),
        ),
        graph(
            Text(
                "Phases over time",
                "Mean of an hour. A step up in render without new jobs: throttling; see System monitor.",
            ),
            Look("s", decimals=1, minimum=0),
            queries.PHASES_OVER_TIME,
            (8, 8),
        ),
        graph(
            Text(
                "ETA error",
                "How wrong the estimate of the remaining time was at a quarter, half and three quarters of a task. "
                "Above 50 %: frames of very different weight; no harm.",
            ),
            Look("percentunit", decimals=0, minimum=0),
            queries.ETA_ERROR,
            (8, 8),
        ),
        graph(
            Text(
                "Shares over time",
                "Each over the last hour. Successes fall: see Tasks. The others fall when new jobs begin.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.SHARES_OVER_TIME,
        ),
        graph(
            Text(
                "Frames per hour",
                "By result. Failed ones: read the errors in Tasks. Falls while busy: heavier frames, or throttling.",
            ),
            Look("none", decimals=1, minimum=0),
            queries.FRAMES,
            draw=Draw(stacked=True, colors=states.TASK_COLORS),
        ),
    ]


def _use(settings: Settings) -> list[Any]:
    return [
        stat(
            Text(
                "Online",
                "Share of the range in which it was online. Low: it is lost or stopped often; see Status in System "
                "monitor.",
            ),
            Look("percentunit", decimals=1, steps=MOSTLY_GOOD, base=states.BAD),
            queries.AVAILABILITY,
            (4, 5),
        ),
        stat(
            Text(
                "Busy",
                "Share of the time it was measured in which its slots had tasks. Low while online: little work, or "
                "paused.",
            ),
            Look("percentunit", decimals=0, base="text"),
            queries.BUSY,
            (4, 5),
        ),
        stat(
            Text(
                "Energy, all time",
                "Last value of cumulative counters, kept across restarts: what it used since it was set up. Empty: it "
                "cannot measure power, and no estimate is set.",
            ),
            Look("kwatth", decimals=2, base="text"),
            queries.ENERGY,
            (5, 5),
        ),
        stat(
            Text(
                "Electricity, all time",
                "Last value of a cumulative counter, in the owner's currency. Empty: set the price of electricity "
                "under [economics] in the worker's config.",
            ),
            Look(settings.owner_money, decimals=4, base="text"),
            queries.ELECTRICITY,
            (5, 5),
        ),
        stat(
            Text(
                "Net per hour",
                "Mean of the last day: reward less electricity and amortisation. Below 0: see Economics.",
            ),
            Look(settings.owner_money_per("h"), decimals=4, steps=[(0, states.GOOD)], base=states.BAD),
            queries.NET,
            (6, 5),
        ),
        graph(
            Text("Use over time", "Slots busy while GPUs are not: tasks load or upload for long, or the CPU renders."),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.BUSY_OVER_TIME,
            (24, 8),
        ),
    ]
