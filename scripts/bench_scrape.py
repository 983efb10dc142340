"""scripts/bench scrape: what watching costs, beside node_exporter on the same machine."""

import http.client
import re
import shutil
import statistics
import sys
import time
import tomllib
from pathlib import Path

GPUS = 8
CPU_SECONDS = 60
LEAK_SCRAPES = 10_000
PROFILE_FOLDER = Path(__file__).resolve().parent.parent / "agent/tests/data/nvml"


class Scraper:
    """One keep-alive connection that asks as Prometheus does."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def scrape(self, encoding="gzip"):
        """Seconds until the whole body was there, and how many bytes it has."""
        started = time.perf_counter()
        self.connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
        answer = self.connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200 or not body:
            sys.exit(f"bench: /metrics answered {answer.status}")
        return seconds, body


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M).group(1)) * 1024


def threads(pid):
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def open_files(pid):
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def processor_seconds(pid):
    # Utime and stime, behind a name that may hold anything, count hundredths.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, round(len(values) * percent / 100))]


class FakeGpus:
    """A fake NVML in a folder of its own, and its script."""

    def __init__(self, folder, built):
        self.library = folder / "libnvidia-ml.so.1"
        self.script = folder / "libnvidia-ml.so.1.toml"
        shutil.copy(built / "libfake_nvml.so", self.library)
        self.text = (PROFILE_FOLDER / "server-8.toml").read_text()
        if len(tomllib.loads(self.text)["gpu"]) != GPUS:
            sys.exit(f"bench: the profile does not have {GPUS} GPUs")
        self.show(GPUS)

    def show(self, gpus):
        """Leaves the first `gpus` of them on the bus."""
        head, *each = self.text.split("[[gpu]]")
        new = self.script.with_suffix(".new")
        new.write_text("[[gpu]]".join([head, *each[:gpus]]))
        new.rename(self.script)


def start_node_exporter(network, free_port):
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        sys.exit("bench: install node_exporter: apt-get install --no-install-recommends prometheus-node-exporter")
    port = free_port()
    return network.start("node_exporter", program, f"--web.listen-address=127.0.0.1:{port}"), port


def measure(network, fake, node, node_port, runs):
    agent, agent_port = network.agent, network.agent_port
    ours, theirs = Scraper(agent_port), Scraper(node_port)
    for scraper in (ours, theirs):
        for _ in range(20):
            scraper.scrape()
    print_sizes(agent_port, node_port)
    for encoding in ("gzip", "identity"):
        taken = {"agent": [], "node_exporter": []}
        for _ in range(runs):
            taken["agent"].append(ours.scrape(encoding)[0])
            taken["node_exporter"].append(theirs.scrape(encoding)[0])
        print_scrapes(encoding, taken)
    print_memory(agent.pid, node.pid)
    print_processor(agent.pid)
    print_leaks(agent.pid, agent_port, fake)


def print_sizes(agent_port, node_port):
    for name, port in (("agent", agent_port), ("node_exporter", node_port)):
        body = Scraper(port).scrape("identity")[1]
        samples = sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))
        print(f"{name:14} {samples:5} samples, {len(body):7} bytes of text")


def print_scrapes(encoding, taken):
    print(f"\none scrape on a kept connection, {encoding}, {len(taken['agent'])} interleaved pairs")
    for name, seconds in taken.items():
        print(f"{name:14} median {statistics.median(seconds) * 1e3:8.3f} ms   p99 {percentile(seconds, 99) * 1e3:8.3f} ms")
    median = statistics.median(taken["agent"]) / statistics.median(taken["node_exporter"])
    p99 = percentile(taken["agent"], 99) / percentile(taken["node_exporter"], 99)
    print(f"agent over node_exporter: median {median:.4f} (bar 0.05, aim 0.02), p99 {p99:.4f}")


def print_memory(agent, node):
    ours, theirs = resident_bytes(agent), resident_bytes(node)
    print(f"\nresident memory: agent {ours / 2**20:.1f} MiB, node_exporter {theirs / 2**20:.1f} MiB: "
          f"{ours / theirs:.2f} (bar 1)")


def print_processor(agent):
    before, started = processor_seconds(agent), time.monotonic()
    time.sleep(CPU_SECONDS)
    used = (processor_seconds(agent) - before) / (time.monotonic() - started)
    print(f"processor, {GPUS} GPUs and the host measured once a second, over {CPU_SECONDS} s: {used * 100:.2f} % of a core (bar 0.5)")


def print_leaks(agent, port, fake):
    scraper = Scraper(port)
    print(f"\n{LEAK_SCRAPES} scrapes while GPUs come and go")
    print("scrapes  open files  threads  resident MiB")
    for count in range(LEAK_SCRAPES + 1):
        if count % (LEAK_SCRAPES // 10) == 0:
            print(f"{count:7}  {open_files(agent):10}  {threads(agent):7}  {resident_bytes(agent) / 2**20:12.1f}", flush=True)
        if count % 250 == 0:
            fake.show(GPUS - (count // 250) % GPUS)
            # Long enough for the agent to see it.
            time.sleep(1.1)
        scraper.scrape()
    fake.show(GPUS)
