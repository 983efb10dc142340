"""The list of a provider with two thousand workers: searched, sorted, filtered, and acted on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from browser import go
from filled import RawWorker
from playwright.sync_api import expect

COUNT = 2000
SITES = ["aachen", "bremen", "celle", "dresden"]


def name(number):
    return f"{SITES[number % len(SITES)]}-{number:04}"


@pytest.fixture(scope="module")
def provider(network):
    """Two thousand workers; one of them has been heard of once, with a GPU of a name of its own."""
    provider = network.account("ada", "provider")

    def make(number):
        return network.worker(provider, name(number), tags=[SITES[number % len(SITES)]])

    with ThreadPoolExecutor(16) as pool:
        workers = list(pool.map(make, range(COUNT)))
    RawWorker(network, provider, workers[1234]).heartbeat("Rarest GPU 9000")
    network.is_status(provider, workers[1234], "offline")
    return provider


@pytest.fixture
def page(visit, provider):
    return visit(provider, "/workers").page


def shown(page):
    return page.locator("table tbody th a:first-child").all_inner_texts()


def counts(page, count):
    page.get_by_role("status").filter(has_text=f"{count} worker").wait_for()


def loaded_once(page):
    """From here on the page must not be loaded again."""
    page.evaluate("window.stays = true")
    return lambda: page.evaluate("window.stays === true")


def test_the_first_page_is_light(network, visit, provider):
    cookie = f"pictor_session={visit(provider, '/workers').session_cookie()['value']}"
    headers = {"cookie": cookie, "accept": "text/html", "accept-encoding": "identity"}
    answer = network.call("GET", "/workers", headers=headers)
    assert answer.status == 200 and len(answer.body) <= 100 * 1024, len(answer.body)


def test_search_finds_as_one_types(page):
    counts(page, "2\u202f000")
    stays = loaded_once(page)
    field = page.get_by_role("searchbox")
    field.press_sequentially("celle-12")
    counts(page, "25")
    assert field.evaluate("field => field === document.activeElement && field.value") == "celle-12"
    assert all(found.startswith("celle-12") for found in shown(page)) and len(shown(page)) == 25
    assert "search=celle-12" in page.url, "the filter lives in the address"
    field.fill("rarest gpu")
    counts(page, "1")
    assert shown(page) == [name(1234)]
    field.fill("no such worker")
    page.get_by_role("heading", name="No worker matches").wait_for()
    assert stays()
    page.go_back()


def test_the_address_brings_the_same_list_back(visit, provider):
    page = visit(provider, "/workers?search=celle-12&sort=name&order=desc").page
    counts(page, "25")
    expect(page.get_by_role("searchbox")).to_have_value("celle-12")
    assert shown(page) == sorted(shown(page), reverse=True)


@pytest.mark.parametrize("column", ["Name", "Created", "Updated"])
def test_sorting_turns_the_list_around(page, column):
    numbers = {"Name": sorted(range(COUNT), key=name)}
    if column == "Name":
        go(page.get_by_role("link", name="Created", exact=True))
        page.wait_for_url("**sort=created_at**")
    go(page.locator("thead").get_by_role("link", name=column))
    page.locator("th[aria-sort=ascending]", has_text=column).wait_for()
    first = shown(page)
    go(page.locator("thead").get_by_role("link", name=column))
    page.locator("th[aria-sort=descending]", has_text=column).wait_for()
    last = shown(page)
    assert first and last and not set(first) & set(last)
    if column == "Name":
        expected = [name(number) for number in numbers["Name"]]
        assert first == expected[: len(first)] and last == expected[::-1][: len(last)]


def test_status_and_tag_filter(page):
    page.get_by_label("Tag", exact=True).select_option("celle")
    counts(page, "500")
    assert all(found.startswith("celle-") for found in shown(page))
    page.get_by_label("Status", exact=True).select_option("busy")
    page.get_by_role("heading", name="No worker matches").wait_for()
    assert "tag=celle" in page.url and "status=busy" in page.url


def test_pages_lead_through_all(page):
    seen = shown(page)
    for _ in range(2):
        go(page.get_by_role("link", name="Next page"))
        seen += shown(page)
    assert len(seen) == len(set(seen)) and seen == sorted(seen)


def test_all_that_match_are_paused_together(network, page, provider):
    page.get_by_role("searchbox").fill("bremen-19")
    counts(page, "25")
    page.get_by_label("All 25 that match").check()
    page.get_by_label("Action", exact=True).select_option("pause")
    go(page.get_by_role("button", name="Apply to selected"))
    page.get_by_role("heading", name="25 workers").wait_for()
    go(page.locator("main").get_by_role("button").first)
    page.get_by_text("25 done").wait_for()
    paused = [
        worker["name"]
        for site in SITES
        for worker in network.ask(provider, "GET", f"/v1/workers?search={site}-19&limit=1000")["items"]
        if worker["desired"] == "paused"
    ]
    assert len(paused) == 25 and all(worker.startswith("bremen-19") for worker in paused), paused
