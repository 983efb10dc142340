"""A machine's first hour, in one browser: from its config file to the next version of its agent."""

import os
import re
import signal
import tomllib
from contextlib import contextmanager

import browser
import pytest
from browser import go
from first_run import NewMachine, drop, is_checked
from network import Network, made_scene
from playwright.sync_api import expect
from releases import Releases, self_check_of
from waiting import until
from worker import file_of, save

NOTES = "Faster clouds."
OFF = "automatic updates are off"
# Seconds for the one frame, so that its bar is seen moving.
SAMPLES = 8000


@pytest.fixture(scope="module")
def releases():
    releases = Releases()
    yield releases
    releases.stop()


@pytest.fixture(scope="module")
def network(releases):
    network = Network("--releases", str(releases.served))
    yield network
    network.stop()


class Story:
    """Ada's machine, the page that she has open, and a creator somewhere."""

    def __init__(self, network, releases, machine, visit):
        self.network, self.releases, self.machine, self.visit, self.page = network, releases, machine, visit, visit.page
        self.ada = network.account("ada", "provider")
        self.cleo = network.account("cleo", "creator", credit="10")
        self.program = releases.folder / "bin/pictor-agent"
        self.worker = None
        self.job = None

    def tab(self, name):
        go(self.page.get_by_role("link", name=name, exact=True))
        self.page.locator("[aria-current]").get_by_text(name, exact=True).wait_for()

    def status(self):
        return self.network.ask(self.ada, "GET", f"/v1/workers/{self.worker['id']}")

    def settings(self):
        return tomllib.loads(self.machine.config.read_text())

    def neighbours(self):
        return sorted(path.name for path in self.program.parent.iterdir())


@pytest.fixture
def machine(releases):
    machine = NewMachine(releases.install())
    yield machine
    machine.stop()


@pytest.fixture
def story(network, releases, machine, chromium):
    visit = browser.Visit(chromium, machine)
    visit.page.goto(f"{machine.url}/?key={machine.key}")
    yield Story(network, releases, machine, visit)
    visit.close()


@contextmanager
def restart(visit, path):
    """An agent makes way for another until the end of this: what Chromium says of that path meanwhile is no error."""
    before = len(visit.errors)
    yield
    excused = re.compile(rf"(status of 404 .*|net::ERR_\w+) {re.escape(visit.network.url + path)}$")
    visit.errors[before:] = [error for error in visit.errors[before:] if not excused.search(error)]


def test_the_whole_story(story):
    becomes_a_worker(story)
    renders(story)
    is_paused(story)
    is_told_a_price(story)
    leaves_a_new_version_alone(story)
    takes_it_after_its_task(story)
    goes_on_with_it(story)


def becomes_a_worker(story):
    story.worker, file = file_of(story.network, story.ada, "story-box")
    drop(story.page, file)
    # The page asks for it until the agent that has it is there.
    with restart(story.visit, "/app/status"):
        go(story.page.get_by_role("button", name="Import the file"))
        story.page.get_by_role("button", name="Check this machine").wait_for()
    is_checked(story.page)
    go(story.page.get_by_role("link", name="See them on the Rendering page"))
    story.page.get_by_role("heading", name="Slot 0").wait_for()
    story.network.is_status(story.ada, story.worker, "idle")


def renders(story):
    scene = made_scene("e2e/scenes/cube.py", f"watched-{SAMPLES}.blend", str(SAMPLES))
    story.job = story.network.submit(story.cleo, scene, "--frames", "1")
    moves(story.page)
    expect(story.page.locator("#log-0")).to_contain_text("Sample")


def bar_of(page):
    return page.locator("#slot-0").get_by_role("progressbar")


def moves(page):
    """The bar and the clock of the task on the page, without its being loaded again."""
    page.evaluate("window.stays = true")
    bar, clock = bar_of(page), page.locator("#slot-0 .elapsed")
    bar.wait_for()
    bar_before, clock_before = float(bar.get_attribute("value")), clock.inner_text()
    until("the bar moves", lambda: float(bar.get_attribute("value")) > bar_before)
    expect(clock).not_to_have_text(clock_before)
    assert page.evaluate("window.stays === true"), "the page was loaded again"


def is_paused(story):
    go(story.page.get_by_role("button", name="Pause", exact=True))
    story.page.locator("#state").get_by_text("Paused on this machine.").wait_for()
    expect(story.page.locator("#worker-status")).to_have_text("paused")
    story.network.is_status(story.ada, story.worker, "paused")


def is_told_a_price(story):
    story.tab("Settings")
    for label, value, key, kept in [("Currency", "EUR", "currency", "EUR"), ("Price of a kilowatt-hour", "0.31", "price_per_kwh", 0.31)]:
        save(story.page, label, value)
        story.page.get_by_role("status").get_by_text("Saved").wait_for()
        assert story.settings()["economics"][key] == kept


def leaves_a_new_version_alone(story):
    """The switch is off: the page says what there is, and nothing is done about it."""
    page, releases = story.page, story.releases
    before = story.program.read_bytes()
    switch(page, "Switch off", "Switch on")
    releases.publish(self_check_of(story.program, story.machine)["target"], NOTES)
    look(page)
    page.locator("#update-state").get_by_text(OFF).wait_for()
    expect(page.locator("#version-current")).to_have_text(releases.version)
    expect(page.locator("#version-available")).to_have_text(releases.newer)
    expect(page.locator("#update-state")).to_contain_text(NOTES)
    assert browser.faults(page) == ""
    assert story.neighbours() == ["pictor-agent"] and story.program.read_bytes() == before


def takes_it_after_its_task(story):
    """One page tells all of it, from the version that waits to the version that runs, and is never loaded again."""
    page, releases = story.page, story.releases
    state, current = page.locator("#update-state"), page.locator("#version-current")
    before = story.program.read_bytes()
    story.tab("Rendering")
    go(page.get_by_role("button", name="Resume"))
    bar_of(page).wait_for()
    with held_still(story.machine):
        story.tab("Settings")
        switch(page, "Switch on", "Switch off")
        look(page)
        state.get_by_text("it is installed as soon as no task runs").wait_for()
        assert browser.faults(page) == ""
        expect(current).to_have_text(releases.version)
        until("the slot is busy", lambda: story.status()["slots"][0]["status"] == "busy")
        page.evaluate("window.stays = true")

    with restart(story.visit, "/settings/live"):
        expect(current).to_have_text(releases.newer)
        expect(state).to_contain_text("up to date")
    expect(page.locator("#version-available")).to_have_text("nothing newer")
    assert page.evaluate("window.stays === true"), "the page was loaded again"
    expect(page.locator("#lost")).to_be_hidden()
    until("the version before is kept", lambda: story.neighbours() == ["pictor-agent", "pictor-agent.previous"])
    assert story.program.with_name("pictor-agent.previous").read_bytes() == before
    assert self_check_of(story.program, story.machine)["version"] == releases.newer
    assert story.machine.agent.is_running(), "it became the new version in the same process"


@contextmanager
def held_still(machine):
    """Its task is under way until the end of this, however fast the machine."""
    blenders = until("its Blender", machine.blenders)
    for blender in blenders:
        os.kill(blender, signal.SIGSTOP)
    try:
        yield
    finally:
        for blender in blenders:
            os.kill(blender, signal.SIGCONT)


def switch(page, press, then):
    go(page.get_by_role("button", name=press))
    page.get_by_role("button", name=then).wait_for()


def look(page):
    go(page.get_by_role("button", name="Look for a newer version"))


def goes_on_with_it(story):
    """No frame was lost, what was set is still set, and the pages work as before."""
    assert story.network.job_is(story.cleo, story.job, "completed")["frames_completed"] == 1
    until("the registry knows the new version", lambda: story.status()["agent_version"] == story.releases.newer)
    story.network.is_status(story.ada, story.worker, "idle")
    assert story.settings()["economics"] == {"currency": "EUR", "price_per_kwh": 0.31}
    story.tab("Rendering")
    story.page.get_by_role("button", name="Pause", exact=True).wait_for()
    expect(story.page.locator("#worker-status")).to_have_text("idle")
