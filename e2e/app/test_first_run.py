"""From a machine that is no worker to one that renders: the pages of a first run."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import browser
import pytest
from processes import Process, built, free_port, until
from worker import file_of


class NewMachine:
    """`pictor-agent app` where there is no config file yet."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pictor-app-"))
        self.folder.chmod(0o755)
        self.config, self.data = self.folder / "config/worker.toml", self.folder / "data"
        self.agent = Process(
            "agent", self.folder, built("pictor-agent"), "app", "--browser", "--hidden", "--config", self.config,
            "--data", self.data, "--listen", f"127.0.0.1:{free_port()}",
        )
        link = until("the app's link", 30, lambda: (self.data / "app.json").exists() and json.loads((self.data / "app.json").read_text()))
        self.url, self.key = f"http://{link['address']}", link["key"]

    def stop(self):
        self.agent.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def machine():
    machine = NewMachine()
    yield machine
    machine.stop()


@pytest.fixture
def page(chromium, machine):
    visit = browser.Visit(chromium, machine)
    visit.page.goto(f"{machine.url}/?key={machine.key}")
    visit.page.get_by_role("heading", name="Config file").wait_for()
    yield visit.page
    # What Chromium says of a refused form, and of a server that makes way for the agent.
    visit.errors[:] = [error for error in visit.errors if not re.search("422|404|ERR_|NetworkError", error)]
    visit.close()


def is_checked(page):
    """The checks come one by one, and then the test render."""
    page.get_by_role("button", name="Check this machine").wait_for(timeout=30_000)
    page.get_by_role("button", name="Check this machine").click()
    checks = page.locator("#checks")
    for title in ["Config file", "Data folder", "Disk", "Blender", "Sandbox", "GPUs", "Registry", "Clock", "Token"]:
        checks.get_by_text(f"{title}:").wait_for(timeout=60_000)
    checks.get_by_role("heading", name="Test render").wait_for(timeout=60_000)
    page.get_by_text("This machine is ready").wait_for(timeout=120_000)
    assert re.search(r"Slot 0: [\d.]+ s on .*, by Blender 3\.4", checks.inner_text())
    picture = page.get_by_role("img", name="The frame that slot 0 rendered")
    until("the frame is seen", 20, lambda: picture.evaluate("image => image.complete && image.naturalWidth") == 640)


def test_a_dropped_file_makes_a_worker_that_renders(network, ada, machine, page):
    _, file = file_of(network, ada, "dropped-box")
    page.get_by_label("or paste what is in it").fill("registry = 'nonsense'")
    page.get_by_role("button", name="Import the file").click()
    page.locator("#file-error").wait_for()
    assert page.get_by_label("or paste what is in it").input_value() == "registry = 'nonsense'"
    assert not machine.config.exists()
    # Whose it is would do, and the agent would not start with the rest.
    page.get_by_label("or paste what is in it").fill(f"{file.read_text()}\n[metrics]\nhost_interval_seconds = 0.0\n")
    page.get_by_role("button", name="Import the file").click()
    page.locator("#file-error").get_by_text("`host_interval_seconds` under [metrics] is 0").wait_for()
    assert not machine.config.exists()

    page.evaluate(
        """(text) => {
            const data = new DataTransfer();
            data.items.add(new File([text], "pictor-worker-dropped-box.toml"));
            document.querySelector("[data-drop]").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        file.read_text(),
    )
    until("the file is read", 10, lambda: "dropped-box" in page.get_by_label("or paste what is in it").input_value())
    assert browser.faults(page) == ""
    page.get_by_role("button", name="Import the file").click()
    is_checked(page)
    assert browser.faults(page) == ""
    assert machine.config.stat().st_mode & 0o077 == 0
    page.get_by_role("link", name="See them on the Rendering page").click()
    page.get_by_role("heading", name="Slot 0").wait_for()
    [worker] = [worker for worker in network.ask(ada, "GET", "/v1/workers")["items"] if worker["name"] == "dropped-box"]
    assert worker["status"] == "idle"


def test_an_enrolment_link_makes_a_worker(network, ada, machine, page):
    made = network.ask(ada, "POST", "/v1/enrolments", {"name_pattern": "hall-{n}", "count": 1})
    page.get_by_label("Paste the link").fill("https://registry.example/")
    page.get_by_role("button", name="Enrol this machine").click()
    page.locator("#enrolment-error").get_by_text("neither an enrolment link").wait_for()
    page.get_by_label("Paste the link").fill(f"{network.url}/#{made['key']}")
    page.get_by_role("button", name="Enrol this machine").click()
    page.get_by_role("button", name="Check this machine").wait_for(timeout=30_000)
    [worker] = [worker for worker in network.ask(ada, "GET", "/v1/workers")["items"] if worker["name"] == "hall-1"]
    network.is_status(ada, worker, "idle")
