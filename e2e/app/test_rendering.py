"""The Rendering page, with a real task on it."""

import re

import browser
import pytest
from network import slow_scene
from processes import Process, built, run, until


def seconds(text):
    parts = [int(part) for part in text.split(":")]
    return sum(part * 60**index for index, part in enumerate(reversed(parts)))


@pytest.fixture(scope="module")
def job(worker):
    return worker.network.submit(worker.creator, slow_scene(), "--frames", "1-4", "--frames-per-task", "4")


def test_a_task_is_seen_as_it_runs(worker, visit, job):
    page = visit.page
    page.evaluate("window.stays = true")
    slot = page.locator("#slot-0")
    bar = slot.get_by_role("progressbar")
    bar.wait_for(timeout=60_000)
    assert page.locator("#worker-status").inner_text() == "busy"
    assert slot.locator(".job-id").inner_text() == job
    assert re.fullmatch(r"tsk_[0-9a-f]{32}", slot.locator(".task-id").inner_text())
    before = float(bar.get_attribute("value")), seconds(slot.locator(".elapsed").inner_text())

    def moved():
        return float(bar.get_attribute("value")) > before[0] and seconds(slot.locator(".elapsed").inner_text()) > before[1]

    until("the bar and the clock go on", 60, moved)
    until("an estimate", 60, lambda: slot.locator(".remaining").inner_text() != "–")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", slot.locator(".completes").inner_text())
    assert re.fullmatch(r"\d+ %", slot.locator(".cpu-utilization").inner_text())
    until("the graph has points", 30, lambda: "L" in (slot.locator("svg path").last.get_attribute("d") or ""))
    assert page.evaluate("window.stays === true"), "the page was loaded again"


def test_the_log_runs_and_can_be_held_and_copied(worker, visit, job):
    page = visit.page
    log, follow = page.locator("#log-0"), page.get_by_role("button", name="Follow")
    until("Blender's words", 60, lambda: "Sample" in log.inner_text() or "Rendered" in log.inner_text())
    assert follow.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Pause log").click()
    held = log.inner_text()
    page.get_by_text("Paused: more has come.").wait_for(timeout=60_000)
    assert log.inner_text() == held
    page.get_by_role("button", name="Pause log").click()
    until("what came meanwhile", 10, lambda: len(log.inner_text()) > len(held))
    assert log.inner_text().startswith(held.strip().splitlines()[0])
    page.get_by_role("button", name="Copy").click()
    until("the log in the clipboard", 10, lambda: page.evaluate("navigator.clipboard.readText()").startswith(held[:20]))


def test_the_terminal_says_the_same(worker, job):
    said = worker.terminal()
    assert "busy" in said and job in said and re.search(r"\[[#-]{30}\] \d+ %", said), said
    assert worker.link["key"] not in said


def test_a_pause_stops_the_task_and_holds_until_it_is_lifted(worker, visit, job):
    page = visit.page
    page.get_by_role("button", name="Pause", exact=True).click()
    page.locator("#state").get_by_text("Paused on this machine.").wait_for()
    until("it is paused", 30, lambda: page.locator("#worker-status").inner_text() == "paused")
    assert page.locator("#slot-0 progress").count() == 0
    worker.network.is_status(worker.provider, worker.made, "paused")
    seen = worker.network.ask(worker.provider, "GET", f"/v1/workers/{worker.made['id']}")
    assert [reason["code"] for reason in seen["slots"][0]["reasons"]] == ["paused_here"]
    page.get_by_role("button", name="Resume").click()
    page.locator("#slot-0").get_by_role("progressbar").wait_for(timeout=60_000)
    page.get_by_role("button", name="Drain").click()
    page.locator("#state").get_by_text("Draining, from this machine").wait_for()
    assert page.locator("#slot-0").get_by_role("progressbar").is_visible(), "a drained slot finishes its task"
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Drain").wait_for()


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
        page.get_by_text("not reached; tried again until it answers").wait_for(timeout=60_000)
    finally:
        worker.network.registry.child.send_signal(18)
    page.get_by_text("not reached").wait_for(state="hidden", timeout=60_000)


def test_an_agent_that_is_gone_is_said_and_a_new_one_asks_for_its_key(worker, visit):
    page = visit.page
    page.get_by_role("heading", name="Slot 0").wait_for()
    command = worker.agent.child.args
    worker.network.stop_agent(worker.agent)
    page.get_by_text("The agent does not answer").wait_for(timeout=30_000)
    worker.agent = Process("agent-again", worker.network.folder, *command)
    worker.network.agents.append(worker.agent)
    page.get_by_role("heading", name="The worker app was not opened").wait_for(timeout=60_000)
    visit.errors.clear()


def test_the_terminal_says_when_nothing_runs(tmp_path):
    with pytest.raises(AssertionError, match="no agent runs with the data folder"):
        run(built("pictor-agent"), "status", "--data", tmp_path)
