#!/usr/bin/python3
"""Runs a real Alertmanager on alertmanager.yml: who is told, and which alerts silence which.

Alertmanager's own amtool tests routes; inhibition shows only in a running one. Needs
prometheus-alertmanager and amtool (Debian: prometheus-alertmanager). Exits 1 when one is wrong.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROMETHEUS = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 30

ROUTES = [
    ("urgent", {"alertname": "GpuLost", "severity": "critical", "account": "acc_1"}),
    ("routine", {"alertname": "WorkerLost", "severity": "warning", "account": "acc_1"}),
    ("digest", {"alertname": "AgentOutdated", "severity": "info", "account": "acc_1"}),
    ("routine", {"alertname": "FromElsewhere"}),
]


def of_worker(name, worker, level="worker", **labels):
    return {"alertname": name, "level": level, "worker_id": worker, **labels}


# What fires together, and which of it must be silent meanwhile.
CASES = [
    (
        "a lost machine silences its own GPUs and tasks, nobody else's",
        [of_worker("WorkerLost", "wrk_1")],
        [
            of_worker("GpuHot", "wrk_1", "gpu", uuid="GPU-1"),
            of_worker("GpuLost", "wrk_1", "gpu", uuid="GPU-2"),
            of_worker("TaskStuck", "wrk_1", "slot", slot="0"),
            of_worker("OutboxGrowing", "wrk_1"),
        ],
        [
            of_worker("GpuHot", "wrk_2", "gpu", uuid="GPU-3"),
            of_worker("DiskNearlyFull", "wrk_1"),
            {"alertname": "QueueOld", "level": "network"},
        ],
    ),
    (
        "a registry that is down silences what it last said of workers",
        [{"alertname": "RegistryDown", "level": "network", "instance": "a:8080"}],
        [
            of_worker("WorkerLost", "wrk_1"),
            of_worker("WorkerFlapping", "wrk_2"),
            {"alertname": "QueueOld", "level": "network"},
        ],
        [of_worker("GpuHot", "wrk_2", "gpu", uuid="GPU-1"), {"alertname": "LedgerCheckFailing", "level": "network"}],
    ),
    (
        "a GPU that is gone silences its own heat, not its Xid and not its neighbour's heat",
        [of_worker("GpuLost", "wrk_1", "gpu", uuid="GPU-1")],
        [of_worker("GpuHot", "wrk_1", "gpu", uuid="GPU-1")],
        [
            of_worker("GpuXidFatal", "wrk_1", "gpu", uuid="GPU-1", xid="79"),
            of_worker("GpuHot", "wrk_1", "gpu", uuid="GPU-2"),
        ],
    ),
    (
        "a fast burn silences the slow burn of the same objective",
        [{"alertname": "RegistryErrorBudgetBurn", "level": "network", "slo": "availability"}],
        [{"alertname": "RegistryErrorBudgetBurnSlow", "level": "network", "slo": "availability"}],
        [{"alertname": "RegistryErrorBudgetBurnSlow", "level": "network", "slo": "latency"}],
    ),
]


def wrong_routes():
    for config in ("alertmanager.yml", "alertmanager.example.yml"):
        for receiver, labels in ROUTES:
            command = ["amtool", "config", "routes", "test", f"--config.file={PROMETHEUS / config}"]
            command += [f"--verify.receivers={receiver}", *(f"{k}={v}" for k, v in labels.items())]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                yield f"{config}: {labels} should go to {receiver}, goes to {run.stdout.strip()}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Alertmanager:
    def __init__(self, folder):
        binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if not binary:
            sys.exit("no Alertmanager here: install prometheus-alertmanager")
        address = f"127.0.0.1:{free_port()}"
        self.api = f"http://{address}/api/v2"
        with open(Path(folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [binary, f"--config.file={PROMETHEUS / 'alertmanager.yml'}", f"--storage.path={folder}/data",
                 f"--web.listen-address={address}", "--cluster.listen-address="],
                stdout=log, stderr=log,
            )

    def __enter__(self):
        self.until(lambda: self.get("/status"))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def get(self, path):
        try:
            with urllib.request.urlopen(self.api + path, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def fire(self, alerts):
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        request = urllib.request.Request(self.api + "/alerts", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()

    def until(self, ready):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                return False
            time.sleep(0.1)
        return True

    def is_silent(self):
        """Whether each alert is silenced, once Alertmanager has looked at them all; by its labels."""
        alerts = self.get("/alerts") or []
        if any(alert["status"]["state"] == "unprocessed" for alert in alerts):
            return {}
        return {frozenset(alert["labels"].items()): alert["status"]["state"] == "suppressed" for alert in alerts}


def wrong_inhibitions():
    for name, sources, silent, heard in CASES:
        expected = {frozenset(alert.items()): False for alert in sources + heard}
        expected |= {frozenset(alert.items()): True for alert in silent}
        with tempfile.TemporaryDirectory() as folder, Alertmanager(folder) as alertmanager:
            # Sources first: an alert is looked at again only after its group's interval.
            alertmanager.fire(sources)
            alertmanager.until(lambda: len(alertmanager.get("/alerts") or []) == len(sources))
            alertmanager.fire(silent + heard)
            alertmanager.until(lambda: alertmanager.is_silent() == expected)
            found = alertmanager.is_silent()
        for alert, is_silent in expected.items():
            if found.get(alert) != is_silent:
                yield f"{name}: {dict(alert)} should be {'silent' if is_silent else 'heard'}"


def main():
    faults = [*wrong_routes(), *wrong_inhibitions()]
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{len(ROUTES)} routes and {len(CASES)} inhibitions are as they should be")


if __name__ == "__main__":
    main()
