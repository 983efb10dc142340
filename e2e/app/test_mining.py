"""The Mining page: the owner's own program, on a simulated NVIDIA GPU."""

import os
import tomllib

import browser
import pytest
from playwright.sync_api import expect
from waiting import until, written
from worker import Worker, save


@pytest.fixture(scope="module")
def worker():
    worker = Worker(gpus="geforce")
    yield worker
    worker.stop()


@pytest.fixture
def page(visit):
    browser.go(visit.page.get_by_role("link", name="Mining"))
    visit.page.get_by_role("heading", name="A program of your own").wait_for()
    return visit.page


def is_state(page, word):
    expect(page.locator("#idle-slots .badge").first).to_have_text(word)


def press(page, name):
    browser.go(page.get_by_role("button", name=name, exact=True))


class PidFile:
    """Where the owner's program writes its process id each time it is started."""

    def __init__(self, folder):
        self.file = folder / "pids"
        self.seen = 0

    def next(self):
        """The id of the start after those that were asked for before."""
        def look():
            pids = written(self.file).split()
            return len(pids) > self.seen and int(pids[self.seen])

        pid = until(f"start number {self.seen + 1}", look)
        self.seen += 1
        return pid


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_off_until_its_owner_says_otherwise(page):
    is_state(page, "off")
    expect(page.locator("main")).to_contain_text("NVIDIA")
    expect(page.get_by_text("This machine shows no NVIDIA GPU")).to_have_count(0)


def test_a_command_runs_while_the_slot_is_idle(worker, page):
    save(page, "After how many idle seconds", "soon")
    page.locator("#error-idle-after_seconds").wait_for()
    save(page, "After how many idle seconds", "1")
    page.get_by_role("status").get_by_text("Saved").wait_for()
    pids = PidFile(worker.network.folder)
    expect(page.get_by_text("on each GPU it sees all of them")).to_have_count(0)
    save(page, "Command", f"echo $$ >> {pids.file}; echo mining on {{gpu_index}}; exec sleep 1000")
    page.get_by_role("status").get_by_text("Saved").wait_for()
    page.get_by_text("on each GPU it sees all of them").wait_for()
    press(page, "Switch on")
    is_state(page, "running")
    page.locator(".idle-log").first.get_by_text("mining on 0").wait_for()
    assert tomllib.loads(worker.config.read_text())["idle"]["enabled"] is True
    until("its time runs", lambda: page.locator(".ran").first.inner_text() not in ("0:00", "–"))
    first = pids.next()
    assert is_alive(first)

    # Who pauses the slot wants the GPU.
    page.goto(f"{worker.url}/")
    press(page, "Pause")
    page.get_by_role("button", name="Resume").wait_for()
    until("it is gone", lambda: not is_alive(first))
    page.goto(f"{worker.url}/mining")
    is_state(page, "waiting")
    page.goto(f"{worker.url}/")
    press(page, "Resume")
    page.goto(f"{worker.url}/mining")
    is_state(page, "running")
    second = pids.next()
    press(page, "Switch off")
    is_state(page, "off")
    until("the second one is gone", lambda: not is_alive(second))


def test_one_that_fails_again_and_again_is_left_alone_for_a_while(page):
    save(page, "Command", "echo no such pool; exit 3")
    press(page, "Switch on")
    is_state(page, "waiting after a failure")
    expect(page.locator("#idle-slots")).to_contain_text("it starts again in")
    page.locator(".idle-log").first.get_by_text("no such pool").first.wait_for()
    press(page, "Switch off")
    is_state(page, "off")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert browser.faults(page) == ""
    page.set_viewport_size(browser.PHONE)
    assert browser.wide_by(page) == 0
