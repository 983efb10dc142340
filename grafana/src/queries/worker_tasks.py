"""Queries of `pictor-worker-tasks`: the attempts of one worker, from the registry."""

from queries import figures
from targets import RANGE, Rest

_PARAMS = {
    "worker": "${worker}",
    "gpu": "${gpu}",
    "status": "${status:csv}",
    "search": "${search}",
    **RANGE,
    "limit": "${limit}",
}

_COLUMNS = (
    ("Status", "string"),
    ("Progress", "number"),
    ("Started", "timestamp"),
    ("Completed", "timestamp"),
    ("Render time", "number"),
    ("Cost", "number"),
    ("Reward", "number"),
    ("Slot", "number"),
    ("GPU", "string"),
    ("Task", "string"),
    ("Job", "string"),
    ("Error", "string"),
)

HISTORY = [
    Rest(
        "/v1/attempts",
        """
def units: if . == null then null else . / 1000000 end;
[.items[] | {
  "Status": .status,
  "Progress": .progress_ratio,
  "Started": .started_at,
  "Completed": .completed_at,
  "Render time": .render_seconds,
  "Cost": (.cost_micros | units),
  "Reward": (.reward_micros | units),
  "Slot": .slot,
  "GPU": (.gpu_name // "CPU"),
  "Task": .task_id,
  "Job": .job_id,
  "Error": .error
}]
""".strip(),
        _COLUMNS,
        _PARAMS,
    )
]

CUT = [
    Rest(
        "/v1/attempts",
        '[{"Rows": ((.items | length | tostring) + (if .next_cursor == null then " tasks, all there are" '
        'else " tasks: older ones are cut off" end))}]',
        (("Rows", "string"),),
        _PARAMS,
    )
]

# A state timeline ends a bar where the row's second time says; what still runs ends now.
# Infinity sorts columns by name, and the first time must be the beginning.
LANES = [
    Rest(
        "/v1/attempts",
        """
[.items[] | select(.started_at != null) | {
  "Began": .started_at,
  "Ended": (.completed_at // (now | todate)),
  "Lane": ("Slot " + (.slot | tostring)),
  "Status": .status
}]
""".strip(),
        (("Began", "timestamp"), ("Ended", "timestamp"), ("Lane", "string"), ("Status", "string")),
        _PARAMS,
    )
]

TASKS = [figures.tasks(figures.STATISTICS)]
EARNED = [figures.earned(figures.STATISTICS)]
