"""Queries of `pictor-worker-monitor`: one worker, everything that is measured of it."""

from targets import Rest, now, over_time, rows

# Peaks are kept with max_over_time over $__rate_interval: $__interval can be shorter than the 30 s between two
# values of a recorded series, and would leave gaps.
WORKER = 'worker_id="$worker"'
GPU = f'{WORKER},uuid=~"$gpu"'
SLOT = f'{WORKER},slot=~"$slot"'

INFO = [
    Rest(
        "/v1/workers/${worker}",
        """
[{
  "Name": .name,
  "Status": (.status + (if .offline_reason == null then "" else ", " + (.offline_reason | gsub("_"; " ")) end)),
  "Wanted": .desired,
  "Uptime": .uptime_seconds,
  "Online": .availability_ratio,
  "Heartbeat": .last_heartbeat_at,
  "Agent": .agent_version,
  "Address": ([.ip, .local_ip] | map(select(. != null)) | unique | join(", ")),
  "Tags": (.tags | join(", "))
}]
""".strip(),
        (
            ("Name", "string"),
            ("Status", "string"),
            ("Wanted", "string"),
            ("Uptime", "number"),
            ("Online", "number"),
            ("Heartbeat", "timestamp"),
            ("Agent", "string"),
            ("Address", "string"),
            ("Tags", "string"),
        ),
    )
]
HARDWARE = [
    Rest(
        "/v1/workers/${worker}",
        """
[{
  "GPUs": (.gpus | map(.name // "GPU") | group_by(.) | map((length | tostring) + " × " + .[0]) | join(", ")),
  "Driver": (.gpus | map(.driver_version // empty) | unique | join(", ")),
  "CPU": .cpu.name,
  "Cores": .cpu.cores,
  "RAM": .memory_total_bytes,
  "System": .os,
  "Blender": (.blender | map(.version) | join(", "))
}]
""".strip(),
        (
            ("GPUs", "string"),
            ("Driver", "string"),
            ("CPU", "string"),
            ("Cores", "number"),
            ("RAM", "number"),
            ("System", "string"),
            ("Blender", "string"),
        ),
    )
]
SLOTS = [
    Rest(
        "/v1/workers/${worker}",
        """
[.gpus as $cards | .slots[] | .gpu_uuid as $card | {
  "Slot": .slot,
  "GPU": (if .gpu_uuid == null then "CPU" else ([$cards[] | select(.uuid == $card) | .name] | first) end),
  "Status": .status,
  "Why": (.reasons | map(.detail // (.code | gsub("_"; " "))) | join(", ")),
  "Job": .job_id,
  "Task": .task_id,
  "Progress": .progress_ratio,
  "Elapsed": .elapsed_seconds,
  "Remaining": .remaining_seconds
}]
""".strip(),
        (
            ("Slot", "number"),
            ("GPU", "string"),
            ("Status", "string"),
            ("Why", "string"),
            ("Job", "string"),
            ("Task", "string"),
            ("Progress", "number"),
            ("Elapsed", "number"),
            ("Remaining", "number"),
        ),
    )
]

STATUS = [over_time(f"worker:status:code{{{WORKER}}}", "Status")]
HEALTH = [over_time(f"min by (check) (min_over_time(pictor_health{{{WORKER}}}[$__rate_interval]))", "{{check}}")]
SLOT_STATES = [
    over_time(f"max by (slot) (max_over_time(pictor_task_running{{{SLOT}}}[$__rate_interval]))", "Slot {{slot}}")
]
PROGRESS = [over_time(f"max by (slot) (pictor_task_progress_ratio{{{SLOT}}})", "Slot {{slot}}")]
REMAINING = [over_time(f"max by (slot) (pictor_task_remaining_seconds{{{SLOT}}})", "Slot {{slot}}")]
ALERTS = [now(f'count(ALERTS{{alertstate="firing",{WORKER}}}) or vector(0)', "Firing")]
OUTBOX = [now(f"max(pictor_outbox_entries{{{WORKER}}})", "Unsent")]
CLOCK = [now(f"max(pictor_clock_skew_seconds{{{WORKER}}})", "Clock")]
GPUS_VISIBLE = [
    now(f"max(pictor_gpus_visible{{{WORKER}}})", "Answer"),
    now(f"max(pictor_gpus_expected{{{WORKER}}})", "Expected"),
]

UTILIZATION = [over_time(f"max by (gpu) (pictor_gpu_utilization_ratio{{{GPU}}})", "GPU {{gpu}}")]
MEMORY = [
    over_time(f"max by (gpu) (pictor_gpu_memory_used_bytes{{{GPU}}})", "GPU {{gpu}}"),
    over_time(f"max by (gpu) (pictor_gpu_memory_total_bytes{{{GPU}}})", "GPU {{gpu}} has"),
]
MEMORY_BUS = [over_time(f"max by (gpu) (pictor_gpu_memory_utilization_ratio{{{GPU}}})", "GPU {{gpu}}")]
TEMPERATURE = [
    over_time(
        f"max by (gpu, sensor) (max_over_time(pictor_gpu_temperature_celsius{{{GPU}}}[$__rate_interval]))",
        "GPU {{gpu}} {{sensor}}",
    ),
    over_time(
        f'min by (threshold) (pictor_gpu_temperature_threshold_celsius{{{GPU},threshold=~"slowdown|shutdown"}})',
        "Limit: {{threshold}}",
    ),
]
MARGIN = [now(f"min by (gpu) (gpu:temperature_margin_celsius:min{{{GPU}}})", "GPU {{gpu}}")]
POWER = [
    over_time(f"max by (gpu) (gpu:power_watts:now{{{GPU}}})", "GPU {{gpu}}"),
    over_time(f'max by (gpu) (pictor_gpu_power_watts{{{GPU},type="limit"}})', "GPU {{gpu}} limit"),
]
CLOCKS = [
    over_time(
        f'max by (gpu, clock) (pictor_gpu_clock_hertz{{{GPU},clock=~"graphics|memory"}})', "GPU {{gpu}} {{clock}}"
    )
]
FANS = [over_time(f"max by (gpu, fan) (pictor_gpu_fan_speed_ratio{{{GPU}}})", "GPU {{gpu}} fan {{fan}}")]
THROTTLE = [over_time(f"max by (gpu) (max_over_time(gpu:throttle:code{{{GPU}}}[$__rate_interval]))", "GPU {{gpu}}")]
PERFORMANCE = [
    over_time(f"max by (gpu) (max_over_time(gpu:performance_state:code{{{GPU}}}[$__rate_interval]))", "GPU {{gpu}}")
]
GPU_ANSWERS = [over_time(f"min by (gpu) (min_over_time(pictor_gpu_up{{{GPU}}}[$__rate_interval]))", "GPU {{gpu}}")]
CODECS = [
    over_time(f"max by (gpu) (pictor_gpu_encoder_utilization_ratio{{{GPU}}})", "GPU {{gpu}} encoder"),
    over_time(f"max by (gpu) (pictor_gpu_decoder_utilization_ratio{{{GPU}}})", "GPU {{gpu}} decoder"),
]
THROTTLED_SHARE = [
    over_time(
        f"max by (reason) (rate(pictor_gpu_throttle_seconds_total{{{GPU}}}[$__rate_interval]))",
        "{{reason}}",
    )
]

XID = [rows(f"topk(20, max by (gpu, xid) (pictor_gpu_xid_last_timestamp_seconds{{{GPU}}})) * 1000")]
ECC = [rows(f"topk(20, sum by (gpu, severity, scope) (pictor_gpu_ecc_errors_total{{{GPU}}}))")]


def _kind(name: str, series: str) -> str:
    return f'label_replace(sum by (gpu, cause) ({series}{{{GPU}}}), "kind", "{name}", "", "")'


REMAPPED = [
    rows(
        f"topk(20, {_kind('remapped rows', 'pictor_gpu_remapped_rows')} "
        f"or {_kind('retired pages', 'pictor_gpu_retired_pages')})"
    )
]
RECOVERY = [now(f"max by (gpu) (pictor_gpu_recovery_action{{{GPU}}})", "GPU {{gpu}}")]
PCIE = [
    over_time(f"min by (gpu) (pictor_gpu_pcie_link_width{{{GPU}}})", "GPU {{gpu}} lanes"),
    over_time(f"min by (gpu) (pictor_gpu_pcie_link_generation{{{GPU}}})", "GPU {{gpu}} generation"),
]
PCIE_REPLAYS = [
    over_time(f"sum by (gpu) (rate(pictor_gpu_pcie_replays_total{{{GPU}}}[$__rate_interval]))", "GPU {{gpu}}")
]

CPU = [
    over_time(f"max(pictor_cpu_utilization_ratio{{{WORKER}}})", "All cores"),
    over_time(f"max(pictor_cpu_core_utilization_ratio{{{WORKER}}})", "Busiest core"),
]
CPU_TEMPERATURE = [over_time(f"max by (sensor) (pictor_cpu_temperature_celsius{{{WORKER}}})", "{{sensor}}")]
LOAD = [over_time(f"max by (period) (pictor_load_average{{{WORKER}}})", "{{period}}")]
RAM = [
    over_time(f"max(pictor_memory_used_bytes{{{WORKER}}})", "Used"),
    over_time(f"max(pictor_swap_used_bytes{{{WORKER}}})", "Swap used"),
    over_time(f"max(pictor_memory_total_bytes{{{WORKER}}})", "RAM it has"),
]
DISK = [
    over_time(
        f"min by (mount) (pictor_disk_free_bytes{{{WORKER}}} / (pictor_disk_total_bytes{{{WORKER}}} > 0))", "{{mount}}"
    )
]
NETWORK = [
    over_time(
        f"sum by (device, direction) (rate(pictor_network_bytes_total{{{WORKER}}}[$__rate_interval]))",
        "{{device}} {{direction}}",
    )
]
AGENT_CPU = [over_time(f"sum(rate(pictor_agent_cpu_seconds_total{{{WORKER}}}[$__rate_interval]))", "Agent")]
AGENT_MEMORY = [over_time(f"max(pictor_agent_resident_memory_bytes{{{WORKER}}})", "Agent")]
COLLECTORS = [
    over_time(
        f"min by (collector) (min_over_time(pictor_collector_success{{{WORKER}}}[$__rate_interval]))", "{{collector}}"
    )
]
