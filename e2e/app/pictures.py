"""Takes the pictures of the worker app in docs/images: of the desktop window, and of each page in a browser.

    .venv/bin/python e2e/app/pictures.py [--output FOLDER]

Look at them before they are committed.
"""

import argparse
import io
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "console"))

import browser
from first_run import NewMachine, is_checked
from network import Network, slow_scene
from PIL import Image
from processes import REPOSITORY
from screen import Screen, colours
from waiting import until
from worker import Worker, file_of, save

COLOURS = 64
# A page is as long as it is, up to this many pixels.
HEIGHT_MAX = 1400
MINER = "echo pool.example.org: connected as GPU {gpu_index}; exec sleep 100000"


def take_window(folder, worker):
    """app-window.png: the Rendering page in its window."""
    screen = Screen()
    try:
        app = screen.start_app("--config", worker.config, "--data", worker.data)
        window, port = app.window("Rendering"), int(worker.link["address"].rsplit(":")[1])
        until("the page's live parts", lambda: app.page_connections(port) > 0 and rendered(worker) > 0.2)
        # Drawn, that is, with the letters' many shades.
        until("the page is drawn", lambda: len(colours(screen.picture(window))) > 500)
        picture = screen.picture(window, with_frame=True)
        file = folder / "app-window.png"
        # The desktop has few colours: a palette is a third of the size.
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
        return file
    finally:
        screen.stop()


def take_page(folder, page, name):
    shot = page.screenshot(full_page=True)
    picture = Image.open(io.BytesIO(shot))
    picture = picture.crop((0, 0, picture.width, min(picture.height, HEIGHT_MAX)))
    file = folder / f"app-{name}.png"
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return file


def take_tabs(folder, chromium, worker):
    """The Rendering page with a task, in both themes, and the Settings page."""
    for scheme in ["light", "dark"]:
        visit = browser.Visit(chromium, worker, scheme)
        visit.page.goto(worker.entrance())
        log = visit.page.locator("#log-0")
        until("some of the log", lambda: log.inner_text().count("Sample") > 8)
        until("the graph has grown", lambda: (visit.page.locator("svg path").last.get_attribute("d") or "").count("L") > 60)
        yield take_page(folder, visit.page, f"rendering-{scheme}")
        if scheme == "light":
            visit.page.goto(f"{worker.url}/settings")
            visit.page.locator("#blender-found table").wait_for()
            yield take_page(folder, visit.page, "settings-light")
        visit.context.close()


def take_mining(folder, chromium):
    worker = Worker("server", gpus="geforce")
    try:
        page = browser.Visit(chromium, worker).page
        page.goto(worker.entrance())
        page.goto(f"{worker.url}/mining")
        for label, value in [("After how many idle seconds", "1"), ("Command", MINER)]:
            save(page, label, value)
            page.get_by_role("status").get_by_text("Saved").wait_for()
        browser.go(page.get_by_role("button", name="Switch on"))
        page.locator(".idle-log").first.get_by_text("connected").wait_for()
        page.goto(f"{worker.url}/mining")
        until("it has run for a while", lambda: page.locator(".ran").first.inner_text() >= "0:05")
        return take_page(folder, page, "mining-light")
    finally:
        worker.stop()


def take_first_run(folder, chromium):
    network, machine = Network(), NewMachine()
    try:
        page = browser.Visit(chromium, machine).page
        page.goto(f"{machine.url}/?key={machine.key}")
        _, file = file_of(network, network.account("ada", "provider"), "studio")
        page.get_by_label("or paste what is in it").fill(file.read_text())
        browser.go(page.get_by_role("button", name="Import the file"))
        is_checked(page)
        return take_page(folder, page, "first-run-light")
    finally:
        machine.stop()
        network.stop()


def render(worker):
    """Until a frame is under way."""
    worker.network.submit(worker.creator, slow_scene(), "--frames", "1-20", "--frames-per-task", "4", name="The long walk")
    until("a frame is under way", lambda: rendered(worker) > 0.05)


def rendered(worker):
    """How much of the first slot's task."""
    task = worker.status()["slots"][0]["task"]
    return task["progress_ratio"] if task else 0.0


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, default=REPOSITORY / "docs/images")
    folder = options.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    worker = Worker()
    try:
        render(worker)
        print(take_window(folder, worker))
        with browser.chromium() as chromium:
            for file in take_tabs(folder, chromium, worker):
                print(file)
            worker.stop()
            print(take_mining(folder, chromium))
            print(take_first_run(folder, chromium))
    finally:
        worker.stop()


if __name__ == "__main__":
    main()
