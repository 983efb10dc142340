"""A network with something to see on every page; names, where people and machines may choose them, are hostile."""

import json
import tomllib
import uuid

from network import Network, fake_gpus, quick_scene
from processes import REPOSITORY
from waiting import until

# What breaks out of an attribute and runs, where it is not escaped; without the two signs that no name may have.
MARKUP = "\"'><img src=x onerror=pwned=1>"
LINK = "javascript:pwned=1"
# What a heartbeat says, and where in it a machine may say what it likes.
EXAMPLE = REPOSITORY / "registry/protocol/examples/heartbeat.json"
WORDS = {"hostname", "agent_version", "os", "local_ip", "path", "name", "gpu_uuid"}


class RawWorker:
    """A machine that says what it likes: its owner has the token, so no agent needs to be behind it."""

    def __init__(self, network, provider, worker):
        self.network = network
        self.worker = worker
        self.token = tomllib.loads(network.download(provider, worker).read_text())["token"]
        self.boot_id = str(uuid.uuid4())

    def ask(self, method, path, body=None):
        answer = self.network.call(method, path, token=self.token, body=body)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:500]}"
        return json.loads(answer.body) if answer.body else None

    def heartbeat(self, text, **more):
        """Says this wherever a machine may say what it likes."""
        gpu = {
            "uuid": text, "index": 0, "name": text, "driver_version": text, "memory_total_bytes": 8 << 30,
            "memory_used_bytes": 1 << 30, "utilization_ratio": 0.5, "temperature_celsius": 61.0, "power_watts": 90.0,
        }
        said = json.loads(EXAMPLE.read_text())
        for table in (said, said["blender"][0], said["cpu"], said["slots"][0]):
            table.update({key: text for key in table.keys() & WORDS})
        said |= {"machine_id": f"{text} {self.worker['id']}", "boot_id": self.boot_id, "gpus": [gpu]}
        said |= {"health": [{"check": text, "found": text, "advice": text}]}
        return self.ask("POST", "/v1/agent/heartbeat", said | more)

    def fail_a_task(self, text, **said):
        """Takes a task and fails it in these words; the attempt's id."""
        self.heartbeat(text, **said)
        asked = {"ask_id": str(uuid.uuid4()), "slots": [0], "wait_seconds": 20}
        [lease] = self.ask("POST", "/v1/agent/leases", asked)["leases"]
        at = f"/v1/agent/leases/{lease['id']}"
        self.ask("POST", f"{at}/log", f"{text}\nFra:1 Mem:9M /home/somebody/scene.blend\n{text}\n")
        self.ask("POST", f"{at}/fail", {"error": text, "render_seconds": 1.5})
        return lease["id"]


class Filled:
    """Two providers, a creator and an operator. Ada has an agent that has rendered, and a worker that says what it
    likes; Bob has a worker that never connected, and might
    have jobs of his own."""

    def __init__(self):
        self.network = network = Network("--points-per-frame", "2")
        try:
            self._fill(network)
        except BaseException:
            network.stop()
            raise

    def _fill(self, network):
        self.ada = network.account("ada", "provider")
        self.bob = network.account("bob", "provider", "creator")
        self.cleo = network.account("cleo", "creator", credit="20")
        self.olga = network.account("olga", "operator")
        self.real = network.worker(self.ada, f"real {MARKUP}", tags=["adas-tag", LINK])
        self.raw = network.worker(self.ada, f"raw {MARKUP}", tags=[MARKUP])
        self.fresh = network.worker(self.ada, "never-connected")
        self.bobs = network.worker(self.bob, "bobs-box", tags=["bobs-tag"])
        settings = fake_gpus(network.folder / "gpus", "geforce", name=json.dumps(MARKUP))
        network.start_agent("real", network.download(self.ada, self.real), settings)
        network.is_status(self.ada, self.real, "idle")
        key = {"name_pattern": MARKUP + "{n}", "count": 3, "tags": [MARKUP]}
        self.enrolment = network.ask(self.ada, "POST", "/v1/enrolments", key)["id"]
        self.job = network.submit(self.cleo, quick_scene(), "--frames", "1-3", "--cost", "0.05", name=f"done {MARKUP}")
        network.job_is(self.cleo, self.job, "completed")
        network.ask(self.ada, "PATCH", f"/v1/workers/{self.real['id']}", {"desired": "paused"})
        self.waiting = network.submit(self.cleo, quick_scene(), "--frames", "1-20", "--cost", "0.05", name=MARKUP)
        self.failed = RawWorker(network, self.ada, self.raw).fail_a_task(MARKUP)
        attempts = network.ask(self.ada, "GET", "/v1/attempts")["items"]
        self.completed = next(row["id"] for row in attempts if row["status"] == "completed")
        until("the completed task is paid", lambda: network.ask(self.ada, "GET", "/v1/earnings")["earnings_micros"] > 0)
        sent = {"account_id": self.ada.id, "amount_micros": 20_000, "reference": MARKUP}
        webhook = {"kind": "webhook", "url": "https://example.org/hook"}
        self.channel = network.ask(self.ada, "POST", "/v1/notifications/channels", webhook)["id"]
        self.payout = network.ask(self.olga, "POST", "/v1/payouts", sent)["id"]

    def stop(self):
        self.network.stop()
