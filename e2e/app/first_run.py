"""A machine that is no worker yet, and what a person does on its first pages."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from processes import Process, built, free_port, run, until


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
            link = until("the app's link", 30, self._link)
        except BaseException:
            self.stop()
            raise
        self.url, self.key = f"http://{link['address']}", link["key"]

    def _link(self):
        self.agent.is_running()
        file = self.data / "app.json"
        return file.exists() and json.loads(file.read_text())

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
    until("the file is read", 10, lambda: field.input_value() == file.read_text())


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
