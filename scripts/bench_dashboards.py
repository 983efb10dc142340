"""scripts/bench dashboards: what Grafana asks when a dashboard is opened at a day, over a day of a thousand workers."""

import hashlib
import http.client
import json
import os
import re
import shutil
import statistics
import sys
import time
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import bench_series

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "grafana/src"))
import listing  # noqa: E402 (it lies beside the dashboards, not here)

TOTAL_BAR_SECONDS, SLOWEST_BAR_SECONDS = 2.0, 0.5
RANGE_SECONDS = 24 * 3600
# What Grafana makes of a day on a thousand points: 86.4 s, rounded to a minute; and from it $__rate_interval.
STEP_SECONDS = 60
RATE_INTERVAL_SECONDS = STEP_SECONDS + bench_series.SCRAPE_SECONDS
# The last moment of which there are samples of every resolution.
NOW = bench_series.END - bench_series.NETWORK_SECONDS
MIDNIGHT = NOW - NOW % 86400


def variables():
    worker = bench_series.Worker(bench_series.WATCHED, bench_series.START)
    gpus = "|".join(worker.uuid(gpu) for gpu in range(bench_series.GPUS))
    return {
        "__rate_interval": f"{RATE_INTERVAL_SECONDS}s",
        "__interval": f"{STEP_SECONDS}s",
        "__range": f"{RANGE_SECONDS}s",
        "worker": worker.id,
        "gpu": f"({gpus})",
        "slot": "(" + "|".join(map(str, range(bench_series.GPUS))) + ")",
        "account": ".*",
        "route": ".*",
        "midnight": str(MIDNIGHT),
    }


@dataclass(frozen=True)
class Query:
    dashboard: str
    what: str
    path: str

    @staticmethod
    def of(listed, values):
        text = re.sub(r"\$(\w+)", lambda found: values[found[1]], listed["query"])
        what = listed.get("panel") or f"{listed['kind']} {listed['name']}"
        what += f" {listed['ref_id']}" if "ref_id" in listed else ""
        return Query(listed["dashboard"], what, path_of(listed, text))


def path_of(listed, text):
    span = {"start": NOW - RANGE_SECONDS, "end": NOW}
    is_graph = listed["kind"] == "annotation" or listed.get("mode") == "range"
    if values_of := re.fullmatch(r"label_values\((.*), (\w+)\)", text):
        return f"/api/v1/label/{values_of[2]}/values?" + urllib.parse.urlencode({"match[]": values_of[1], **span})
    if is_graph:
        return "/api/v1/query_range?" + urllib.parse.urlencode({"query": text, **span, "step": STEP_SECONDS})
    if result_of := re.fullmatch(r"query_result\((.*)\)", text):
        text = result_of[1]
    return "/api/v1/query?" + urllib.parse.urlencode({"query": text, "time": NOW})


def queries():
    """Those for Prometheus; the registry's own answers are not this bench's."""
    values = variables()
    return [Query.of(listed, values) for listed in listing.queries(REPOSITORY / "grafana/dashboards")
            if "url" not in listed]


def wanted_names():
    """Series that a dashboard, a rule or an alert reads."""
    files = [*REPOSITORY.glob("prometheus/rules/*.yml"), *REPOSITORY.glob("prometheus/alerts/*.yml"),
             *REPOSITORY.glob("grafana/dashboards/*/*.json")]
    return {name for file in files for name in re.findall(r"\bpictor_\w+", file.read_text())}


def blocks(cache, workers):
    """The folder of the blocks, made unless it is there."""
    wanted = wanted_names()
    made_of = Path(bench_series.__file__).read_text() + bench_series.SCRAPE.read_text() + "".join(sorted(wanted))
    folder = cache / f"{workers}-workers-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    if folder.exists():
        print(f"series of an earlier run: {folder}")
        return folder
    for stale in cache.glob(f"{workers}-workers-*"):
        shutil.rmtree(stale)
    unfinished = folder.with_suffix(".unfinished")
    unfinished.mkdir(parents=True)
    started = time.monotonic()
    bench_series.write_blocks(unfinished, workers, wanted, min(2, os.cpu_count()))
    unfinished.rename(folder)
    print(f"generated in {time.monotonic() - started:.0f} s: {folder}")
    return folder


def describe(folder):
    stats = [json.loads(meta.read_text())["stats"] for meta in folder.glob("*/meta.json")]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{len(stats)} blocks of two hours, {max(each['numSeries'] for each in stats):,} series in each, "
          f"{sum(each['numSamples'] for each in stats) / 1e6:.0f} million samples, {size / 2**30:.1f} GiB\n"
          f"{bench_series.resolution()}", flush=True)


class Prometheus:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, query):
        """Seconds until the whole answer was there, and the answer."""
        started = time.perf_counter()
        self.connection.request("GET", query.path)
        answer = self.connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            sys.exit(f"bench: {query}: {answer.status} {body[:500]}")
        return seconds, body


def is_empty(body):
    data = json.loads(body)["data"]
    return not (data["result"] if isinstance(data, dict) else data)


def measure(port, rounds):
    prometheus, asked = Prometheus(port), queries()
    without = [query for query in asked if is_empty(prometheus.ask(query)[1])]
    if without:
        sys.exit("bench: no series were generated for these queries:\n"
                 + "\n".join(f"{query.dashboard}: {query.what}" for query in without))
    taken = defaultdict(list)
    for turn in range(1, rounds + 1):
        for query in asked:
            taken[query].append(prometheus.ask(query)[0])
        print(f"round {turn} of {rounds}: {sum(times[-1] for times in taken.values()):.2f} s", flush=True)
    return report(taken)


def report(taken):
    """Prints each dashboard's total and slowest query; whether all are within the bars."""
    by_dashboard = defaultdict(list)
    for query, times in taken.items():
        by_dashboard[query.dashboard].append((statistics.median(times), query.what, times))
    print(f"\nmedians; a total is of one query after the other, variables and annotations too "
          f"(bars: total {TOTAL_BAR_SECONDS:g} s, slowest {SLOWEST_BAR_SECONDS * 1e3:g} ms)")
    is_good = True
    for dashboard, of_it in sorted(by_dashboard.items()):
        totals = [sum(round_) for round_ in zip(*(times for _, _, times in of_it))]
        total, (slowest, what, _) = statistics.median(totals), max(of_it)
        is_within = total <= TOTAL_BAR_SECONDS and slowest <= SLOWEST_BAR_SECONDS
        is_good &= is_within
        print(f"{dashboard:26} {len(of_it):3} queries  total {total * 1e3:6.0f} ms ({min(totals) * 1e3:.0f}–{max(totals) * 1e3:.0f})"
              f"   slowest {slowest * 1e3:5.0f} ms: {what}{'' if is_within else '   MISSED'}")
    return is_good
