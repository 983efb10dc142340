"""Who is signed in: the cookie, the way in and the way out."""

import pytest
from browser import go
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def provider(network):
    return network.account("ada", "provider")


def path(page):
    return page.evaluate("location.pathname")


def test_the_session_is_for_the_registry_alone(visit, provider):
    visitor = visit(provider, "/summary")
    cookie = visitor.session_cookie()
    assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Lax" and cookie["path"] == "/", cookie
    script_sees = visitor.page.evaluate("document.cookie")
    assert "pictor_session" not in script_sees and cookie["value"] not in script_sees
    assert cookie["value"] not in visitor.page.content()
    assert provider.token not in cookie["value"], "the token itself lies in the browser"
    assert cookie["expires"] == -1 or cookie["expires"] > 0


def test_a_copied_cookie_dies_with_the_session(visit, provider):
    visitor, thief = visit(provider, "/summary"), visit()
    thief.context.add_cookies([visitor.session_cookie()])
    thief.page.goto("/summary")
    assert path(thief.page) == "/summary", "the copy works while its owner is signed in, so its end means something"

    go(visitor.page.get_by_role("button", name="Sign out"))
    visitor.page.wait_for_url("**/login")
    thief.page.goto("/summary")
    assert path(thief.page) == "/login"
    visitor.page.go_back()
    visitor.page.reload()
    assert path(visitor.page) == "/login", "the way back leads to no page of the session"


def test_a_token_is_no_cookie(visit, provider):
    thief = visit()
    thief.context.add_cookies([{"name": "pictor_session", "value": provider.token, "url": thief.network.url}])
    thief.page.goto("/summary")
    assert path(thief.page) == "/login"


def test_a_wrong_token_is_refused_where_it_was_typed(visit):
    page = visit().page
    page.goto("/login")
    field = page.get_by_label("Access token")
    field.fill("pictor_" + "0" * 43)
    go(page.get_by_role("button", name="Sign in", exact=True))
    page.locator("[aria-invalid=true]").wait_for()
    described_by = field.get_attribute("aria-describedby")
    expect(page.locator(f"#{described_by}")).to_contain_text("no account has this access token", ignore_case=True)


def test_signing_in_leads_to_the_page_that_was_asked_for(visit, provider):
    visitor = visit()
    page = visitor.page
    page.goto("/summary?range=7d")
    assert path(page) == "/login"
    page.get_by_label("Access token").fill(provider.token)
    go(page.get_by_role("button", name="Sign in", exact=True))
    page.wait_for_url("**/summary?range=7d")


@pytest.mark.parametrize("elsewhere", ["https://example.org/", "//example.org/", "/\\example.org", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(visit, network, provider, elsewhere):
    visitor = visit()
    asked = []
    visitor.context.route(lambda url: not url.startswith(network.url), lambda route: (asked.append(route.request.url), route.abort()))
    visitor.sign_in(provider, elsewhere)
    assert visitor.page.url.startswith(network.url + "/") and asked == []
