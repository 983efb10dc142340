"""A desktop without a monitor: X server, session bus, window manager, panel with a tray; and what a person does there."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import ImageGrab
from processes import Process, built, run
from waiting import PATIENCE_SECONDS, until

WIDTH, HEIGHT = 1280, 900
WATCHER = "org.kde.StatusNotifierWatcher"
MENU = "com.canonical.dbusmenu"


def colours(picture):
    """How much of a picture has each colour."""
    counted = picture.convert("RGB").getcolors(1 << 24)
    return {colour: count / (picture.width * picture.height) for count, colour in counted}


class Screen:
    def __init__(self, has_tray=True):
        self.folder = Path(tempfile.mkdtemp(prefix="pictor-screen-"))
        self.processes, self.apps = [], []
        try:
            self.display = self._start_x()
            self.environment = self._environment()
            self._choose_browser()
            bus = self.environment["DBUS_SESSION_BUS_ADDRESS"]
            self._start("bus", "dbus-daemon", "--session", f"--address={bus}", "--nofork", "--nopidfile")
            until("the session bus", (self.folder / "bus").exists)
            self._start("openbox", "openbox", "--sm-disable")
            until("the window manager", lambda: "window id" in self.run("xprop", "-root", "_NET_SUPPORTING_WM_CHECK"))
            if has_tray:
                self._start("panel", "xfce4-panel", "--disable-wm-check", "--sm-client-disable")
                until("the tray", self._has_tray)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.end_apps()
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name, *command):
        words = ["env", *(f"{key}={value}" for key, value in getattr(self, "environment", {}).items()), *command]
        self.processes.append(Process(name, self.folder, *words))
        return self.processes[-1]

    def _start_x(self):
        """The first number that is free; Xvfb says which."""
        size = f"{WIDTH}x{HEIGHT}x24"
        xvfb = self._start("xvfb", "Xvfb", "-displayfd", "1", "-screen", "0", size, "-nolisten", "tcp", "-noreset")
        number = until("the X server", lambda: xvfb.is_running() and re.search(r"(?m)^(\d+)\n", xvfb.log.read_text()))
        return f":{number.group(1)}"

    def _environment(self):
        folders = {}
        for variable, name in [
            ("HOME", "home"), ("XDG_RUNTIME_DIR", "runtime"), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache"),
        ]:
            folders[variable] = self.folder / name
            folders[variable].mkdir(mode=0o700)
        bus = f"unix:path={self.folder}/bus"
        # No bus for people who cannot see: nobody is there to answer.
        return folders | {"DISPLAY": self.display, "DBUS_SESSION_BUS_ADDRESS": bus, "NO_AT_BRIDGE": "1"}

    def _choose_browser(self):
        """What a person chooses in a desktop's settings; this browser writes down where it is sent."""
        script, entry = self.folder / "browser", self.folder / "data/applications/browser.desktop"
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >>"{self.folder}/visited"\n')
        script.chmod(0o755)
        entry.parent.mkdir()
        entry.write_text(f"[Desktop Entry]\nType=Application\nName=Browser\nExec={script} %u\n")
        chosen = "[Default Applications]\nx-scheme-handler/http=browser.desktop\n"
        (self.folder / "config/mimeapps.list").write_text(chosen)

    def visited(self):
        """Where the browser was sent."""
        file = self.folder / "visited"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, *command):
        return run(*command, **{key: str(value) for key, value in self.environment.items()})

    def attempt(self, *command):
        """What a command came to that may fail, or nothing."""
        environment = os.environ | {key: str(value) for key, value in self.environment.items()}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        return done if done.returncode == 0 else None

    def call(self, destination, path, method, *arguments):
        """A call over the session bus, as GVariant text."""
        return self.run(
            "gdbus", "call", "--session", "--dest", destination, "--object-path", path, "--method", method, *arguments,
        )

    def _has_tray(self):
        names = self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.ListNames")
        return WATCHER in names

    def start_app(self, *options, **changes):
        self.apps.append(App(self, *options, **changes))
        return self.apps[-1]

    def end_apps(self):
        while self.apps:
            self.apps.pop().process.stop()

    def windows(self):
        """Those that can be seen or are minimised: id, process, title."""
        # It fails when a window goes while it looks.
        listed = until("the list of windows", lambda: self.attempt("wmctrl", "-l", "-p"))
        lines = [line.split(None, 4) for line in listed.stdout.splitlines()]
        return [Window(self, line[0], int(line[2]), line[4] if len(line) > 4 else "") for line in lines]

    def press(self, keys):
        self.run("xdotool", "key", "--clearmodifiers", keys)

    def click(self, window, x, y):
        left, top, _, _ = window.place()
        self.run("xdotool", "mousemove", str(left + x), str(top + y), "click", "1")

    def picture(self, window, with_frame=False):
        """What is seen of a window."""
        x, y, width, height = window.place()
        left, right, top, bottom = window.frame() if with_frame else (0, 0, 0, 0)
        box = (x - left, y - top, min(x + width + right, WIDTH), min(y + height + bottom, HEIGHT))
        return ImageGrab.grab(bbox=box, xdisplay=self.display)


class Window:
    def __init__(self, screen, id, pid, title):
        self.screen, self.id, self.pid, self.title = screen, id, pid, title

    def place(self):
        """Its left upper corner and its size, without its frame."""
        text = self.screen.run("xwininfo", "-id", self.id)
        words = ("Absolute upper-left X", "Absolute upper-left Y", "Width", "Height")
        return [int(re.search(rf"{word}: +(\d+)", text).group(1)) for word in words]

    def frame(self):
        """Its widths: left, right, top, bottom."""
        text = self.screen.run("xprop", "-id", self.id, "_NET_FRAME_EXTENTS")
        return [int(width) for width in re.findall(r"\d+", text)]

    def close(self):
        """By its cross."""
        self.screen.run("wmctrl", "-i", "-c", self.id)

    def activate(self):
        self.screen.run("wmctrl", "-i", "-a", self.id)
        until(f"{self.title} is in front", self.is_active)

    def is_active(self):
        active = re.search(r"0x[0-9a-f]+", self.screen.run("xprop", "-root", "_NET_ACTIVE_WINDOW"))
        return active is not None and int(active.group(), 16) == int(self.id, 16)

    def is_minimised(self):
        return "_NET_WM_STATE_HIDDEN" in self.screen.run("xprop", "-id", self.id, "_NET_WM_STATE")


class App:
    """One `pictor-agent app` on a screen."""

    count = 0

    def __init__(self, screen, *options, **changes):
        App.count += 1
        self.screen = screen
        environment = screen.environment | changes
        words = [word for key, value in environment.items() if value is None for word in ("-u", key)]
        words += [f"{key}={value}" for key, value in environment.items() if value is not None]
        command = ["env", *words, built("pictor-agent"), "app", *options]
        self.process = Process(f"app-{App.count}", screen.folder, *command)
        self.pid = self.process.child.pid

    def windows(self):
        return [window for window in self.screen.windows() if window.pid == self.pid]

    def window(self, title="Rendering"):
        """The one window of that title, when it is there."""
        def look():
            self.process.is_running()
            text = self.process.log.read_text()
            assert "built without the desktop window" not in text, "cargo build --workspace --features pictor-agent/desktop"
            return [window for window in self.windows() if title in window.title]

        [window] = until(f"a window {title}", look)
        return window

    def dialog(self):
        """A question or a message over its window."""
        return until("a dialog", self._dialogs)[0]

    def _dialogs(self):
        return [window for window in self.windows() if window.title == "My Workers"]

    def answer(self, keys):
        """Presses these in its dialog until that is gone: a window that is new may not hear the first."""
        self.dialog().activate()

        def is_gone():
            if not self._dialogs():
                return True
            self.screen.press(keys)
            return False

        until(f"the dialog is gone with {keys}", is_gone)

    def has_no_window(self):
        return self.process.is_running() and not self.windows()

    def ended(self):
        """How it ended, and what it said."""
        until("the app ends", lambda: self.process.child.poll() is not None)
        return self.process.child.returncode, self.process.log.read_text()

    def tray_menu(self):
        """What can be chosen: the items' ids by their labels."""
        text = self.screen.call(self._tray_name(), "/MenuBar", f"{MENU}.GetLayout", "0", "@i -1", "[]")
        items = re.findall(r"<\((\d+), \{([^}]*)\}", text)
        labels = [(re.search(r"'label': <'([^']*)'>", properties), id) for id, properties in items]
        return {label.group(1): id for label, id in labels if label}

    def choose(self, label):
        id = until(f"{label} in the tray", lambda: self.tray_menu().get(label))
        self.screen.call(self._tray_name(), "/MenuBar", f"{MENU}.Event", id, "clicked", "<''>", "0")

    def _tray_name(self):
        """As the panel knows it."""
        def look():
            self.process.is_running()
            got = self.screen.call(
                WATCHER, "/StatusNotifierWatcher", "org.freedesktop.DBus.Properties.Get", WATCHER,
                "RegisteredStatusNotifierItems",
            )
            return re.search(rf"org\.kde\.StatusNotifierItem-{self.pid}-\d+", got)

        return until("an icon in the tray", look).group()

    def page_connections(self, port):
        """How many connections its web view keeps to a port of this machine."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.pid), "-f", "WebKitNetworkProcess"], capture_output=True, text=True, check=False,
        ).stdout.split()
        sockets = set()
        for child in children:
            for file in Path(f"/proc/{child}/fd").iterdir():
                try:
                    sockets.add(os.readlink(file))
                except FileNotFoundError:
                    continue
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        established, remote = "01", f"0100007F:{port:04X}"
        return sum(row[2] == remote and row[3] == established and f"socket:[{row[9]}]" in sockets for row in rows)
