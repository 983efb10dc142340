"""What Prometheus holds of a network after a day, written as blocks: for scripts/bench dashboards.

A thousand workers of eight GPUs, each with tasks that follow one another in every slot. Names are those that dashboards
and rules read; a GPU's labels are those of the agent's golden scrape. What queries read of it has its real resolution,
the rest is there with fewer samples (`resolution` says which), for a day of all of it would be three milliards.
"""

import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SCRAPE = REPOSITORY / "agent/tests/data/scrapes/server-8.prom"
DOCUMENT = REPOSITORY / "docs/metrics.md"
GPUS = 8
ACCOUNTS = 100
BLOCK_SECONDS = 2 * 3600
# Half past a day, so that `@ midnight` lies within it. Divisible by a block's length.
END = 1_793_620_800
# One block more than a day: `offset` of a day finds something.
BLOCKS = 13
START = END - BLOCKS * BLOCK_SECONDS
SCRAPE_SECONDS, RULE_SECONDS, NETWORK_SECONDS, COARSE_SECONDS = 15, 30, 60, 3600
# The worker whose dashboards are opened.
WATCHED = 7
TASK_SECONDS, GAP_SECONDS = 600, 15
# As often as a large fleet renames machines in a day: their series begin anew.
RENAMED_EVERY = 20

RESULTS = ("completed", "failed", "expired", "released")
ATTEMPTS = ("pending", "running", "paused", "completed", "failed", "expired", "released", "cancelled")
ROUTES = (
    "/v1/agent/heartbeat", "/v1/agent/leases", "/v1/agent/leases/{id}/complete", "/v1/agent/leases/{id}/fail",
    "/v1/agent/leases/{id}/frames/{n}", "/v1/agent/leases/{id}/scene", "/v1/agent/metrics", "/v1/attempts", "/v1/jobs",
    "/v1/jobs/{id}", "/v1/summary", "/v1/workers", "/v1/workers/{id}", "/v1/workers/{id}/statistics", "/metrics",
    "/metrics/network", "/v1/discovery/prometheus", "/healthz",
)  # fmt: skip
STATUSES = ("200", "204", "404", "409", "500")
HISTOGRAM_BOUNDS = ("0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "120", "300", "600", "1800", "+Inf")

# Recorded series, by what they are of: their other labels follow. prometheus/rules says what they mean.
OF_GPU = ("gpu:performance_state:code", "gpu:power_watts:now", "gpu:temperature_margin_celsius:min", "gpu:throttle:code",
          "gpu:busy:ratio5m", "gpu:throttle_loss:ratio5m", "gpu:throttle_heat:ratio5m")  # fmt: skip
OF_WORKER = (
    "status:code", "gpus:count", "gpus_missing:count", "gpu_utilization:avg", "gpu_memory_used:ratio",
    "gpu_temperature_celsius:max", "gpu_power_watts:sum", "gpu_power_limit_watts:sum", "memory_used:ratio",
    "disk_free:ratio", "slots_busy:ratio", "busy:ratio5m", "busy:ratio1h", "busy:ratio6h", "power_watts:rate5m",
    "idle_power_watts:sum", "task_success:ratio1h", "task_failure:ratio1h", "scene_cache_hit:ratio1h",
    "warm_start:ratio1h", "power_watts:rate1h", "throttle_loss:ratio1h",
)  # fmt: skip
OF_WORKER_IN_CURRENCY = (
    "reward:per_hour5m", "reward:per_hour1h", "electricity_cost:per_hour1h", "amortisation_cost:per_hour1h",
    "idle_cost:per_hour1h", "net:per_hour1h", "net:per_hour1d", "reward_per_kwh:ratio1h", "reward_per_kwh:ratio1d",
    "net_per_gpu_hour:ratio1h", "throttle_cost:per_hour1h", "break_even_price:per_kwh1h", "break_even_price:per_kwh1d",
)  # fmt: skip
OF_ACCOUNT = (
    "gpus:sum", "gpus_missing:sum", "gpu_utilization:avg", "gpu_temperature_celsius:max", "power_watts:sum",
    "idle_power_watts:sum", "slots_busy:ratio", "outbox_entries:sum",
)  # fmt: skip
OF_ACCOUNT_IN_CURRENCY = (
    "reward:per_hour1h", "electricity_cost:per_hour1h", "amortisation_cost:per_hour1h", "idle_cost:per_hour1h",
    "net:per_hour1h", "throttle_cost:per_hour1h", "reward_per_kwh:ratio1h", "net_per_gpu_hour:ratio1h",
)  # fmt: skip


def resolution():
    return (
        f"one worker's own series every {SCRAPE_SECONDS} s and its recorded ones every {RULE_SECONDS} s; those of accounts and of the "
        f"network every {RULE_SECONDS} s;\nall workers' totals every {NETWORK_SECONDS} s; all workers' recorded series every "
        f"{NETWORK_SECONDS} s in the last two hours, every {COARSE_SECONDS // 60} min before;\nother workers' own series every "
        f"{COARSE_SECONDS // 60} min: they are in the index, and no dashboard's query reads their samples")


@dataclass(frozen=True)
class Shape:
    """How a series runs: around `base`, or up from it."""

    base: float
    swing: float = 0.0
    per_second: float = 0.0

    def values(self, times, seed):
        if self.per_second:
            return [f"{self.base + (at - START) * self.per_second:.2f}" for at in times]
        noise = wave(self.base, self.swing)
        return [noise[(seed + at // 15) & 511] for at in times]


@cache
def wave(base, swing):
    """Text of 512 numbers that look measured; each series begins elsewhere in it."""
    return [f"{base + swing * ((index * 197 % 512) / 512 - 0.5):.4g}" for index in range(512)]


GAUGE, CONSTANT, COUNTER = Shape(0.6, 0.5), Shape(1), Shape(1000, per_second=0.01)


class Window:
    """The file of one block, and the moments in it."""

    def __init__(self, start, file):
        self.start, self.file = start, file
        self.is_last = start + BLOCK_SECONDS == END

    @cache
    def moments(self, step):
        times = range(self.start, self.start + BLOCK_SECONDS, step)
        return times, [f" {at}\n" for at in times]

    def write(self, name, labels, shape, step, seed=0, is_there=None):
        times, texts = self.moments(step)
        head = f"{name}{{{labels}}} " if labels else f"{name} "
        lines = [head + value + text for value, text in zip(shape.values(times, seed), texts)]
        if is_there:
            lines = [line for at, line in zip(times, lines) if is_there(at)]
        self.file.write("".join(lines))


class Worker:
    def __init__(self, index, start):
        self.index = index
        self.is_watched = index == WATCHED
        self.own_step = SCRAPE_SECONDS if self.is_watched else COARSE_SECONDS
        self.id = f"wrk_{index:032x}"
        # Renamed at midday.
        is_renamed = index % RENAMED_EVERY == 1 and start >= END - 12 * 3600
        self.name = f"rack-{index // 20}-{index % 20}" + ("-new" if is_renamed else "")
        self.account = f"acc_{index % ACCOUNTS:032x}"
        self.keys = f'account="{self.account}",worker_id="{self.id}"'
        self.scraped = f'{self.keys},worker_name="{self.name}",instance="{self.id}",job="pictor-agent"'

    def uuid(self, gpu):
        return f"GPU-{self.index:08x}-0000-4000-8000-{gpu:012x}"

    def is_rendering(self, slot, at):
        """Tasks follow one another, with a short while between them."""
        period = TASK_SECONDS + GAP_SECONDS
        return (at + 97 * slot + 31 * self.index) % period < TASK_SECONDS


def gpu_families(wanted):
    """(name, labels, GPU or None) of every series of GPUs in the golden scrape that anybody reads."""
    for line in SCRAPE.read_text().splitlines():
        found = re.match(r"(\w+)(?:\{(.*)\})? ", line)
        if not found or not found[1].startswith("pictor_gpu") or found[1] not in wanted:
            continue
        labels = found[2] or ""
        gpu = re.search(r'gpu="(\d+)"', labels)
        yield found[1], re.sub(r'uuid="[^"]*",?', "", labels), gpu and int(gpu[1])
    for gpu in range(GPUS):
        yield "pictor_gpu_fan_speed_ratio", f'gpu="{gpu}",fan="0"', gpu
        yield "pictor_gpu_busy_seconds_total", f'gpu="{gpu}"', gpu
        yield "pictor_gpu_xid_last_timestamp_seconds", f'gpu="{gpu}",xid="31"', gpu


def write_own(window, worker, families):
    """What an agent says of itself, as it is scraped."""
    put = lambda name, labels, shape, seed=0, is_there=None: window.write(
        name, f"{worker.scraped},{labels}" if labels else worker.scraped, shape, worker.own_step, seed, is_there)
    for seed, (name, labels, gpu) in enumerate(families):
        uuid = "" if gpu is None else f'uuid="{worker.uuid(gpu)}",'
        shape = COUNTER if name.endswith("_total") else GAUGE
        put(name, (uuid + labels).strip(","), shape, seed * 7 + worker.index)
    for slot in range(GPUS):
        label, busy = f'slot="{slot}"', partial(worker.is_rendering, slot)
        put("pictor_task_running", label, CONSTANT)
        put("pictor_slot_busy_seconds_total", label, Shape(9e5, per_second=0.96))
        for name in ("pictor_task_progress_ratio", "pictor_task_elapsed_seconds", "pictor_task_remaining_seconds"):
            put(name, label, GAUGE, slot * 31, busy)
    write_host(put)
    write_tasks(put)
    write_money(put)


def collectors():
    """Their names, as docs/metrics.md has them of the code."""
    agents = DOCUMENT.read_text().split("## Registry")[0]
    return re.findall(r"^### (\w+)$", agents, re.MULTILINE)


def write_host(put):
    for core in range(64):
        put("pictor_cpu_core_utilization_ratio", f'cpu="{core}"', GAUGE, core * 5)
    for name in ("cpu_utilization_ratio", "swap_used_bytes", "outbox_entries", "clock_skew_seconds",
                 "agent_resident_memory_bytes"):
        put(f"pictor_{name}", "", GAUGE)
    put("pictor_cpu_temperature_celsius", 'sensor="package"', Shape(60, 20))
    put("pictor_memory_used_bytes", "", Shape(2e11, 1e11))
    put("pictor_memory_total_bytes", "", Shape(5e11))
    put("pictor_agent_cpu_seconds_total", "", Shape(50, per_second=0.005))
    for period in ("1m", "5m", "15m"):
        put("pictor_load_average", f'period="{period}"', Shape(8, 4))
    for mount in ("/", "/var/lib/pictor-agent"):
        put("pictor_disk_free_bytes", f'mount="{mount}"', Shape(6e11, 1e11))
        put("pictor_disk_total_bytes", f'mount="{mount}"', Shape(1e12))
    for device in ("eth0", "eth1"):
        for direction in ("rx", "tx"):
            put("pictor_network_bytes_total", f'device="{device}",direction="{direction}"', Shape(1e9, per_second=3e5))
    for collector in collectors():
        put("pictor_collector_success", f'collector="{collector}"', CONSTANT)
    for check in ("blender", "sandbox", "disk", "registry", "clock", "gpus", "gpu_fallback", "gpu_throttling", "gpu_xid"):
        put("pictor_health", f'check="{check}"', CONSTANT)
    for status in ("idle", "busy", "paused", "draining"):
        put("pictor_slots", f'status="{status}"', Shape(2))
    put("up", "", CONSTANT)


def write_tasks(put):
    rate = GPUS / (TASK_SECONDS + GAP_SECONDS)
    for result in RESULTS:
        put("pictor_tasks_total", f'result="{result}"', Shape(5000, per_second=rate))
        put("pictor_frames_total", f'result="{result}"', Shape(50000, per_second=10 * rate))
    for name in ("scene_cache_hits_total", "scene_cache_misses_total"):
        put(f"pictor_{name}", "", Shape(500, per_second=rate))
    for kind in ("cold", "warm"):
        put("pictor_blender_starts_total", f'kind="{kind}"', Shape(500, per_second=rate))
    phases = ("task_phase_seconds", "phase", ("fetch", "load", "render", "upload"))
    for name, label, values in (phases, ("task_eta_error_ratio", "at", ("0.25", "0.5", "0.75"))):
        for value in values:
            put(f"pictor_{name}_sum", f'{label}="{value}"', Shape(1e5, per_second=60 * rate))
            put(f"pictor_{name}_count", f'{label}="{value}"', Shape(5000, per_second=rate))
            for index, bound in enumerate(HISTOGRAM_BOUNDS):
                grows = Shape(300 * (index + 1), per_second=rate * (index + 1) / len(HISTOGRAM_BOUNDS))
                put(f"pictor_{name}_bucket", f'{label}="{value}",le="{bound}"', grows)


def write_money(put):
    for name in ("earnings", "electricity_cost", "electricity_idle_cost", "amortisation_cost"):
        put(f"pictor_{name}_total", 'currency="EUR"', Shape(100, per_second=0.0005))
    put("pictor_electricity_price", 'currency="EUR"', Shape(0.32))
    put("pictor_exchange_rate", 'from="EUR",to="EUR"', CONSTANT)
    for component, source in (("gpu", "measured"), ("host", "estimate")):
        put("pictor_energy_joules_total", f'component="{component}",source="{source}"', Shape(1e9, per_second=1500))


def write_recorded(window, worker):
    """What the rules make of a worker."""
    step = NETWORK_SECONDS if window.is_last else COARSE_SECONDS
    step = RULE_SECONDS if worker.is_watched else step
    put = lambda name, labels, shape, seed=0: window.write(
        f"worker:{name}", f"{worker.keys},{labels}" if labels else worker.keys, shape, step, seed + worker.index * 13)
    for name in OF_WORKER:
        put(name, "", Shape(6) if name == "status:code" else GAUGE)
    put("name:info", f'worker_name="{worker.name}"', CONSTANT)
    for name in OF_WORKER_IN_CURRENCY:
        put(name, 'currency="EUR"', GAUGE)
    for result in RESULTS:
        put("tasks:per_hour1h", f'result="{result}"', Shape(40, 10))
        put("frames:per_hour1h", f'result="{result}"', Shape(400, 100))
    for phase in ("fetch", "load", "render", "upload"):
        put("task_phase_seconds:avg1h", f'phase="{phase}"', Shape(100, 60))
    for at in ("0.25", "0.5", "0.75"):
        put("task_eta_error:avg1h", f'at="{at}"', GAUGE)
    for watts in (4800, 5600):
        put("reward_at_limit:rate5m", f'currency="EUR",power_limit_watts="{watts}"', GAUGE)
        put("power_watts_at_limit:rate5m", f'power_limit_watts="{watts}"', Shape(4500, 500))
    step = RULE_SECONDS if worker.is_watched else COARSE_SECONDS
    for gpu in range(GPUS):
        for name in OF_GPU:
            window.write(name, f'{worker.keys},uuid="{worker.uuid(gpu)}",gpu="{gpu}"', GAUGE, step, gpu * 61)


def write_registered(window, worker):
    """What the registry says of a worker."""
    put = lambda name, labels, shape, is_there=None: window.write(
        f"pictor_registry_worker_{name}", f'{worker.keys},{labels}instance="127.0.0.1:8080",job="pictor-registry"', shape,
        NETWORK_SECONDS, worker.index, is_there)
    reward = 0.0002 + worker.index * 1e-7
    put("earnings_total", 'currency="EUR",', Shape(50, per_second=reward))
    put("points_total", "", Shape(5000, per_second=0.01))
    for status in ATTEMPTS:
        grows = Shape(3000, per_second=0.01) if status == "completed" else Shape(3)
        put("tasks", f'status="{status}",', grows)
    name = f'worker_name="{worker.name}",'
    put("agent_info", f'{name}version="0.{worker.index % 3}.0",', CONSTANT)
    # Busy, and idle for a while: each status is a series of its own.
    is_busy = partial(worker.is_rendering, 0)
    put("status", f'{name}status="busy",', CONSTANT, is_busy)
    put("status", f'{name}status="idle",', CONSTANT, lambda at: not is_busy(at))


def write_account(window, index):
    account = f'account="acc_{index:032x}"'
    put = lambda name, labels, shape: window.write(
        f"account:{name}", f"{account},{labels}" if labels else account, shape, RULE_SECONDS, index * 29)
    for name in OF_ACCOUNT:
        put(name, "", Shape(80, 10))
    for name in OF_ACCOUNT_IN_CURRENCY:
        put(name, 'currency="EUR"', GAUGE)
    for status in ("idle", "busy", "paused", "draining"):
        put("slots:sum", f'status="{status}"', Shape(20, 10))
    for status in ("offline", "idle", "busy", "paused", "draining"):
        put("workers:count", f'status="{status}"', Shape(3, 2))
    for reason in ("never_connected", "stopped", "lost"):
        put("workers_offline:count", f'reason="{reason}"', Shape(1))
    for result in RESULTS:
        put("tasks:per_hour1h", f'result="{result}"', Shape(400, 100))
    # Of the account's first worker, now and then.
    worker = f'{account},worker_id="wrk_{index:032x}"'
    for alert in ('"GpuThrottling",level="gpu",severity="warning"', '"TasksFailing",level="worker",severity="critical"'):
        window.write("ALERTS", f'{worker},alertstate="firing",alertname={alert}', CONSTANT, RULE_SECONDS,
                     is_there=lambda at: at % 21600 < 3600)


def write_network(window):
    put = lambda name, labels, shape, seed=0: window.write(name, labels, shape, RULE_SECONDS, seed)
    put("ALERTS", 'alertname="QueueOld",alertstate="firing",level="network",severity="warning"', CONSTANT)
    for status in ("pending", "running", "paused", "completed", "failed", "cancelled"):
        put("network:tasks:count", f'status="{status}"', Shape(4000, 500))
        put("network:jobs:count", f'status="{status}"', Shape(400, 50))
    for status in ("offline", "idle", "busy", "paused", "draining"):
        put("network:workers:count", f'status="{status}"', Shape(200, 50))
        put("network:slots:sum", f'status="{status}"', Shape(1600, 400))
    for quantile in ("p50", "p95", "p99"):
        put(f"network:assignment_seconds:{quantile}_5m", "", Shape(0.01, 0.01))
    for outcome in (*RESULTS, "granted", "cancelled"):
        put("network:leases:rate5m", f'outcome="{outcome}"', GAUGE)
    for slo in ("availability", "latency"):
        for span in ("5m", "30m", "1h", "2h", "6h", "1d", "3d"):
            put(f"network:slo_burn:ratio{span}", f'slo="{slo}"', GAUGE)
    for kind in ("reward", "fee"):
        put("network:paid:sum", f'currency="EUR",kind="{kind}"', Shape(1e5, per_second=0.3))
    for name in ("lease_expiry:ratio1h", "oldest_pending_task_seconds:max"):
        put(f"network:{name}", "", GAUGE)
    for seed, route in enumerate(ROUTES):
        for status in STATUSES:
            put("registry:http_requests:rate5m", f'route="{route}",method="GET",status="{status}"', GAUGE, seed)
        for quantile in ("p50", "p95", "p99"):
            put(f"registry:http_request_seconds:{quantile}_5m", f'route="{route}"', Shape(0.02, 0.02), seed)
    for replica in range(3):
        instance = f'instance="10.0.0.{replica}:8080"'
        put("registry:database_connections_used:ratio", instance, GAUGE, replica)
        for path in ("/metrics", "/metrics/network"):
            put("up", f'{instance},job="pictor-registry",metrics_path="{path}"', CONSTANT)
        put("pictor_registry_ledger_check_success", f'{instance},job="pictor-registry"', CONSTANT)
        for name in ("ledger_check_last_success", "backup_last_success", "start"):
            put(f"pictor_registry_{name}_timestamp_seconds", f'{instance},job="pictor-registry"', Shape(START))


def write_block(folder, workers, wanted, number):
    """One block of two hours, by way of a text file."""
    text = folder / f"{number}.om"
    start = START + number * BLOCK_SECONDS
    families = list(gpu_families(wanted))
    with text.open("w") as file:
        window = Window(start, file)
        for index in range(workers):
            worker = Worker(index, start)
            write_own(window, worker, families)
            write_recorded(window, worker)
            write_registered(window, worker)
        for index in range(ACCOUNTS):
            write_account(window, index)
        write_network(window)
        file.write("# EOF\n")
    size = text.stat().st_size
    made = subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, folder],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    text.unlink()
    if made.returncode:
        sys.exit(f"bench: promtool: {made.stdout[-2000:]}")
    return size


def write_blocks(folder, workers, wanted, processes):
    with ProcessPoolExecutor(processes) as pool:
        for number, size in enumerate(pool.map(partial(write_block, folder, workers, wanted), range(BLOCKS)), 1):
            print(f"block {number} of {BLOCKS}: {size / 1e6:.0f} MB of text", flush=True)
