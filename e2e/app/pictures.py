"""Takes the picture of the desktop window in docs/images, of a worker that renders.

    .venv/bin/python e2e/app/pictures.py [--output FOLDER]

Look at it before it is committed.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "console"))

from network import slow_scene
from PIL import Image
from processes import REPOSITORY, until
from screen import Screen, colours
from worker import Worker

COLOURS = 64


def take_window(folder, worker):
    """app-window.png: the Rendering page in its window."""
    screen = Screen()
    try:
        app = screen.start_app("--config", worker.config, "--data", worker.data)
        window, port = app.window("Rendering"), int(worker.link["address"].rsplit(":")[1])
        until("the page's live parts", 30, lambda: app.page_connections(port) > 0 and rendered(worker) > 0.2)
        # Drawn, that is, with the letters' many shades.
        until("the page is drawn", 30, lambda: len(colours(screen.picture(window))) > 500)
        picture = screen.picture(window, with_frame=True)
        file = folder / "app-window.png"
        # The desktop has few colours: a palette is a third of the size.
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
        return file
    finally:
        screen.stop()


def render(worker):
    """Until a frame is under way."""
    worker.network.submit(worker.creator, slow_scene(), "--frames", "1-20", "--frames-per-task", "4", name="The long walk")
    until("a frame is under way", 60, lambda: rendered(worker) > 0.05)


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
    finally:
        worker.stop()


if __name__ == "__main__":
    main()
