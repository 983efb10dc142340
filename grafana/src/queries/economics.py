"""Queries of `pictor-economics`: what is earned for what it costs. All in the owner's currency."""

from targets import now, over_time, rows

ACCOUNT = 'account=~"$account"'
WORKER = 'worker_id="$worker"'
NAMED = "* on (account, worker_id) group_left (worker_name) worker:name:info"


def _all(rule: str, legend: str) -> tuple[str, str]:
    return f"sum(account:{rule}{{{ACCOUNT}}})", legend


# Ratios of sums: a mean of the accounts' ratios would weigh a small account like a large one.
_NET_PER_GPU_HOUR = f"sum(account:net:per_hour1h{{{ACCOUNT}}}) / (sum(account:gpus:sum{{{ACCOUNT}}}) > 0)"

NOW = [
    now(*_all("reward:per_hour1h", "Reward")),
    now(*_all("electricity_cost:per_hour1h", "Electricity")),
    now(*_all("amortisation_cost:per_hour1h", "Amortisation")),
    now(*_all("net:per_hour1h", "Net")),
]
PER_KWH = [now(f"max(account:reward_per_kwh:ratio1h{{{ACCOUNT}}})", "Reward per kWh")]
PER_GPU_HOUR = [now(_NET_PER_GPU_HOUR, "Net per GPU-hour")]
IDLE_COST = [now(*_all("idle_cost:per_hour1h", "Idle"))]
IDLE_POWER = [now(*_all("idle_power_watts:sum", "Idle"))]
THROTTLE_COST = [now(*_all("throttle_cost:per_hour1h", "Lost"))]

OVER_TIME = [
    over_time(*_all("reward:per_hour1h", "Reward")),
    over_time(*_all("electricity_cost:per_hour1h", "Electricity")),
    over_time(*_all("amortisation_cost:per_hour1h", "Amortisation")),
    over_time(*_all("net:per_hour1h", "Net")),
]
PER_KWH_OVER_TIME = [over_time(f"max(account:reward_per_kwh:ratio1h{{{ACCOUNT}}})", "Reward per kWh")]
PER_GPU_HOUR_OVER_TIME = [over_time(_NET_PER_GPU_HOUR, "Net per GPU-hour")]
WASTE_OVER_TIME = [
    over_time(*_all("idle_cost:per_hour1h", "Idle")),
    over_time(*_all("throttle_cost:per_hour1h", "Throttled")),
]


def _worst(function: str, expr: str) -> list[object]:
    return [rows(f"{function}(10, {expr}) {NAMED}")]


LEAST_NET = _worst("bottomk", f"sum by (account, worker_id) (worker:net:per_hour1d{{{ACCOUNT}}})")
MOST_IDLE = _worst("topk", f"sum by (account, worker_id) (worker:idle_cost:per_hour1h{{{ACCOUNT}}})")
MOST_THROTTLED = _worst("topk", f"sum by (account, worker_id) (worker:throttle_cost:per_hour1h{{{ACCOUNT}}})")

WORKER_NET = [
    over_time(f"sum(worker:reward:per_hour1h{{{WORKER}}})", "Reward"),
    over_time(f"sum(worker:electricity_cost:per_hour1h{{{WORKER}}})", "Electricity"),
    over_time(f"sum(worker:net:per_hour1h{{{WORKER}}})", "Net"),
]
BREAK_EVEN = [
    over_time(f"max(worker:break_even_price:per_kwh1h{{{WORKER}}})", "Breaks even at"),
    over_time(f"max(pictor_electricity_price{{{WORKER}}})", "Price it has"),
]
BREAK_EVEN_DAY = [
    now(f"max(worker:break_even_price:per_kwh1d{{{WORKER}}})", "Breaks even at"),
    now(f"max(pictor_electricity_price{{{WORKER}}})", "Price it has"),
]
_LIMITS = "account, worker_id, currency, power_limit_watts"
AT_LIMITS = [
    now(
        f"topk(20, 1000 * sum by ({_LIMITS}) (sum_over_time(worker:reward_at_limit:rate5m{{{WORKER}}}[$__range])) "
        "/ ignoring (currency) group_left sum by (account, worker_id, power_limit_watts) "
        f"(sum_over_time(worker:power_watts_at_limit:rate5m{{{WORKER}}}[$__range])))",
        "{{power_limit_watts}} W",
    )
]
WORKER_WASTE = [
    over_time(f"sum(worker:idle_cost:per_hour1h{{{WORKER}}})", "Idle"),
    over_time(f"sum(worker:throttle_cost:per_hour1h{{{WORKER}}})", "Throttled"),
]
ALL_TIME = [
    now(f"sum(pictor_electricity_cost_total{{{WORKER}}})", "Electricity"),
    now(f"sum(pictor_electricity_idle_cost_total{{{WORKER}}})", "of it idle"),
    now(f"sum(pictor_amortisation_cost_total{{{WORKER}}})", "Amortisation"),
]
WORKER_PER_GPU_HOUR = [now(f"max(worker:net_per_gpu_hour:ratio1h{{{WORKER}}})", "Net per GPU-hour")]
WORKER_PER_KWH = [now(f"max(worker:reward_per_kwh:ratio1d{{{WORKER}}})", "Reward per kWh")]
