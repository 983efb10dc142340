"""Takes the pictures of the console's pages in docs/images, from a network that has something to show.

    .venv/bin/python e2e/console/pictures.py [--output FOLDER] [PAGE…]

Each page in light and dark on a desktop, and in light on a phone. Look at them before they are committed.
"""

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path

from browser import DESKTOP, PHONE, Visit, chromium
from filled import EXAMPLE, RawWorker
from network import Network, fake_gpus, quick_scene, sample_scene, slow_scene
from PIL import Image
from processes import REPOSITORY
from waiting import until

# A picture is as long as its page, up to this many pixels.
HEIGHT_MAX = {"desktop": 1800, "phone": 1700}
COLOURS = 64
ECONOMICS = """
[economics]
price_per_kwh = 0.32
currency = "EUR"
host_idle_watts = 50.0
host_busy_watts = 150.0
"""

# What the laptop's heartbeats say.
LAPTOP = {
    "machine_id": "laptop", "hostname": "old-laptop", "agent_version": "0.1.0", "os": "Debian GNU/Linux 12 (bookworm)",
    "local_ip": "192.168.1.23", "blender": [{"version": "3.4.1", "path": "/usr/bin/blender"}], "gpus": [],
    "cpu": {"name": "Intel Core i5-8250U", "cores": 8, "utilization_ratio": 0.93, "temperature_celsius": 88.0},
    "memory_total_bytes": 8 << 30, "memory_used_bytes": 7 << 30,
    "slots": json.loads(EXAMPLE.read_text())["slots"],
    "health": [{"check": "disk", "found": "2 GB are free in /var", "advice": "free some space"}],
}


@dataclass(frozen=True)
class Picture:
    name: str
    path: str
    who: str | None = "ada"


PICTURES = [
    Picture("login", "/login", who=None),
    Picture("workers", "/workers"),
    Picture("workers-empty", "/workers", who="bob"),
    Picture("worker-new", "/workers/new"),
    Picture("worker-setup", "/workers/{fresh}/setup"),
    Picture("worker-setup-online", "/workers/{server}/setup"),
    Picture("enrolments", "/workers/enrolments"),
    Picture("worker-monitor", "/workers/{server}"),
    Picture("worker-monitor-paused", "/workers/{studio}"),
    Picture("worker-tasks", "/workers/{server}/tasks"),
    Picture("history", "/attempts"),
    Picture("attempt", "/attempts/{completed}"),
    Picture("attempt-failed", "/attempts/{failed}"),
    Picture("jobs", "/jobs", who="cleo"),
    Picture("job-new", "/jobs/new", who="cleo"),
    Picture("job", "/jobs/{done}", who="cleo"),
    Picture("job-running", "/jobs/{running}", who="cleo"),
    Picture("account", "/account"),
    Picture("notifications", "/account/notifications"),
    Picture("admin", "/admin", who="olga"),
    Picture("admin-accounts", "/admin/accounts", who="olga"),
    Picture("admin-payouts", "/admin/payouts", who="olga"),
    Picture("admin-ledger", "/admin/ledger", who="olga"),
    Picture("admin-audit", "/admin/audit", who="olga"),
    Picture("summary", "/summary?range=24h"),
    Picture("worker-statistics", "/workers/{server}/statistics?range=24h"),
]


class Shown:
    """A small fleet: a server with eight GPUs that renders, a desktop, a workstation that is paused, one that is lost
    from the network, and one that was never started."""

    def __init__(self):
        self.network = network = Network("--points-per-frame", "5")
        try:
            self._people(network)
            self._fleet(network)
            self._work(network)
        except BaseException:
            network.stop()
            raise

    def _people(self, network):
        self.ada = network.account("ada", "provider")
        self.bob = network.account("bob", "provider")
        self.cleo = network.account("cleo", "creator", credit="50")
        self.olga = network.account("olga", "operator")

    def _fleet(self, network):
        def made(name, profile, *tags, **readings):
            worker = network.worker(self.ada, name, tags=list(tags))
            settings = fake_gpus(network.folder / f"{name}-gpus", profile, **readings) + ECONOMICS
            network.start_agent(name, network.download(self.ada, worker), settings)
            return worker

        self.server = made("render-server", "server-8", "rack-1", "hall")
        self.desktop = made("desktop", "geforce", "office")
        self.studio = made(
            "studio-02", "geforce", "office", "studio", temperature_celsius="38", power_milliwatts="24300",
            utilization_percent="{ gpu = 2, memory = 1, encoder = 0, decoder = 0 }", throttle_reasons="0x1",
        )
        for worker in (self.server, self.desktop, self.studio):
            network.is_status(self.ada, worker, "idle")
        network.ask(self.ada, "PATCH", f"/v1/workers/{self.studio['id']}", {"desired": "paused"})
        self.failing = network.worker(self.ada, "old-laptop", tags=["office"])
        self.fresh = network.worker(self.ada, "new-machine")
        key = {"name_pattern": "rack-2-{n}", "count": 40, "tags": ["rack-2"]}
        network.ask(self.ada, "POST", "/v1/enrolments", key)

    def _work(self, network):
        sample = sample_scene()
        self.done = network.submit(self.cleo, sample, "--frames", "1-10", "--cost", "0.05", name="Opening titles")
        network.job_is(self.cleo, self.done, "completed")
        broken = network.submit(self.cleo, quick_scene(), "--frames", "1-4", "--cost", "0.02", name="Test render")
        network.job_is(self.cleo, broken, "completed")
        self.running = network.submit(self.cleo, slow_scene(), "--frames", "1-200", "--cost", "0.05", name="The long walk")

        def progress():
            task = network.ask(self.ada, "GET", f"/v1/workers/{self.server['id']}")["task"]
            return task and task["progress_ratio"]

        until("the server has rendered half of a frame", lambda: (progress() or 0) > 0.3)
        laptop = RawWorker(network, self.ada, self.failing)
        laptop.fail_a_task("Blender needed more memory than this machine has", **LAPTOP)
        for amount, status in [(100_000, "sent"), (60_000, None)]:
            payout = network.ask(self.olga, "POST", "/v1/payouts", {"account_id": self.ada.id, "amount_micros": amount})
            if status is not None:
                sent = {"status": status, "reference": "2026-11 transfer 1"}
                network.ask(self.olga, "PATCH", f"/v1/payouts/{payout['id']}", sent)
        webhook = {"kind": "webhook", "url": "https://example.org/hook"}
        network.ask(self.ada, "POST", "/v1/notifications/channels", webhook)
        attempts = network.ask(self.ada, "GET", "/v1/attempts?limit=1000")["items"]
        by_status = {row["status"]: row["id"] for row in attempts}
        self.completed, self.failed = by_status["completed"], by_status["failed"]

    def path(self, picture):
        return picture.path.format(
            server=self.server["id"], desktop=self.desktop["id"], studio=self.studio["id"], fresh=self.fresh["id"],
            completed=self.completed, failed=self.failed, done=self.done, running=self.running,
        )


def take(visit, path, size, file):
    page = visit.page
    answer = page.goto(path)
    assert answer.ok, f"{path}: {answer.status}"
    # Live parts have come once; a page without them is as it will be.
    page.wait_for_load_state("load")
    height = min(page.evaluate("document.documentElement.scrollHeight"), HEIGHT_MAX[size])
    width = page.viewport_size["width"]
    shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    # Pages have few colours: a palette is a third of the size.
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, default=REPOSITORY / "docs/images")
    options.add_argument("pages", nargs="*", help="only these")
    chosen = options.parse_args()
    wanted = [picture for picture in PICTURES if not chosen.pages or picture.name in chosen.pages]
    chosen.output.mkdir(parents=True, exist_ok=True)
    shown = Shown()
    try:
        with chromium() as browser:
            for size, viewport, scheme in [
                ("desktop", DESKTOP, "light"), ("desktop", DESKTOP, "dark"), ("phone", PHONE, "light"),
            ]:
                visits = {}
                for picture in wanted:
                    if picture.who not in visits:
                        visits[picture.who] = Visit(browser, shown.network, scheme, viewport)
                        if picture.who is not None:
                            visits[picture.who].sign_in(getattr(shown, picture.who), "/account")
                    suffix = "phone" if size == "phone" else scheme
                    file = chosen.output / f"console-{picture.name}-{suffix}.png"
                    take(visits[picture.who], shown.path(picture), size, file)
                    print(file)
                for visit in visits.values():
                    visit.close()
    finally:
        shown.network.stop()


if __name__ == "__main__":
    main()
