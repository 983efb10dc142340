"""Each page, in both themes and on a phone: for everybody to use, without errors, and without a stranger's script."""

import browser
import pytest
from filled import MARKUP
from playwright.sync_api import expect
from pages import NO_PAGES, PAGES, Page, route_of, routes

EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def network(filled):
    return filled.network


@pytest.fixture(scope="module")
def visits(chromium, filled):
    """One signed-in visit for each account and theme: signing in anew for each page would take minutes."""
    opened = {}

    def visit(who, scheme, viewport=browser.DESKTOP):
        key = (who, scheme, viewport["width"])
        if key not in opened:
            opened[key] = browser.Visit(chromium, filled.network, scheme, viewport)
            if who is not None:
                opened[key].sign_in(getattr(filled, who), "/account")
        return opened[key]

    yield visit
    for visit in opened.values():
        visit.context.close()


def look(visits, filled, page, scheme, viewport=browser.DESKTOP):
    visit = visits(page.who, scheme, viewport)
    visit.errors.clear()
    answer = visit.page.goto(page.at(filled))
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.status == page.status, f"{page.path}: {answer.status}"
    if page.status != 200:
        # Chromium reports the status itself.
        visit.errors[:] = [error for error in visit.errors if str(page.status) not in error]
    return visit


@EACH
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(visits, filled, page, scheme):
    visit = look(visits, filled, page, scheme)
    assert browser.faults(visit.page) == ""
    # Names are only text.
    assert visit.page.evaluate("window.pwned") is None
    expect(visit.page.locator("img[src=x], [onerror], a[href^='javascript:' i]")).to_have_count(0)
    assert visit.errors == []


@EACH
def test_a_phone_shows_it_without_scrolling_sideways(visits, filled, page):
    visit = look(visits, filled, page, "light", browser.PHONE)
    assert browser.wide_by(visit.page) == 0
    assert visit.errors == []


@EACH
def test_the_keyboard_reaches_its_content_and_its_actions(visits, filled, page):
    visit = look(visits, filled, page, "light")
    # Some pages begin in a field; this begins before all.
    visit.page.evaluate("document.body.tabIndex = -1, document.body.focus(), document.body.removeAttribute('tabindex')")
    visit.page.keyboard.press("Tab")
    skip = visit.page.locator(":focus")
    expect(skip).to_have_text("Skip to content")
    assert skip.evaluate("link => link.getBoundingClientRect().left >= 0"), "it is seen when it has the focus"
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("location.hash") == "#content"

    wanted = visit.page.locator("main").evaluate("""main => [...main.querySelectorAll(
        'a[href], button:not([disabled]), input:not([type=hidden]):not([disabled]), select:not([disabled]), textarea, summary')]
        .filter(element => element.checkVisibility() && element.tabIndex >= 0
            && !(element.type === 'radio' && !element.checked))
        .map((element, at) => (element.dataset.stop = at))""")
    reached = set()
    for _ in range(len(wanted) * 3 + 20):
        visit.page.keyboard.press("Tab")
        stop = visit.page.evaluate("document.activeElement.dataset.stop")
        if stop is not None:
            reached.add(int(stop))
        if len(reached) == len(wanted):
            break
    missed = [stop for stop in wanted if stop not in reached]
    said = [visit.page.locator(f"[data-stop='{stop}']").evaluate("element => element.outerHTML.slice(0, 160)") for stop in missed]
    assert said == [], "the tabulator key does not come to these"


def test_hostile_names_are_shown_as_they_are(visits, filled):
    """So that the test above has seen them."""
    shown = [page.name for page in PAGES if MARKUP in look(visits, filled, page, "light").page.locator("body").inner_text()]
    assert {"workers", "worker-delete", "statistics"} <= set(shown), shown


def test_no_page_is_forgotten(filled):
    assert routes() - NO_PAGES - {route_of(page.at(filled)) for page in PAGES} == set()


def test_many_are_acted_on_for_everybody(visits, filled):
    """The pages between a list and its result come by forms alone."""
    visit = look(visits, filled, Page("workers", "/workers"), "light")
    visit.page.get_by_label(f"Select {filled.raw['name']}").check()
    visit.page.get_by_label("Action", exact=True).select_option("tag")
    visit.page.get_by_label("Tag to add or remove").fill(MARKUP)
    browser.go(visit.page.get_by_role("button", name="Apply to selected"))
    for heading in ("Add the tag", "done"):
        visit.page.locator("main").get_by_text(heading).first.wait_for()
        assert browser.faults(visit.page) == ""
        assert visit.page.evaluate("window.pwned") is None
        if heading == "Add the tag":
            browser.go(visit.page.locator("main").get_by_role("button").first)
    assert visit.errors == []
