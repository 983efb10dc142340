"""A machine that is no worker yet, and what a person does on its first pages."""

import re
import shutil
import tempfile
from pathlib import Path

import browser
from playwright.sync_api import expect
from processes import Process, built, free_port, run
from waiting import until
from worker import link_in


class NewMachine:
    """`pictor-agent app` where there is no config file yet, of the program in its own folder or of the built one."""

    def __init__(self, program=None):
        self.folder = Path(tempfile.mkdtemp(prefix="pictor-app-"))
        self.folder.chmod(0o755)
        self.config, self.data = self.folder / "config/worker.toml", self.folder / "data"
        self.agent = Process(
            "agent", self.folder, program or built("pictor-agent"), "app", "--browser", "--hidden", "--config", self.config,
            "--data", self.data, "--listen", f"127.0.0.1:{free_port()}",
        )
        try:
            link = link_in(self.data, self.agent)
        except BaseException:
            self.stop()
            raise
        self.url, self.key = f"http://{link['address']}", link["key"]

    def blenders(self):
        """The ids of the Blender processes that render for it."""
        listed = [line.split(None, 2) for line in run("ps", "-eo", "pid=,ppid=,comm=").splitlines()]
        ours = {self.agent.child.pid}
        while more := {int(pid) for pid, parent, _ in listed if int(parent) in ours} - ours:
            ours |= more
        return [int(pid) for pid, _, name in listed if int(pid) in ours and name == "blender"]

    def stop(self):
        self.agent.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def drop(page, file):
    """As from a folder of downloads."""
    page.evaluate(
        """([name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([text], name));
            document.querySelector("[data-drop]").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [file.name, file.read_text()],
    )
    field = page.get_by_label("or paste what is in it")
    expect(field).to_have_value(file.read_text())


def is_checked(page):
    """The checks come one by one, and then the test render."""
    page.get_by_role("button", name="Check this machine").wait_for()
    browser.go(page.get_by_role("button", name="Check this machine"))
    checks = page.locator("#checks")
    for title in ["Config file", "Data folder", "Disk", "Blender", "Sandbox", "GPUs", "Registry", "Clock", "Token"]:
        checks.get_by_text(f"{title}:").wait_for()
    checks.get_by_role("heading", name="Test render").wait_for()
    page.get_by_text("This machine is ready").wait_for()
    expect(checks).to_have_text(re.compile(r"Slot 0: [\d.]+ s on .*, by Blender 3\.4"))
    picture = page.get_by_role("img", name="The frame that slot 0 rendered")
    until("the frame is seen", lambda: picture.evaluate("image => image.complete && image.naturalWidth") == 640)
