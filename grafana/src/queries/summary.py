"""Queries of `pictor-summary`: an account at a glance."""

from queries import figures
from targets import now, over_time, rows

ACCOUNT = 'account=~"$account"'

MONEY = [figures.money(figures.SUMMARY)]
POINTS = [figures.points(figures.SUMMARY)]
TASKS = [figures.tasks(figures.SUMMARY)]
EARNINGS_OVER_TIME = [figures.earnings_over_time(figures.SUMMARY)]
TASKS_OVER_TIME = [figures.tasks_over_time(figures.SUMMARY)]

NET = [
    now(f"sum(account:reward:per_hour1h{{{ACCOUNT}}})", "Reward"),
    now(f"sum(account:electricity_cost:per_hour1h{{{ACCOUNT}}})", "Electricity"),
    now(f"sum(account:net:per_hour1h{{{ACCOUNT}}})", "Net"),
]
NET_OVER_TIME = [
    over_time(f"sum(account:reward:per_hour1h{{{ACCOUNT}}})", "Reward"),
    over_time(f"sum(account:electricity_cost:per_hour1h{{{ACCOUNT}}})", "Electricity"),
    over_time(f"sum(account:amortisation_cost:per_hour1h{{{ACCOUNT}}})", "Amortisation"),
    over_time(f"sum(account:net:per_hour1h{{{ACCOUNT}}})", "Net"),
]

WORKERS = [now(f"sum by (status) (account:workers:count{{{ACCOUNT}}})", "{{status}}")]
LOST = [now(f'sum(account:workers_offline:count{{{ACCOUNT},reason="lost"}}) or vector(0)', "Lost")]
GPUS_MISSING = [now(f"sum(account:gpus_missing:sum{{{ACCOUNT}}})", "Missing")]
ALERTS = [now(f'count(ALERTS{{alertstate="firing",{ACCOUNT}}}) or vector(0)', "Firing")]
GPUS = [now(f"sum(account:gpus:sum{{{ACCOUNT}}})", "GPUs")]
SLOTS_BUSY = [now(f'sum(account:slots:sum{{{ACCOUNT},status="busy"}}) / sum(account:slots:sum{{{ACCOUNT}}})', "Busy")]
HOTTEST = [now(f"max(account:gpu_temperature_celsius:max{{{ACCOUNT}}})", "Hottest GPU")]
POWER = [now(f"sum(account:power_watts:sum{{{ACCOUNT}}})", "Power")]
SUCCESS = [
    now(
        f'sum(account:tasks:per_hour1h{{{ACCOUNT},result="completed"}}) / '
        f'(sum(account:tasks:per_hour1h{{{ACCOUNT},result=~"completed|failed|expired"}}) > 0)',
        "Completed",
    )
]

WORKERS_OVER_TIME = [over_time(f"sum by (status) (account:workers:count{{{ACCOUNT}}})", "{{status}}")]
USE_OVER_TIME = [
    over_time(
        f"sum(account:gpu_utilization:avg{{{ACCOUNT}}} * account:gpus:sum{{{ACCOUNT}}}) / "
        f"sum(account:gpus:sum{{{ACCOUNT}}})",
        "GPU utilisation",
    ),
    over_time(f'sum(account:slots:sum{{{ACCOUNT},status="busy"}}) / sum(account:slots:sum{{{ACCOUNT}}})', "Slots busy"),
]
POWER_OVER_TIME = [
    over_time(f"sum(account:power_watts:sum{{{ACCOUNT}}})", "All"),
    over_time(f"sum(account:idle_power_watts:sum{{{ACCOUNT}}})", "While idle"),
]


def _since(selector: str) -> str:
    """What each worker's cumulative series gained in the range: its last value less the one at the range's start.

    A worker that is younger than the range began at 0.
    """

    def of_workers(series: str) -> str:
        return f"max by (account, worker_id) ({series})"

    last, first = of_workers(selector), of_workers(f"{selector} offset $__range")
    return f"({last} - ({first} or {last} * 0))"


_EARNED = _since(f"pictor_registry_worker_earnings_total{{{ACCOUNT}}}")
_COMPLETED = _since(f'pictor_registry_worker_tasks{{{ACCOUNT},status="completed"}}')
_NAMED = "* on (account, worker_id) group_left (worker_name) worker:name:info"
_OF_THEM = f"topk(10, {_EARNED}) * 0 + on (account, worker_id)"
TOP_WORKERS = [
    rows(f"topk(10, {_EARNED}) {_NAMED}"),
    rows(f"{_OF_THEM} {_COMPLETED}"),
    rows(f"{_OF_THEM} worker:busy:ratio1h{{{ACCOUNT}}}"),
    rows(f"{_OF_THEM} sum by (account, worker_id) (worker:net:per_hour1h{{{ACCOUNT}}})"),
]
