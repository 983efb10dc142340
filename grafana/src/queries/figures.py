"""The figures of an account or a worker, as `/v1/summary` and `/v1/workers/{id}/statistics` give them."""

from targets import RANGE, RANGE_BY_DAY, Rest

SUMMARY = "/v1/summary"
STATISTICS = "/v1/workers/${worker}/statistics"

TASK_RESULTS = ["completed", "failed", "expired", "released", "cancelled", "running", "pending", "paused"]


def money(path: str) -> Rest:
    select = (
        '[{"Earned": (.earnings_micros / 1000000), "Waits for audit": (.pending_micros / 1000000), '
        '"Balance now": (.balance_micros / 1000000), "Paid out, all time": (.paid_out_micros / 1000000)}]'
    )
    names = ["Earned", "Waits for audit", "Balance now", "Paid out, all time"]
    return Rest(path, select, tuple((name, "number") for name in names), RANGE)


def earned(path: str) -> Rest:
    return Rest(path, '[{"Earned": (.earnings_micros / 1000000)}]', (("Earned", "number"),), RANGE)


def points(path: str) -> Rest:
    return Rest(path, '[{"Points": .points}]', (("Points", "number"),), RANGE)


def tasks(path: str) -> Rest:
    fields = ", ".join(f'"{result}": .tasks.{result}' for result in TASK_RESULTS)
    return Rest(path, f"[{{{fields}}}]", tuple((result, "number") for result in TASK_RESULTS), RANGE)


def earnings_over_time(path: str) -> Rest:
    select = '[.series[] | {"At": .at, "Earned": (.earnings_micros / 1000000)}]'
    return Rest(path, select, (("At", "timestamp"), ("Earned", "number")), RANGE_BY_DAY)


def tasks_over_time(path: str) -> Rest:
    select = '[.series[] | {"At": .at, "completed": .completed, "failed": .failed}]'
    columns = (("At", "timestamp"), ("completed", "number"), ("failed", "number"))
    return Rest(path, select, columns, RANGE_BY_DAY)
