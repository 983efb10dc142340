"""`pictor-economics`: whether it pays, where it does not, and what to change."""

from typing import Any

import states
import variables
from board import Board
from links import worker_links
from panels import Draw, Look, Text, bars, colored_text, graph, hidden, linked, organize, stat, table, unit
from queries import economics as queries
from settings import Settings
from targets import Promql

NO_PRICE = "Empty: no price of electricity, or no exchange rate, is set on the workers."


def board(settings: Settings) -> Board:
    return Board(
        uid="pictor-economics",
        title="Economics",
        description="Whether it pays, where it does not, and what to change. In the owner's currency.",
        variables=[*variables.datasources(settings), variables.account(), variables.worker()],
        alerts='account=~"$account",alertname=~"WorkerUnprofitable|EarningsStalled|GpuThrottling"',
        console="/summary",
        rows=[
            ("Now", _now(settings)),
            ("Over time", _over_time(settings)),
            ("Where it is lost", _worst(settings)),
            ("One worker", _worker(settings)),
        ],
    )


def _now(settings: Settings) -> list[Any]:
    per_hour = settings.owner_money_per("h")
    return [
        stat(
            Text(
                "Per hour",
                "Means of the last hour. Net below 0: pause the workers named below, or find cheaper hours. "
                f"{NO_PRICE}",
            ),
            Look(per_hour, decimals=4, base="text"),
            queries.NOW,
            (12, 4),
        ),
        stat(
            Text(
                "Reward per kWh",
                "Of the best account, last hour. Below your price of a kilowatt-hour: rendering loses money. "
                f"{NO_PRICE}",
            ),
            Look(settings.owner_money_per("kWh"), decimals=4, base="text"),
            queries.PER_KWH,
            (4, 4),
        ),
        stat(
            Text(
                "Net per GPU-hour",
                f"Over all GPUs, busy or not. Below 0: more GPUs wait than work; let machines sleep. {NO_PRICE}",
            ),
            Look(settings.owner_money_per("GPU-h"), decimals=4, steps=[(0, states.GOOD)], base=states.BAD),
            queries.PER_GPU_HOUR,
            (4, 4),
        ),
        stat(
            Text("Throttle cost", "Reward that heat cost in the last hour. Above 0: cool the workers named below."),
            Look(per_hour, decimals=4, steps=[(0.0001, states.WARN)]),
            queries.THROTTLE_COST,
            (4, 4),
        ),
        stat(
            Text(
                "Idle burn, power",
                "What machines draw while none of their slots has a task. High: let them sleep when there is no work.",
            ),
            Look("watt", decimals=1, base="text"),
            queries.IDLE_POWER,
            (12, 4),
        ),
        stat(
            Text(
                "Idle burn, cost",
                f"What that power costs. Near the reward: fewer machines would earn the same. {NO_PRICE}",
            ),
            Look(per_hour, decimals=4, base="text"),
            queries.IDLE_COST,
            (12, 4),
        ),
    ]


def _over_time(settings: Settings) -> list[Any]:
    per_hour = settings.owner_money_per("h")
    return [
        graph(
            Text(
                "Reward, cost and net",
                "Each the mean of an hour. Net dips at the same hours each day: pause in those, by the price of "
                "electricity.",
            ),
            Look(per_hour, decimals=4),
            queries.OVER_TIME,
        ),
        graph(
            Text(
                "Reward per kWh over time",
                "Falls: more power for the same work; compare power limits below, and look for heat.",
            ),
            Look(settings.owner_money_per("kWh"), decimals=4, minimum=0),
            queries.PER_KWH_OVER_TIME,
        ),
        graph(
            Text("Net per GPU-hour over time", "Below 0 for days: these GPUs cost more than they bring."),
            Look(settings.owner_money_per("GPU-h"), decimals=4),
            queries.PER_GPU_HOUR_OVER_TIME,
        ),
        graph(
            Text("Waste over time", "What idling and heat cost. The first is saved by sleep, the second by cooling."),
            Look(per_hour, decimals=4, minimum=0),
            queries.WASTE_OVER_TIME,
            draw=Draw(stacked=True),
        ),
    ]


def _worst(settings: Settings) -> list[Any]:
    per_hour = settings.owner_money_per("h")
    return [
        _ten(
            "Least net",
            "Mean of the last day. Below 0: pause it, lower its power limit, or move it to cheaper hours.",
            queries.LEAST_NET,
            per_hour,
            [(0, states.GOOD)],
            states.BAD,
        ),
        _ten(
            "Most idle burn",
            "Electricity of the last hour without a task. Let it sleep, or find out why it gets no work.",
            queries.MOST_IDLE,
            per_hour,
            [(0.0001, states.WARN)],
            states.GOOD,
        ),
        _ten(
            "Most throttle cost",
            "Reward of the last hour lost to heat. Clean and cool it, or lower its power limit.",
            queries.MOST_THROTTLED,
            per_hour,
            [(0.0001, states.WARN)],
            states.GOOD,
        ),
    ]


def _ten(
    title: str, description: str, query: list[Promql], unit_: str, steps: list[tuple[float, str]], base: str
) -> Any:
    panel = table(Text(title, description), Look("string"), query, (8, 9))
    panel.with_transformation(organize(["worker_name", "Value"], {"worker_name": "Worker"}, ["Time", "account"]))
    panel.override_by_name("Worker", [linked(worker_links("worker_id"))])
    panel.override_by_name("worker_id", [hidden()])
    return panel.override_by_name("Value", [*unit(unit_, 4), *colored_text(steps, base)])


def _worker(settings: Settings) -> list[Any]:
    per_hour, per_kwh = settings.owner_money_per("h"), settings.owner_money_per("kWh")
    return [
        stat(
            Text(
                "Break-even tariff",
                "The price of a kilowatt-hour at which this worker's net is 0, mean of a day, beside the price it "
                f"has. Below that price: it loses money. {NO_PRICE}",
            ),
            Look(per_kwh, decimals=4, base="text"),
            queries.BREAK_EVEN_DAY,
            (7, 4),
        ),
        stat(
            Text(
                "Reward per kWh",
                "Of this worker, mean of the last day. Below the price of a kilowatt-hour: it loses money.",
            ),
            Look(per_kwh, decimals=4, base="text"),
            queries.WORKER_PER_KWH,
            (4, 4),
        ),
        stat(
            Text("Net per GPU-hour", "Of this worker, last hour. Below 0: see its idle burn and its power limit."),
            Look(settings.owner_money_per("GPU-h"), decimals=4, steps=[(0, states.GOOD)], base=states.BAD),
            queries.WORKER_PER_GPU_HOUR,
            (4, 4),
        ),
        stat(
            Text("Cost, all time", f"Last values of cumulative counters, kept across restarts. {NO_PRICE}"),
            Look(settings.owner_money, decimals=4, base="text"),
            queries.ALL_TIME,
            (9, 4),
        ),
        graph(
            Text(
                "Reward, cost and net of the worker",
                "Means of an hour. Electricity without reward: it idles, or its tasks fail.",
            ),
            Look(per_hour, decimals=4),
            queries.WORKER_NET,
        ),
        graph(
            Text(
                "Break-even tariff over time",
                "Where the price is above the break-even, this worker should pause; [economics] can do that by itself.",
            ),
            Look(per_kwh, decimals=4, minimum=0),
            queries.BREAK_EVEN,
        ),
        bars(
            Text(
                "Reward per kWh at each power limit",
                "Every sum of GPU power limits that this worker had in the range. The longest bar is the limit to "
                "keep. One bar alone: try another limit for a day.",
            ),
            Look(per_kwh, decimals=4, base=states.QUIET, minimum=0),
            queries.AT_LIMITS,
            (12, 8),
            name="${__field.labels.power_limit_watts} W",
        ),
        graph(
            Text("Waste of the worker", "What idling and heat cost, mean of an hour. Heat: clean and cool it."),
            Look(per_hour, decimals=4, minimum=0),
            queries.WORKER_WASTE,
            draw=Draw(stacked=True),
        ),
    ]
