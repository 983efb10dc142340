"""Queries of `pictor-worker-statistics`: one worker over the range."""

from queries import figures
from targets import now, over_time

WORKER = 'worker_id="$worker"'

EARNED = [figures.earned(figures.STATISTICS)]
POINTS = [figures.points(figures.STATISTICS)]
TASKS = [figures.tasks(figures.STATISTICS)]
EARNINGS_OVER_TIME = [figures.earnings_over_time(figures.STATISTICS)]
TASKS_OVER_TIME = [figures.tasks_over_time(figures.STATISTICS)]


def _rate(counter: str, labels: str = "") -> str:
    """Over the whole range: for shares and means, where the length of the range cancels out."""
    selector = f"{WORKER},{labels}" if labels else WORKER
    return f"sum(rate({counter}{{{selector}}}[$__range]))"


def _share(part: str, whole: str) -> str:
    return f"{part} / ({whole} > 0)"


_HITS = _rate("pictor_scene_cache_hits_total")
_MISSES = _rate("pictor_scene_cache_misses_total")

AVAILABILITY = [now(f"avg_over_time((worker:status:code{{{WORKER}}} >= bool 3)[$__range:1m])", "Online")]
BUSY = [now(f"avg_over_time(worker:busy:ratio5m{{{WORKER}}}[$__range])", "Busy")]
NET = [now(f"sum(worker:net:per_hour1d{{{WORKER}}})", "Net")]
RENDER_TIME = [
    now(
        _share(
            _rate("pictor_task_phase_seconds_sum", 'phase="render"'),
            _rate("pictor_task_phase_seconds_count", 'phase="render"'),
        ),
        "Mean",
    )
]
CACHE = [now(_share(_HITS, f"({_HITS} + {_MISSES})"), "From the cache")]
WARM = [now(_share(_rate("pictor_blender_starts_total", 'kind="warm"'), _rate("pictor_blender_starts_total")), "Warm")]
SUCCESS = [
    now(
        _share(
            _rate("pictor_tasks_total", 'result="completed"'),
            _rate("pictor_tasks_total", 'result=~"completed|failed|expired"'),
        ),
        "Completed",
    )
]
PHASES = [
    now(
        f"histogram_quantile(0.95, sum by (phase, le) (rate(pictor_task_phase_seconds_bucket{{{WORKER}}}[$__range])))",
        "{{phase}}",
    )
]
PHASES_OVER_TIME = [over_time(f"sum by (phase) (worker:task_phase_seconds:avg1h{{{WORKER}}})", "{{phase}}")]
ETA_ERROR = [over_time(f"max by (at) (worker:task_eta_error:avg1h{{{WORKER}}})", "at {{at}} of the task")]
SHARES_OVER_TIME = [
    over_time(f"max(worker:scene_cache_hit:ratio1h{{{WORKER}}})", "Scenes from the cache"),
    over_time(f"max(worker:warm_start:ratio1h{{{WORKER}}})", "Warm Blender"),
    over_time(f"max(worker:task_success:ratio1h{{{WORKER}}})", "Tasks that succeed"),
]
FRAMES = [over_time(f"sum by (result) (worker:frames:per_hour1h{{{WORKER}}})", "{{result}}")]
BUSY_OVER_TIME = [
    over_time(f"max(worker:busy:ratio5m{{{WORKER}}})", "Slots busy"),
    over_time(f"max(worker:gpu_utilization:avg{{{WORKER}}})", "GPU utilisation"),
]
ENERGY = [now(f"sum(pictor_energy_joules_total{{{WORKER}}}) / 3600000", "Energy")]
ELECTRICITY = [now(f"sum(pictor_electricity_cost_total{{{WORKER}}})", "Electricity")]
