"""The Mining page: the owner's own program, on a simulated NVIDIA GPU."""

import os
import tomllib

import browser
import pytest
from processes import until
from worker import Worker


@pytest.fixture(scope="module")
def worker():
    worker = Worker(gpus="geforce")
    yield worker
    worker.stop()


@pytest.fixture
def page(visit):
    visit.page.get_by_role("link", name="Mining").click()
    visit.page.get_by_role("heading", name="A program of your own").wait_for()
    return visit.page


def save(page, label, value):
    page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name=f"Save: {label}").click()


def is_state(page, word):
    until(f"the state is {word}", 30, lambda: page.locator("#idle-slots .badge").first.inner_text() == word)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_off_until_its_owner_says_otherwise(page):
    is_state(page, "off")
    assert "NVIDIA" in page.locator("main").inner_text()
    assert page.get_by_text("This machine shows no NVIDIA GPU").count() == 0


def test_a_command_runs_while_the_slot_is_idle(worker, page):
    save(page, "After how many idle seconds", "soon")
    page.locator("#error-idle-after_seconds").wait_for()
    save(page, "After how many idle seconds", "1")
    page.get_by_role("status").get_by_text("Saved").wait_for()
    pid_file = worker.network.folder / "pid"
    assert page.get_by_text("on each GPU it sees all of them").count() == 0
    save(page, "Command", f"echo $$ > {pid_file}; echo mining on {{gpu_index}}; exec sleep 1000")
    page.get_by_role("status").get_by_text("Saved").wait_for()
    page.get_by_text("on each GPU it sees all of them").wait_for()
    page.get_by_role("button", name="Switch on").click()
    is_state(page, "running")
    page.locator(".idle-log").first.get_by_text("mining on 0").wait_for()
    assert tomllib.loads(worker.config.read_text())["idle"]["enabled"] is True
    until("its time runs", 20, lambda: page.locator(".ran").first.inner_text() not in ("0:00", "–"))
    pid = int(pid_file.read_text())
    assert is_alive(pid)

    # Who pauses the slot wants the GPU.
    page.goto(f"{worker.url}/")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("button", name="Resume").wait_for()
    until("it is gone", 20, lambda: not is_alive(pid))
    page.goto(f"{worker.url}/mining")
    is_state(page, "waiting")
    page.goto(f"{worker.url}/")
    page.get_by_role("button", name="Resume").click()
    page.goto(f"{worker.url}/mining")
    is_state(page, "running")
    page.get_by_role("button", name="Switch off").click()
    is_state(page, "off")
    second = int(pid_file.read_text())
    until("the second one is gone", 20, lambda: second != pid and not is_alive(second))


def test_one_that_fails_again_and_again_is_left_alone_for_a_while(page):
    save(page, "Command", "echo no such pool; exit 3")
    page.get_by_role("button", name="Switch on").click()
    is_state(page, "waiting after a failure")
    assert "it starts again in" in page.locator("#idle-slots").inner_text()
    page.locator(".idle-log").first.get_by_text("no such pool").first.wait_for()
    page.get_by_role("button", name="Switch off").click()
    is_state(page, "off")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert browser.faults(page) == ""
    page.set_viewport_size(browser.PHONE)
    assert browser.wide_by(page) == 0
