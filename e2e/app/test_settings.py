"""The Settings page, and `pictor-agent set` beside it."""

import os
import re
import subprocess
import tomllib

import browser
import pytest
from browser import go
from network import WALLET
from playwright.sync_api import expect
from processes import built, environment, run
from waiting import until
from worker import save


@pytest.fixture
def page(visit):
    go(visit.page.get_by_role("link", name="Settings"))
    visit.page.get_by_role("heading", name="Worker", exact=True).wait_for()
    return visit.page


def said(worker):
    return tomllib.loads(worker.config.read_text())


def test_everything_of_this_worker_is_there(worker, page):
    expect(page.locator("#worker-id")).to_have_text(worker.made["id"])
    expect(page.locator("#wallet")).to_have_text(WALLET)
    expect(page.get_by_label("Worker name", exact=True)).to_have_value("render-box")
    expect(page.get_by_role("link", name="change it in the console")).to_have_attribute("href", f"{worker.network.url}/account")
    expect(page.locator("#blender-found")).to_have_text(re.compile(r"3\.4\.1\s*/usr/"))


def test_a_price_is_saved_and_applied_and_comments_stay(worker, page):
    worker.config.write_text("# my own words\n" + worker.config.read_text())
    save(page, "Price of a kilowatt-hour", "0.31")
    page.locator("#error-economics-price_per_kwh").get_by_text("currency").wait_for()
    save(page, "Currency", "EUR")
    page.get_by_role("status").get_by_text("Saved").wait_for()
    save(page, "Price of a kilowatt-hour", "0.31")
    until("it is in the file", lambda: said(worker)["economics"].get("price_per_kwh") == 0.31)
    page.get_by_role("status").get_by_text("Saved").wait_for()
    assert worker.config.read_text().startswith("# my own words\n")
    assert said(worker)["economics"] == {"price_per_kwh": 0.31, "currency": "EUR"}
    until(
        "the agent counts what electricity costs",
        lambda: 'pictor_electricity_cost_total{currency="EUR"}' in worker.call("GET", "/metrics")[2],
    )


def test_what_cannot_be_is_said_at_its_field(worker, page):
    for label, value, words in [
        ("Price of a kilowatt-hour", "cheap", "cheap"),
        ("Currency", "euro", "euro"),
        ("Blender to use", "/nowhere/blender", "/nowhere/blender"),
        ("Worker name", "", "name"),
    ]:
        before = worker.config.read_text()
        save(page, label, value)
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        # What was typed stays.
        expect(field).to_have_value(value)
        expect(page.locator(f"#{field.get_attribute('aria-describedby').split()[-1]}")).to_contain_text(words)
        assert worker.config.read_text() == before


def test_a_rename_goes_to_the_registry_first(worker, visit, page):
    worker.network.worker(worker.provider, "taken")
    visit.errors.clear()
    save(page, "Worker name", "taken")
    page.locator("#error-worker_name").wait_for()
    assert said(worker)["worker_name"] == "render-box"
    save(page, "Worker name", "night-box")
    page.get_by_role("status").get_by_text("Saved").wait_for()
    assert said(worker)["worker_name"] == "night-box"
    seen = worker.network.ask(worker.provider, "GET", f"/v1/workers/{worker.made['id']}")
    assert seen["name"] == "night-box"
    page.goto(f"{worker.url}/")
    until("the new name on the pages", lambda: page.reload() and "night-box" in page.locator("header").inner_text())


def test_the_command_changes_the_running_agent(worker):
    printed = run(built("pictor-agent"), "set", "economics.price_per_kwh", "0.29", "--config", worker.config, PICTOR_DATA=str(worker.data))
    assert "economics.price_per_kwh = 0.29" in printed
    assert said(worker)["economics"]["price_per_kwh"] == 0.29


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a file away from itself")
def test_a_file_that_cannot_be_written_shows_the_line(worker, page):
    """A config mounted read-only, as in a container."""
    run("mount", "--bind", worker.config, worker.config)
    try:
        run("mount", "-o", "remount,bind,ro", worker.config)
        save(page, "Price of a kilowatt-hour", "0.5")
        page.locator("pre.to-write").wait_for()
        expect(page.locator("pre.to-write")).to_have_text("[economics] price_per_kwh = 0.5")
        expect(page.locator("#error-economics-price_per_kwh")).to_contain_text(str(worker.config))
    finally:
        run("umount", worker.config)
    refused = subprocess.run(
        [built("pictor-agent"), "set", "worker_id", "wrk_1", "--config", worker.config], env=environment(),
        capture_output=True, text=True, check=False,
    )
    assert refused.returncode != 0 and "worker_id" in refused.stderr


def test_the_switch_of_updates_and_a_look_for_one(worker, page):
    expect(page.locator("#version-current")).to_have_text(re.compile(r"^\d+\.\d+\.\d+$"))
    go(page.get_by_role("button", name="Look for a newer version"))
    # This registry was started without releases.
    page.locator("#update-state").get_by_text("the registry publishes no releases").wait_for()
    expect(page.locator("#update-keeper")).to_have_text("the agent itself, while no task runs")
    go(page.get_by_role("button", name="Switch off"))
    page.get_by_role("status").get_by_text("Saved").wait_for()
    assert said(worker)["update"] == {"enabled": False}
    expect(page.locator("#update-keeper")).to_have_text("the agent itself, when told to: pictor-agent update")
    go(page.get_by_role("button", name="Switch on"))
    page.get_by_role("button", name="Switch off").wait_for()
    assert said(worker)["update"] == {"enabled": True}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(visit, page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert browser.faults(page) == ""
    page.set_viewport_size(browser.PHONE)
    assert browser.wide_by(page) == 0
