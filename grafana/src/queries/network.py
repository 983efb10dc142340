"""Queries of `pictor-network`: the registry and the whole network, for its operator."""

from targets import now, over_time, rows

ROUTE = 'route=~"$route"'
REGISTRY = 'job="pictor-registry"'

UP = [now(f"min by (instance) (up{{{REGISTRY}}})", "{{instance}}")]
LEDGER = [now("min(pictor_registry_ledger_check_success)", "Ledger check")]
LEDGER_AGE = [now("time() - max(pictor_registry_ledger_check_last_success_timestamp_seconds)", "Since it passed")]
BACKUP_AGE = [now("time() - max(pictor_registry_backup_last_success_timestamp_seconds)", "Since the last backup")]
UPTIME = [now("time() - max by (instance) (pictor_registry_start_timestamp_seconds)", "{{instance}}")]
ALERTS = [now('count(ALERTS{alertstate="firing",level="network"}) or vector(0)', "Firing")]
BURN = [
    now("max by (slo) (network:slo_burn:ratio1h)", "{{slo}}, 1 h"),
    now("max by (slo) (network:slo_burn:ratio3d)", "{{slo}}, 3 d"),
]
BURN_OVER_TIME = [
    over_time("max by (slo) (network:slo_burn:ratio1h)", "{{slo}}, 1 h"),
    over_time("max by (slo) (network:slo_burn:ratio6h)", "{{slo}}, 6 h"),
]

QUEUE = [over_time('sum by (status) (network:tasks:count{status=~"pending|running|paused"})', "{{status}}")]
OLDEST = [over_time("max(network:oldest_pending_task_seconds:max)", "Oldest pending")]
JOBS = [now("sum by (status) (network:jobs:count)", "{{status}}")]
ASSIGNMENT = [
    over_time("max(network:assignment_seconds:p50_5m)", "p50"),
    over_time("max(network:assignment_seconds:p95_5m)", "p95"),
    over_time("max(network:assignment_seconds:p99_5m)", "p99"),
]
LEASES = [over_time("sum by (outcome) (network:leases:rate5m)", "{{outcome}}")]
EXPIRY = [over_time("max(network:lease_expiry:ratio1h)", "Expired")]
WORKERS = [over_time("sum by (status) (network:workers:count)", "{{status}}")]
SLOTS = [over_time("sum by (status) (network:slots:sum)", "{{status}}")]
VERSIONS = [rows("topk(20, count by (version) (pictor_registry_worker_agent_info))")]
PAID = [now("sum by (kind) (network:paid:sum)", "{{kind}}")]
OUTBOX = [over_time("sum(account:outbox_entries:sum)", "Unsent results")]

REQUESTS = [over_time(f"sum by (route) (registry:http_requests:rate5m{{{ROUTE}}})", "{{route}}")]
ERRORS = [
    over_time(
        f'sum by (route, status) (registry:http_requests:rate5m{{{ROUTE},status=~"[45].."}})', "{{route}} {{status}}"
    )
]
# An agent's question for work waits for work: how long says nothing about the registry.
ANSWERED = f'{ROUTE}, route!="/v1/agent/leases"'
LATENCY_P50 = [over_time(f"max by (route) (registry:http_request_seconds:p50_5m{{{ANSWERED}}})", "{{route}}")]
LATENCY_P99 = [over_time(f"max by (route) (registry:http_request_seconds:p99_5m{{{ANSWERED}}})", "{{route}}")]
DATABASE = [over_time("max by (instance) (registry:database_connections_used:ratio)", "{{instance}}")]
