"""From a machine that is no worker to one that renders: the pages of a first run."""

import re

import browser
import pytest
from browser import go
from first_run import NewMachine, drop, is_checked
from playwright.sync_api import expect
from worker import file_of


@pytest.fixture
def machine():
    machine = NewMachine()
    yield machine
    machine.stop()


@pytest.fixture
def page(chromium, machine):
    visit = browser.Visit(chromium, machine)
    visit.page.goto(f"{machine.url}/?key={machine.key}")
    visit.page.get_by_role("heading", name="Config file").wait_for()
    yield visit.page
    # What Chromium says of a refused form, and of a server that makes way for the agent.
    visit.errors[:] = [error for error in visit.errors if not re.search("422|404|ERR_|NetworkError", error)]
    visit.close()


def test_a_dropped_file_makes_a_worker_that_renders(network, ada, machine, page):
    worker, file = file_of(network, ada, "dropped-box")
    page.get_by_label("or paste what is in it").fill("registry = 'nonsense'")
    go(page.get_by_role("button", name="Import the file"))
    page.locator("#file-error").wait_for()
    expect(page.get_by_label("or paste what is in it")).to_have_value("registry = 'nonsense'")
    assert not machine.config.exists()
    # Whose it is would do, and the agent would not start with the rest.
    page.get_by_label("or paste what is in it").fill(f"{file.read_text()}\n[metrics]\nhost_interval_seconds = 0.0\n")
    go(page.get_by_role("button", name="Import the file"))
    page.locator("#file-error").get_by_text("`host_interval_seconds` under [metrics] is 0").wait_for()
    assert not machine.config.exists()

    drop(page, file)
    assert browser.faults(page) == ""
    go(page.get_by_role("button", name="Import the file"))
    is_checked(page)
    assert browser.faults(page) == ""
    assert machine.config.stat().st_mode & 0o077 == 0
    go(page.get_by_role("link", name="See them on the Rendering page"))
    page.get_by_role("heading", name="Slot 0").wait_for()
    network.is_status(ada, worker, "idle")


def test_an_enrolment_link_makes_a_worker(network, ada, machine, page):
    made = network.ask(ada, "POST", "/v1/enrolments", {"name_pattern": "hall-{n}", "count": 1})
    page.get_by_label("Paste the link").fill("https://registry.example/")
    go(page.get_by_role("button", name="Enrol this machine"))
    page.locator("#enrolment-error").get_by_text("neither an enrolment link").wait_for()
    page.get_by_label("Paste the link").fill(f"{network.url}/#{made['key']}")
    go(page.get_by_role("button", name="Enrol this machine"))
    page.get_by_role("button", name="Check this machine").wait_for()
    [worker] = [worker for worker in network.ask(ada, "GET", "/v1/workers")["items"] if worker["name"] == "hall-1"]
    network.is_status(ada, worker, "idle")
