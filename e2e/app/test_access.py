"""Who may use the app: who has the key of this start, and no other site."""

import browser
import elsewhere
import pytest
from playwright.sync_api import expect

FORM = b"desired=paused"


@pytest.mark.parametrize("path", ["/", "/live", "/app/status"])
def test_without_the_key_it_says_how_to_get_it(worker, path):
    for headers in [{}, {"Authorization": "Bearer guessed"}, {"Cookie": f"pictor_app_{worker.url.rsplit(':')[-1]}=guessed"}]:
        status, answer, body = worker.call("GET", path, headers)
        assert status == 401 and "pictor-agent app" in body, (status, body)
        assert "frame-ancestors 'none'" in answer["content-security-policy"] and answer["cache-control"] == "no-store"
        assert worker.link["key"] not in body
    assert worker.call("GET", "/?key=guessed")[0] == 401


def test_the_key_goes_from_the_link_into_a_cookie(worker):
    status, headers, _ = worker.call("GET", f"/?key={worker.link['key']}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert worker.call("GET", "/", {"Cookie": cookie.split(";")[0]})[0] == 200
    assert worker.call("GET", "/", worker.bearer())[0] == 200


def test_a_foreign_name_is_refused_with_the_key_too(worker):
    for host in ["evil.example", f"evil.example:{worker.url.rsplit(':')[-1]}", "192.168.7.7:9850"]:
        status, _, body = worker.call("GET", "/", worker.bearer() | {"Host": host})
        assert status == 421 and "Slot 0" not in body, (host, status)
    assert worker.call("GET", "/", worker.bearer() | {"Host": f"localhost:{worker.url.rsplit(':')[-1]}"})[0] == 200


def test_a_foreign_origin_changes_nothing(worker):
    cookie = worker.call("GET", f"/?key={worker.link['key']}")[1]["set-cookie"].split(";")[0]
    for headers in [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ]:
        assert worker.call("POST", "/pause", {"Cookie": cookie} | headers, FORM)[0] == 403, headers
    assert worker.status()["desired_here"] == "active"


def test_a_foreign_page_in_the_owners_browser_gets_nothing(chromium, worker):
    """With the cookie there: links, forms, frames and scripts of another site."""
    visit = browser.Visit(chromium, worker)
    page = visit.page
    page.goto(worker.entrance())
    page.get_by_role("heading", name="Slot 0").wait_for()
    hostile = f"""<form method="post" action="{worker.url}/pause"><input name="desired" value="paused"><button>Win</button></form>
        <a href="{worker.url}/">Look</a><iframe src="{worker.url}/"></iframe>"""
    with elsewhere.site(hostile) as port:
        site = f"http://localhost:{port}/"
        page.goto(site)
        asked = f"fetch('{worker.url}/app/status', {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
        assert page.evaluate(asked) == "refused"
        expect(page.frames[1].locator("body")).not_to_contain_text("Slot 0")
        for role, name in [("button", "Win"), ("link", "Look")]:
            browser.go(page.get_by_role(role, name=name))
            page.get_by_text("Another site asked for it").wait_for()
            page.goto(site)
    assert worker.status()["desired_here"] == "active"
    visit.context.close()
