"""Queries of `pictor-workers`: every registered worker, one row each."""

from targets import PAGE_ROWS, Rest, now, rows
from variables import WORKERS_FILTER

ACCOUNT = 'account=~"$account"'
NAMED = "* on (account, worker_id) group_left (worker_name) worker:name:info"

_PARAMS = {**WORKERS_FILTER, "limit": str(PAGE_ROWS), "cursor": "${page}"}

# A mean or maximum of nothing is null, not 0.
_SELECT = """
def known(f): map(f) | map(select(. != null));
def mean: if length == 0 then null else add / length end;
def share(used; total): if used == null or total == null or total == 0 then null else used / total end;
[.items[] | {
  "worker_id": .id,
  "Worker": .name,
  "Status": .status,
  "Why": .offline_reason,
  "Uptime": .uptime_seconds,
  "GPUs": (.gpus | length),
  "GPU": (.gpus | known(.utilization_ratio) | mean),
  "GPU memory": share((.gpus | known(.memory_used_bytes) | add); (.gpus | known(.memory_total_bytes) | add)),
  "RAM": share(.memory_used_bytes; .memory_total_bytes),
  "Hottest": (.gpus | known(.temperature_celsius) | max),
  "Slots busy": ((.slots | map(select(.status == "busy")) | length | tostring) + " / " + (.slots | length | tostring)),
  "Task": .task.task_id,
  "Progress": .task.progress_ratio,
  "Remaining": .task.remaining_seconds,
  "Heartbeat": .last_heartbeat_at,
  "Online": .availability_ratio,
  "Version": .agent_version,
  "Tags": (.tags | join(", "))
}]
""".strip()

_COLUMNS = (
    ("Worker", "string"),
    ("Status", "string"),
    ("Why", "string"),
    ("Uptime", "number"),
    ("GPUs", "number"),
    ("GPU", "number"),
    ("GPU memory", "number"),
    ("RAM", "number"),
    ("Hottest", "number"),
    ("Slots busy", "string"),
    ("Task", "string"),
    ("Progress", "number"),
    ("Remaining", "number"),
    ("Heartbeat", "timestamp"),
    ("Online", "number"),
    ("Version", "string"),
    ("Tags", "string"),
    ("worker_id", "string"),
)
COLUMN_NAMES = [name for name, _ in _COLUMNS]

_LAST = f"max by (worker_id) (pictor_registry_worker_earnings_total{{{ACCOUNT}}})"
_AT_MIDNIGHT = f"max by (worker_id) (pictor_registry_worker_earnings_total{{{ACCOUNT}}} @ $midnight)"

FLEET = [
    Rest("/v1/workers", _SELECT, _COLUMNS, _PARAMS),
    rows(f"topk(10000, {_LAST} - ({_AT_MIDNIGHT} or {_LAST} * 0))"),
]

CUT = [
    Rest(
        "/v1/workers",
        '[{"Rows": ((.items | length | tostring) + (if .next_cursor == null then " workers" '
        'else " workers, and more: choose the next page above" end))}]',
        (("Rows", "string"),),
        _PARAMS,
    )
]

STATUSES = [now(f"sum by (status) (account:workers:count{{{ACCOUNT}}})", "{{status}}")]
HOTTEST = [rows(f"topk(10, worker:gpu_temperature_celsius:max{{{ACCOUNT}}}) {NAMED}")]
GPUS_MISSING = [rows(f"topk(10, worker:gpus_missing:count{{{ACCOUNT}}} > 0) {NAMED}")]
FAILING = [rows(f"topk(10, worker:task_failure:ratio1h{{{ACCOUNT}}} > 0) {NAMED}")]
IDLE = [rows(f"bottomk(10, worker:busy:ratio6h{{{ACCOUNT}}}) {NAMED}")]
DISKS = [rows(f"bottomk(10, worker:disk_free:ratio{{{ACCOUNT}}}) {NAMED}")]
NET = [rows(f"bottomk(10, sum by (account, worker_id) (worker:net:per_hour1d{{{ACCOUNT}}})) {NAMED}")]
