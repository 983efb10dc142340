"""A registry with its accounts, and agents of its workers: real processes in a folder of their own."""

import http.client
import json
import os
import re
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from processes import REPOSITORY, Process, built, free_port, run
from waiting import PATIENCE_SECONDS, until

WALLET = "0x52908400098527886E0F7030069857D2E4169EE7"


@dataclass(frozen=True)
class Account:
    id: str
    token: str


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


class Network:
    def __init__(self, *serve_options):
        self.folder = Path(tempfile.mkdtemp(prefix="pictor-console-"))
        # The processes of sandboxes have other users' ids, and read what lies here.
        self.folder.chmod(0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.agents = []
        self.registry = Process(
            "registry", self.folder, built("pictor-registry"), "serve", "--listen", f"127.0.0.1:{self.port}",
            "--database", self._database(), "--blobs", f"file://{self.folder}/blobs",
            "--heartbeat-seconds", "1", *serve_options,
        )
        try:
            until("the registry is ready", self._is_ready)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for process in [*self.agents, self.registry]:
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self):
        self.registry.is_running()
        try:
            return self.call("GET", "/readyz").status == 200
        except OSError:
            return False

    def _database(self):
        return f"sqlite://{self.folder}/registry.db"

    def _cli(self, *words):
        return run(built("pictor-registry"), *words, "--database", self._database())

    def account(self, name, *roles, credit=None):
        options = [word for role in roles for word in ("--role", role)]
        if "provider" in roles:
            options += ["--wallet", WALLET]
        made = json.loads(self._cli("account", "create", name, *options, "--json"))
        if credit is not None:
            self._cli("account", "credit", name, credit)
        return Account(made["account_id"], made["token"])

    def call(self, method, path, *, token=None, body=None, headers=None):
        """One request, as a script sends it; redirects are not followed."""
        headers = dict(headers or {})
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if isinstance(body, dict | list):
            headers["content-type"] = "application/json"
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def ask(self, account, method, path, body=None):
        """A call that must succeed; what it answers."""
        answer = self.call(method, path, token=account.token, body=body)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:500]}"
        return answer.json() if answer.body else None

    def worker(self, provider, name, **change):
        worker = self.ask(provider, "POST", "/v1/workers", {"name": name})
        return self.ask(provider, "PATCH", f"/v1/workers/{worker['id']}", change) if change else worker

    def download(self, provider, worker):
        """A worker's config file."""
        answer = self.call("GET", f"/v1/workers/{worker['id']}/config", token=provider.token)
        assert answer.status == 200, answer.body
        path = self.folder / f"pictor-worker-{worker['id']}.toml"
        path.write_bytes(answer.body)
        return path

    def start_agent(self, name, downloaded, settings="", device="cpu"):
        """An agent of a downloaded config file. It renders on the processor: GPUs of this machine are not tested."""
        config = self.folder / f"{name}.toml"
        run(built("pictor-agent"), "import", downloaded, "--config", config)
        return self.start_imported(name, config, settings, device)

    def start_imported(self, name, config, settings="", device="cpu"):
        config.write_text(config.read_text() + f'\n[blender]\ndevice = "{device}"\n' + settings)
        agent = Process(
            f"agent-{name}", self.folder, built("pictor-agent"), "run", "--config", config,
            "--listen", f"127.0.0.1:{free_port()}", "--data", self.folder / f"{name}-data",
        )
        self.agents.append(agent)
        return agent

    def stop_agent(self, agent):
        self.agents.remove(agent)
        agent.stop()

    def is_status(self, provider, worker, status):
        path = f"/v1/workers/{worker['id']}"
        return until(
            f"{worker['name']} is {status}",
            lambda: (now := self.ask(provider, "GET", path))["status"] == status and now,
        )

    def submit(self, creator, scene, *options, name="scene"):
        """A job by the command line; its id."""
        printed = run(
            built("pictor-registry"), "job", "submit", scene, "--name", name, "--registry", self.url, "--json",
            *options, PICTOR_TOKEN=creator.token,
        )
        return json.loads(printed)["id"]

    def job_is(self, creator, job_id, status):
        path = f"/v1/jobs/{job_id}"
        return until(
            f"the job is {status}",
            lambda: (now := self.ask(creator, "GET", path))["status"] == status and now,
        )


def fake_gpus(folder, profile, **readings):
    """Settings of an agent that sees the GPUs of a profile of the fake driver, with these readings, in TOML, instead."""
    folder.mkdir(parents=True)
    shutil.copy(built("libfake_nvml.so"), folder / "libnvidia-ml.so.1")
    script = (REPOSITORY / "agent/tests/data/nvml" / f"{profile}.toml").read_text()
    for key, value in readings.items():
        script = re.sub(rf"(?m)^{key} = .*$", lambda _: f"{key} = {value}", script)
    (folder / "libnvidia-ml.so.1.toml").write_text(script)
    return f'\n[metrics]\nnvml_library = "{folder}/libnvidia-ml.so.1"\n'


def made_scene(script, name, *options):
    """A scene made by the real Blender, once for all runs."""
    folder = REPOSITORY / "target/tmp/scenes"
    folder.mkdir(parents=True, exist_ok=True)
    path, unfinished = folder / name, folder / f"{os.getpid()}-{uuid.uuid4().hex}-{name}"
    if not path.exists():
        run(
            "blender", "-b", "--factory-startup", "--python-exit-code", "1", "--python", REPOSITORY / script,
            "--", unfinished, *options,
        )
        unfinished.rename(path)
    return path


def quick_scene():
    """A fraction of a second a frame."""
    return made_scene("e2e/scenes/cube.py", "quick.blend", "4")


def slow_scene():
    """Some ten seconds a frame, to be watched."""
    return made_scene("e2e/scenes/cube.py", "slower.blend", "20000")


def sample_scene():
    return made_scene("scripts/scenes/sample.py", "sample.blend")
