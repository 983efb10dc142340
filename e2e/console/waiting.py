"""Waiting for the thing itself: a page, a file or a process is there when it is there, not when another one says so.

What is on a page is waited for by Playwright's `expect` and `wait_for`, everything else by `until`; all of them wait as
long. test_waiting.py keeps it so.
"""

import time

from playwright.sync_api import expect

# How long anything may take before it is a failure. A free machine needs a fraction of it for each step; one that is busy
# with other things, or that renders on the processor that the tests need, may need most of it.
PATIENCE_SECONDS = 240
PATIENCE_MILLISECONDS = PATIENCE_SECONDS * 1000
LOOK_SECONDS = 0.05

expect.set_options(timeout=PATIENCE_MILLISECONDS)


def until(what, look):
    """Looks again and again until it sees something, and returns that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"gave up after {PATIENCE_SECONDS} s: {what}"
        time.sleep(LOOK_SECONDS)


def written(file):
    """What another program has written to the file, once that ends with a whole line."""
    def look():
        text = file.read_text() if file.exists() else ""
        return text.endswith("\n") and text

    return until(f"a whole line in {file.name}", look)
