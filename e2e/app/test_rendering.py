"""The Rendering page, with a real task on it."""

import re

import browser
import pytest
from playwright.sync_api import expect
from network import slow_scene
from processes import Process, built, run
from waiting import until


def seconds(text):
    parts = [int(part) for part in text.split(":")]
    return sum(part * 60**index for index, part in enumerate(reversed(parts)))


@pytest.fixture(scope="module")
def job(worker):
    """One task that is under way for as long as it is looked at."""
    return worker.network.submit(worker.creator, slow_scene(), "--frames", "1-100", "--frames-per-task", "100")


def test_a_task_is_seen_as_it_runs(worker, visit, job):
    page = visit.page
    page.evaluate("window.stays = true")
    slot = page.locator("#slot-0")
    bar = slot.get_by_role("progressbar")
    bar.wait_for()
    expect(page.locator("#worker-status")).to_have_text("busy")
    expect(slot.locator(".job-id")).to_have_text(job)
    expect(slot.locator(".task-id")).to_have_text(re.compile(r"^tsk_[0-9a-f]{32}$"))
    before = float(bar.get_attribute("value")), seconds(slot.locator(".elapsed").inner_text())

    def moved():
        return float(bar.get_attribute("value")) > before[0] and seconds(slot.locator(".elapsed").inner_text()) > before[1]

    until("the bar and the clock go on", moved)
    expect(slot.locator(".remaining")).not_to_have_text("–")
    expect(slot.locator(".completes")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(slot.locator(".cpu-utilization")).to_have_text(re.compile(r"^\d+ %$"))
    until("the graph has points", lambda: "L" in (slot.locator("svg path").last.get_attribute("d") or ""))
    assert page.evaluate("window.stays === true"), "the page was loaded again"


def test_the_log_runs_and_can_be_held_and_copied(worker, visit, job):
    page = visit.page
    log, follow = page.locator("#log-0"), page.get_by_role("button", name="Follow")
    expect(log).to_contain_text(re.compile("Sample|Rendered"))
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Pause log").click()
    held = log.inner_text()
    page.get_by_text("Paused: more has come.").wait_for()
    expect(log).to_have_text(held)
    page.get_by_role("button", name="Pause log").click()
    until("what came meanwhile", lambda: len(now := log.inner_text()) > len(held) and now.startswith(held.strip().splitlines()[0]))
    page.get_by_role("button", name="Copy").click()
    until("the log in the clipboard", lambda: page.evaluate("navigator.clipboard.readText()").startswith(held[:20]))


def test_the_terminal_says_the_same(worker, job):
    def look():
        said = worker.terminal()
        return "busy" in said and job in said and re.search(r"\[[#-]{30}\] \d+ %", said) and said

    assert worker.link["key"] not in until("the task in the terminal", look)


def test_a_pause_stops_the_task_and_holds_until_it_is_lifted(worker, visit, job):
    page = visit.page
    browser.go(page.get_by_role("button", name="Pause", exact=True))
    page.locator("#state").get_by_text("Paused on this machine.").wait_for()
    expect(page.locator("#worker-status")).to_have_text("paused")
    expect(page.locator("#slot-0 progress")).to_have_count(0)
    seen = worker.network.is_status(worker.provider, worker.made, "paused")
    assert [reason["code"] for reason in seen["slots"][0]["reasons"]] == ["paused_here"]
    browser.go(page.get_by_role("button", name="Resume"))
    page.locator("#slot-0").get_by_role("progressbar").wait_for()
    browser.go(page.get_by_role("button", name="Drain"))
    page.locator("#state").get_by_text("Draining, from this machine").wait_for()
    # A drained slot finishes its task.
    expect(page.locator("#slot-0").get_by_role("progressbar")).to_be_visible()
    browser.go(page.get_by_role("button", name="Resume"))
    page.get_by_role("button", name="Drain").wait_for()
    # Nobody looks at it any more.
    worker.network.ask(worker.creator, "POST", f"/v1/jobs/{job}/cancel")


def test_a_pause_in_the_console_is_told(worker, visit):
    path = f"/v1/workers/{worker.made['id']}"
    worker.network.ask(worker.provider, "PATCH", path, {"desired": "paused"})
    visit.page.locator("#state").get_by_text("Paused in the console, where it can be resumed.").wait_for()
    worker.network.ask(worker.provider, "PATCH", path, {"desired": "active"})
    visit.page.locator("#state").get_by_text("Paused in the console").wait_for(state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(worker, visit, scheme):
    visit.page.emulate_media(color_scheme=scheme)
    assert browser.faults(visit.page) == ""
    visit.page.set_viewport_size(browser.PHONE)
    assert browser.wide_by(visit.page) == 0


def test_a_registry_that_is_gone_is_said(worker, visit):
    page = visit.page
    worker.network.registry.child.send_signal(19)
    try:
        page.get_by_text("not reached; tried again until it answers").wait_for()
    finally:
        worker.network.registry.child.send_signal(18)
    page.get_by_text("not reached").wait_for(state="hidden")


def test_an_agent_that_is_gone_is_said_and_a_new_one_asks_for_its_key(worker, visit):
    page = visit.page
    page.get_by_role("heading", name="Slot 0").wait_for()
    command = worker.agent.child.args
    worker.network.stop_agent(worker.agent)
    page.get_by_text("The agent does not answer").wait_for()
    worker.agent = Process("agent-again", worker.network.folder, *command)
    worker.network.agents.append(worker.agent)
    page.get_by_role("heading", name="The worker app was not opened").wait_for()
    visit.errors.clear()


def test_the_terminal_says_when_nothing_runs(tmp_path):
    with pytest.raises(AssertionError, match="no agent runs with the data folder"):
        run(built("pictor-agent"), "status", "--data", tmp_path)
