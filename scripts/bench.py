"""Measures My Workers against what it is built on, as ratios within one run on this machine.

Benches:
  render    wall time of a ten-frame Cycles job through registry and agent, over one `blender -b SCENE -a`
            of the same frames; with one task of ten frames, and with ten tasks of one
  scrape    one scrape of the agent's /metrics with eight (fake) GPUs over one of node_exporter's, both
            programs' memory, the agent's processor time, and what 10,000 scrapes leave behind
  console
            pages of the registry's console: /summary over a year of 1,000,000 attempts of one account, and
            /workers with 2,000 workers
  dashboards
            the PromQL of each dashboard at a range of a day, over generated series of 1,000 workers of eight GPUs
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import bench_console
import bench_dashboards
import bench_scrape

REPOSITORY = Path(__file__).resolve().parent.parent
FRAMES = 10
READY_SECONDS = 60
RENDER_SECONDS = 300
FOLD_SECONDS = 600
# Nobody else's settings, nor a proxy between processes of one machine.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PICTOR_")}
ENVIRONMENT |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def run(*command, env=None, log=None, timeout=None, **options):
    """Runs a command to its end; its output, or this program's end with what it, or the server of `log`, said."""
    shown = " ".join(map(str, command))
    said = lambda output: f"{output or ''}\n{log.read_text() if log else ''}"[-3000:]
    try:
        done = subprocess.run(
            [str(word) for word in command], env=ENVIRONMENT | (env or {}), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **options)
    except subprocess.TimeoutExpired as error:
        sys.exit(f"bench: {shown} still runs after {timeout} s:\n{said(error.stdout)}")
    if done.returncode:
        sys.exit(f"bench: {shown} ended with {done.returncode}:\n{said(done.stdout)}")
    return done.stdout


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_until(what, look, server):
    deadline = time.monotonic() + READY_SECONDS
    while not look():
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"bench: gave up waiting: {what}\n{server.log.read_text()[-3000:]}")
        time.sleep(0.1)


def ask(method, url, token=None, body=None):
    """The answer's bytes, or None where nobody listens yet or is ready."""
    call = urllib.request.Request(url, method=method, data=body and json.dumps(body).encode())
    call.add_header("Content-Type", "application/json")
    if token:
        call.add_header("Authorization", f"Bearer {token}")
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(call, timeout=20) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        # Up and not yet ready, as Prometheus is while it reads its blocks.
        if error.code == 503:
            return None
        sys.exit(f"bench: {method} {url}: {error.code} {error.read().decode(errors='replace')}")
    except OSError:
        return None


class Servers:
    """What runs beside the bench, until the `with` ends."""

    def __init__(self, folder):
        self.folder, self.servers = folder, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Last started, first stopped: an agent says goodbye while its registry still listens.
        for server in reversed(self.servers):
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def start(self, name, *command):
        log = self.folder / f"{name}.log"
        # If this script is killed, the kernel ends what it started.
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *map(str, command)], env=ENVIRONMENT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT)
        server.log = log
        self.servers.append(server)
        return server


class Network(Servers):
    """A registry and one agent of our own, on free ports."""

    def __init__(self, folder, bin, settings=""):
        """`settings` is what the agent's config file says besides whose it is."""
        super().__init__(folder)
        self.bin, self.settings = bin, settings
        self.agent_port = free_port()
        self.database = f"sqlite://{folder}/registry.db"
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self):
        try:
            self.set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def account(self, name, *options):
        made = run(self.bin / "pictor-registry", "account", "create", name, *options, "--json",
                   "--database", self.database)
        return json.loads(made)["token"]

    def set_up(self):
        registry = self.start(
            "registry", self.bin / "pictor-registry", "serve", "--listen", self.url.removeprefix("http://"),
            "--database", self.database, "--blobs", f"file://{self.folder}/blobs")
        wait_until("the registry is ready", lambda: ask("GET", f"{self.url}/readyz"), registry)
        provider = self.account("provider", "--role", "provider")
        self.creator = self.account("creator", "--role", "creator")
        run(self.bin / "pictor-registry", "account", "credit", "creator", "1000", "--database", self.database)
        worker = f"{self.url}/v1/workers/" + json.loads(
            ask("POST", f"{self.url}/v1/workers", provider, {"name": "bench"}))["id"]
        downloaded, config = self.folder / "pictor-worker-bench.toml", self.folder / "worker.toml"
        downloaded.write_bytes(ask("GET", f"{worker}/config", provider))
        run(self.bin / "pictor-agent", "import", downloaded, "--config", config)
        # The scene renders on the CPU in both ways.
        config.write_text(config.read_text() + '\n[blender]\ndevice = "cpu"\n' + self.settings)
        agent = self.start("agent", self.bin / "pictor-agent", "run", "--config", config, "--data",
                           self.folder / "agent", "--listen", f"127.0.0.1:{self.agent_port}",
                           "--blender", shutil.which("blender"))
        idle = lambda: json.loads(ask("GET", worker, provider) or "{}").get("status") == "idle"
        wait_until("the worker is idle", idle, agent)
        # Idle it is also where it cannot render; what keeps it then stands in its log.
        wait_until("the agent can render", lambda: "ready to render" in agent.log.read_text(), agent)
        self.agent, self.agent_log = agent, agent.log

    def render(self, scene, frames_per_task):
        """Seconds from submitting a job until its command says that it is completed."""
        started = time.monotonic()
        run(self.bin / "pictor-registry", "job", "submit", scene, "--frames", f"1-{FRAMES}", "--cost", "0.01",
            "--frames-per-task", frames_per_task, "--registry", self.url, "--wait",
            env={"PICTOR_TOKEN": self.creator}, log=self.agent_log, timeout=RENDER_SECONDS)
        return time.monotonic() - started


def blender_alone(scene, folder):
    output = Path(tempfile.mkdtemp(dir=folder))
    started = time.monotonic()
    run("blender", "-b", scene, "-o", output / "frame_####", "-a", timeout=RENDER_SECONDS)
    seconds = time.monotonic() - started
    if len(list(output.glob("*.png"))) != FRAMES:
        sys.exit(f"bench: Blender did not render {FRAMES} frames")
    return seconds


def build(profile):
    run("cargo", "build", "--locked", "--profile", profile, "-p", "pictor-registry", "-p", "pictor-agent",
        "-p", "fake-nvml", cwd=REPOSITORY)
    metadata = json.loads(run("cargo", "metadata", "--format-version", "1", "--no-deps", "--locked", "--offline",
                              cwd=REPOSITORY))
    return Path(metadata["target_directory"]) / ("debug" if profile == "dev" else profile)


def prepare(profile):
    """The folder of the built programs."""
    for program in ("blender", "bwrap"):
        shutil.which(program) or sys.exit(f"bench: {program} is not installed: run scripts/quickstart, which installs it")
    bin = build(profile)
    print_load()
    return bin


def print_load():
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load average {load:.1f}" + (": others work here, run it again on a quiet machine" if load > 1 else ""), flush=True)


def bench_scrape_cost(args):
    bin = prepare(args.profile)
    with tempfile.TemporaryDirectory(prefix="pictor-bench-") as folder:
        folder = Path(folder)
        fake = bench_scrape.FakeGpus(folder, bin)
        # Idle GPUs too are measured once a second here.
        settings = f'\n[metrics]\nnvml_library = "{fake.library}"\ngpu_idle_interval_seconds = 1.0\n'
        with Network(folder, bin, settings) as network:
            node, node_port = bench_scrape.start_node_exporter(network, free_port)
            listening = lambda: ask("GET", f"http://127.0.0.1:{node_port}/metrics")
            wait_until("node_exporter answers", listening, node)
            bench_scrape.measure(network, fake, node, node_port, args.runs)


def bench_console_cost(args):
    bin = build(args.profile)
    with tempfile.TemporaryDirectory(prefix="pictor-bench-", dir=args.folder) as folder, Servers(Path(folder)) as servers:
        database, url = Path(folder) / "registry.db", f"http://127.0.0.1:{free_port()}"
        made = [run(bin / "pictor-registry", "account", "create", name, "--role", name, "--json",
                    "--database", f"sqlite://{database}") for name in ("provider", "creator")]
        began = time.monotonic()
        bench_console.fill(database, args.attempts, args.workers)
        print(f"{args.attempts} attempts of {args.workers} workers, {database.stat().st_size >> 20} MiB,"
              f" written in {time.monotonic() - began:.0f} s", flush=True)
        registry = servers.start(
            "registry", bin / "pictor-registry", "serve", "--listen", url.removeprefix("http://"),
            "--database", f"sqlite://{database}", "--blobs", f"file://{folder}/blobs")
        wait_until("the registry is ready", lambda: ask("GET", f"{url}/readyz"), registry)
        browser, began = bench_console.Browser(url, json.loads(made[0])["token"]), time.monotonic()
        print(f"/summary before anything is folded: {browser.get('/summary')[2]:.0f} ms", flush=True)
        while not bench_console.folded(database):
            if registry.poll() is not None or time.monotonic() - began > FOLD_SECONDS:
                sys.exit(f"bench: gave up waiting for figures\n{registry.log.read_text()[-3000:]}")
            time.sleep(0.5)
        print(f"folded within {time.monotonic() - began:.0f} s", flush=True)
        print_load()
        pages = [("/summary", 100), ("/summary?range=24h", 100), ("/summary?range=7d", 100), ("/workers", 50)]
        kept = bench_console.measure(browser, pages, args.runs)
        if "ledger:" in registry.log.read_text():
            sys.exit("bench: the ledger is not sound:\n" + registry.log.read_text()[-3000:])
        sys.exit(0 if kept else 1)


def bench_dashboards_cost(args):
    for program in ("prometheus", "promtool"):
        shutil.which(program) or sys.exit(f"bench: {program} is not installed: apt-get install --no-install-recommends prometheus")
    series = bench_dashboards.blocks(args.cache, args.workers)
    bench_dashboards.describe(series)
    with tempfile.TemporaryDirectory(prefix="pictor-bench-") as folder, Servers(Path(folder)) as servers:
        port, config = free_port(), Path(folder) / "prometheus.yml"
        config.write_text("# Scrapes nothing.\n")
        # Blocks stay as they are: compacting them would take time from the queries.
        prometheus = servers.start(
            "prometheus", "prometheus", f"--web.listen-address=127.0.0.1:{port}", f"--config.file={config}",
            f"--storage.tsdb.path={series}", "--storage.tsdb.retention.time=100y",
            "--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")
        wait_until("Prometheus is ready", lambda: ask("GET", f"http://127.0.0.1:{port}/-/ready"), prometheus)
        print_load()
        sys.exit(0 if bench_dashboards.measure(port, args.rounds) else 1)


def bench_render(args):
    bin = prepare(args.profile)
    with tempfile.TemporaryDirectory(prefix="pictor-bench-") as folder:
        folder = Path(folder)
        scene = folder / "sample.blend"
        run("blender", "-b", "--factory-startup", "--python-exit-code", "1", "--python",
            REPOSITORY / "scripts/scenes/sample.py", "--", scene)
        with Network(folder, bin) as network:
            measure_render(args.runs, scene, folder, network)


def measure_render(runs, scene, folder, network):
    ways = {
        "blender -b SCENE -a": lambda: blender_alone(scene, folder),
        "job, 1 task of 10 frames": lambda: network.render(scene, FRAMES),
        "job, 10 tasks of 1 frame": lambda: network.render(scene, 1),
    }
    seconds = {way: [] for way in ways}
    for turn in range(1, runs + 1):
        for way, measure in ways.items():
            seconds[way].append(measure())
            print(f"run {turn}  {way:25}  {seconds[way][-1]:7.2f} s", flush=True)
    alone, *jobs = seconds.values()
    print(f"\n{FRAMES} frames of 320x180, medians of {runs} (min–max)")
    for way, taken in seconds.items():
        print(f"{way:25}  {statistics.median(taken):7.2f} s ({min(taken):.2f}–{max(taken):.2f})")
    for way, taken in zip(list(seconds)[1:], jobs):
        pairs = [job / blender for job, blender in zip(taken, alone)]
        ratio = statistics.median(taken) / statistics.median(alone)
        print(f"{way:25}  {ratio:7.3f} × Blender alone ({min(pairs):.3f}–{max(pairs):.3f})")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    render = benches.add_parser("render", help="the way through the network over Blender alone")
    render.add_argument("--runs", type=int, default=3, help="how often each way is measured (default: 3)")
    render.add_argument("--profile", default="dev", help="the Cargo profile to build with (default: dev)")
    render.set_defaults(run=bench_render)
    scrape = benches.add_parser("scrape", help="the agent's /metrics over node_exporter's")
    scrape.add_argument("--runs", type=int, default=500, help="how many pairs of scrapes (default: 500)")
    scrape.add_argument("--profile", default="release", help="the Cargo profile to build with (default: release)")
    scrape.set_defaults(run=bench_scrape_cost)
    console = benches.add_parser("console", help="pages of the console over a year of history")
    console.add_argument("--attempts", type=int, default=1_000_000, help="how many in the year (default: 1000000)")
    console.add_argument("--workers", type=int, default=2000, help="how many workers of one GPU (default: 2000)")
    console.add_argument("--runs", type=int, default=200, help="how often each page is asked for (default: 200)")
    console.add_argument("--profile", default="release", help="the Cargo profile to build with (default: release)")
    console.add_argument("--folder", type=Path, help="where the database is kept meanwhile, some GiB (default: the system's)")
    console.set_defaults(run=bench_console_cost)
    dashboards = benches.add_parser("dashboards", help="what opening each dashboard costs Prometheus")
    dashboards.add_argument("--workers", type=int, default=1000, help="how many workers of eight GPUs (default: 1000)")
    dashboards.add_argument("--rounds", type=int, default=5, help="how often each query is measured (default: 5)")
    dashboards.add_argument("--cache", type=Path, default=REPOSITORY / "target/bench-dashboards", metavar="FOLDER",
                            help="where generated series are kept for the next run (default: target/bench-dashboards)")
    dashboards.set_defaults(run=bench_dashboards_cost)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    # So that a stopped bench stops its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
