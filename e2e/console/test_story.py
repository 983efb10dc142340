"""What a provider and a creator do in their first hour, from the first worker to its end."""

import json
import re
import subprocess

import pytest
from browser import go
from network import slow_scene
from playwright.sync_api import expect
from processes import built, environment, free_port, run
from waiting import PATIENCE_SECONDS, until


class Story:
    """The two people, each with a browser of their own."""

    def __init__(self, network, visit):
        self.network = network
        self.ada = network.account("ada", "provider")
        self.cleo = network.account("cleo", "creator", credit="10")
        self.provider = visit(self.ada, "/workers").page
        self.creator = visit(self.cleo, "/jobs").page
        self.worker = None
        self.job_path = None


@pytest.fixture
def story(network, visit):
    return Story(network, visit)


def test_the_whole_story(story):
    creates_a_worker(story)
    starts_its_agent(story)
    renders_a_test_frame(story)
    submits_a_job(story)
    watches_it_move(story)
    sees_the_reward(story)
    enrols_a_second_worker(story)
    pauses_and_sees_why(story)
    acts_on_both(story)
    deletes_one(story)


def loaded_once(page):
    """From here on the page must not be loaded again."""
    page.evaluate("window.stays = true")

    def check():
        assert page.evaluate("window.stays === true"), "the page was loaded again"

    return check


def creates_a_worker(story):
    page = story.provider
    page.get_by_role("heading", name="No workers yet").wait_for()
    go(page.locator("main").get_by_role("link", name="Add a worker").first)
    page.get_by_label("Name", exact=True).fill("render-box")
    go(page.get_by_role("button", name="Create the worker"))
    page.get_by_role("heading", name="Set up render-box").wait_for()
    page.get_by_role("heading", name="Waiting for its first heartbeat").wait_for()
    [story.worker] = story.network.ask(story.ada, "GET", "/v1/workers")["items"]
    # The commands hold the real address and the worker's own file.
    expect(page.locator("#import")).to_contain_text("pictor-worker-render-box.toml")


def starts_its_agent(story):
    page = story.provider
    with page.expect_download() as downloading:
        page.get_by_role("button", name=re.compile("^Download")).click()
    assert downloading.value.suggested_filename == "pictor-worker-render-box.toml"
    file = story.network.folder / downloading.value.suggested_filename
    downloading.value.save_as(file)
    assert f'worker_id = "{story.worker["id"]}"' in file.read_text() and story.network.url in file.read_text()

    check = loaded_once(page)
    story.agent = story.network.start_agent("render-box", file)
    page.get_by_role("heading", name="Its machine is connected").wait_for()
    page.locator("#setup-state").get_by_text("yes: it has a Blender").wait_for()
    for found in ["none found: it renders on the CPU", "3.4"]:
        expect(page.locator("#setup-state")).to_contain_text(found)
    check()
    go(page.get_by_role("link", name="Watch it work"))
    page.get_by_role("heading", name="render-box", exact=True).wait_for()
    page.locator("#monitor-worker .badge.idle").wait_for()
    page.locator("#monitor-slots").get_by_text("no task waits in the network").wait_for()


def renders_a_test_frame(story):
    network, page = story.network, story.provider
    page.goto(f"/workers/{story.worker['id']}/setup")
    go(page.get_by_role("button", name="Test render"))
    check = loaded_once(page)
    page.locator("#test-render .badge.completed").wait_for()
    picture = page.get_by_role("img", name="What slot 0 rendered")
    # Browsers load a picture when it comes near to what they show.
    picture.scroll_into_view_if_needed()
    until("the picture is loaded", lambda: picture.evaluate("image => image.complete && image.naturalWidth") > 0)
    told = re.compile(r"Rendered in\s+[0-9.]+ s\s+Rendered on\s+CPU\s+Peak memory\s+[0-9.]+ [MG]iB")
    expect(page.locator("#test-render dl")).to_have_text(told, use_inner_text=True)
    check()

    # And on the machine itself, as the page says but for the places of this test's files.
    render = json.loads(
        run(
            built("pictor-agent"), *page.locator("#doctor").inner_text().split()[1:], "--json",
            "--config", network.folder / "render-box.toml", "--data", network.folder / "doctor-data",
            "--listen", f"127.0.0.1:{free_port()}",
        )
    )["renders"][0]
    assert render["device"] == "CPU" and render["error"] is None and render["peak_memory_bytes"] > 0, render
    assert network.ask(story.ada, "GET", "/v1/attempts")["items"] == [], "it counts in no statistics"
    go(page.get_by_role("link", name="To the worker"))


def submits_a_job(story):
    page = story.creator
    go(page.locator("main").get_by_role("link", name="New job").first)
    page.get_by_label("Name", exact=True).fill("A cube that turns")
    page.get_by_label("Frames", exact=True).fill("1-2")
    page.get_by_label("Price of one frame").fill("0.05")
    expect(page.locator("#job-cost")).to_have_text("0.10 EUR")
    page.get_by_label("Scene, a .blend file").set_input_files(slow_scene())
    go(page.get_by_role("button", name="Submit the job"))
    page.get_by_role("heading", name="A cube that turns").wait_for()
    story.job_path = page.evaluate("location.pathname")


def watches_it_move(story):
    page = story.provider
    check, checks_job = loaded_once(page), loaded_once(story.creator)
    page.locator("#monitor-slots .badge.busy").wait_for()
    bar = page.get_by_role("progressbar", name="Progress of slot 0")
    expect(page.locator("#monitor-slots")).to_contain_text("elapsed")
    seen = set()

    def moves():
        if bar.count():
            seen.add(bar.first.evaluate("bar => bar.value"))
        return len(seen) >= 2

    until("the progress bar moves", moves)
    story.creator.get_by_text("2 of 2").wait_for()
    story.creator.locator(".badge.completed").first.wait_for()
    page.locator("#monitor-slots .badge.idle").wait_for()
    check()
    checks_job()
    expect(story.creator.locator(".cell.completed")).to_have_count(2)
    picture = story.creator.get_by_role("img", name="Frame 1", exact=True)
    # Browsers load a picture when it comes near to what they show.
    picture.scroll_into_view_if_needed()
    until("the picture is loaded", lambda: picture.evaluate("image => image.complete && image.naturalWidth") == 64)
    with story.creator.expect_download() as downloading:
        story.creator.get_by_role("link", name="Download all frames").click()
    assert downloading.value.path().read_bytes()[:2] == b"PK"


def sees_the_reward(story):
    page = story.provider
    go(page.get_by_role("link", name="Task History"))

    def are_listed():
        # A list of what has ended does not move by itself.
        page.reload()
        return page.locator("tbody tr").filter(has_text="0.04 EUR").count() == 2

    until("both rewards are listed", are_listed)
    go(page.locator("tbody th a").first)
    page.get_by_role("heading", name="Attempt at a task").wait_for()
    log = page.get_by_role("region", name="What Blender said")
    expect(log).to_contain_text("Read blend: [path]")
    expect(log).not_to_contain_text("slower.blend")
    assert "A cube that turns" not in page.content(), "the job's name is the creator's"

    go(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Summary"))
    until("the summary has it", lambda: page.reload() and "0.08 EUR" in page.locator("dl.figures").first.inner_text())
    go(story.creator.get_by_role("navigation", name="Pages").get_by_role("link", name="Jobs"))
    story.creator.get_by_text("9.90 EUR").wait_for()


def enrols_a_second_worker(story):
    page = story.provider
    page.goto("/workers/new")
    page.get_by_label("How the workers are called").fill("second-{n}")
    page.get_by_label("Workers at most").fill("1")
    go(page.get_by_role("button", name="Make a key"))
    page.get_by_role("heading", name="Your key, shown this once").wait_for()
    # As it stands on the page, but for the place of the file: this machine may have a worker of its own.
    shown = page.locator("#enrol").inner_text()
    config = story.network.folder / "second.toml"
    command = re.sub(r"&&.*", f"--config {config}", shown.strip(), flags=re.DOTALL)
    search = {"PATH": f"{built('pictor-agent').parent}:{environment()['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], env=environment() | search, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, f"{shown}\n{done.stdout}\n{done.stderr}"
    story.network.start_imported("second", config)
    page.goto("/workers")
    page.get_by_role("row").filter(has_text="second-1").locator(".badge.idle").wait_for()


def pauses_and_sees_why(story):
    page = story.provider
    page.goto(f"/workers/{story.worker['id']}")
    go(page.get_by_role("button", name="Pause the whole worker"))
    page.locator("#monitor-worker .badge.paused").wait_for()
    page.locator("#monitor-slots").get_by_text("Paused from the console.").wait_for()
    go(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Workers"))
    row = page.get_by_role("row").filter(has_text="render-box")
    row.locator(".badge.paused").wait_for()
    row.get_by_text("Paused from the console.").wait_for()


def acts_on_both(story):
    page = story.provider
    for worker in ("render-box", "second-1"):
        page.get_by_label(f"Select {worker}").check()
    page.get_by_label("Action", exact=True).select_option("tag")
    page.get_by_label("Tag to add or remove").fill("attic")
    go(page.get_by_role("button", name="Apply to selected"))
    page.get_by_role("heading", name="Add the tag “attic” to 2 workers").wait_for()
    go(page.locator("main").get_by_role("button").first)
    page.get_by_text("2 done, 0 refused").wait_for()
    workers = story.network.ask(story.ada, "GET", "/v1/workers?tag=attic")["items"]
    assert {worker["name"] for worker in workers} == {"render-box", "second-1"}
    page.goto("/workers?tag=attic")
    page.get_by_label("All 2 that match").check()
    page.get_by_label("Action", exact=True).select_option("resume")
    go(page.get_by_role("button", name="Apply to selected"))
    go(page.locator("main").get_by_role("button").first)
    page.get_by_text("2 done, 0 refused").wait_for()
    for worker in workers:
        story.network.is_status(story.ada, worker, "idle")


def deletes_one(story):
    page = story.provider
    page.goto(f"/workers/{story.worker['id']}")
    go(page.locator("main").get_by_role("link", name="Delete"))
    page.get_by_role("heading", name="Delete render-box?").wait_for()
    # What becomes of its earnings is said.
    expect(page.locator("main")).to_contain_text("0.08 EUR")
    go(page.get_by_role("button", name="Delete render-box"))
    page.wait_for_url("**/workers")
    page.get_by_role("row").filter(has_text="second-1").wait_for()
    expect(page.get_by_role("row").filter(has_text="render-box")).to_have_count(0)
    page.goto("/summary")
    # Its earnings stay.
    expect(page.locator("dl.figures").first).to_contain_text("0.08 EUR")
