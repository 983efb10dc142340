"""Two providers, of whom neither learns that the other, or anything of theirs, exists."""

import re
from urllib.parse import urlencode

import pytest
from browser import Visit
from pages import PAGES, routes


@pytest.fixture(scope="module")
def network(filled):
    return filled.network


@pytest.fixture(scope="module")
def adas(chromium, filled):
    """Ids of what belongs to Ada, or to the creator whose job she rendered, by what stands before the id in a path."""
    [token] = [token["id"] for token in filled.network.ask(filled.ada, "GET", "/v1/tokens")["items"]][:1]
    visit = Visit(chromium, filled.network)
    visit.sign_in(filled.ada, "/account")
    visit.close()
    session = filled.network.ask(filled.ada, "GET", "/v1/sessions")["items"][0]["id"]
    return {
        "workers": filled.real["id"],
        "jobs": filled.job,
        "attempts": filled.completed,
        "tokens": token,
        "payouts": filled.payout,
        "enrolments": filled.enrolment,
        "sessions": session,
        "channels": filled.channel,
    }


def filled_in(route, ids):
    """The route with an id in each place; None where no id of that kind is known."""
    parts = route.split("/")
    for at, part in enumerate(parts):
        if part.startswith("{"):
            if part in ("{n}", "{slot}"):
                parts[at] = "1"
            elif parts[at - 1] in ids:
                parts[at] = ids[parts[at - 1]]
            else:
                return None
    return "/".join(parts)


def nobodys(ids):
    """Ids of the same shape that nobody has."""
    return {kind: re.sub(r"[0-9a-f]{8}$", "00000000", id) for kind, id in ids.items()}


def shape(answer, ids):
    """An answer without what differs from one request to the next."""
    text = answer.body.decode(errors="replace")
    for id in ids.values():
        text = text.replace(id, "ID")
    return answer.status, re.sub(r"[0-9a-f]{128}", "TOKEN", text)


def test_no_call_tells_them_apart_from_nothing(filled, network, adas):
    document = network.call("GET", "/openapi.json").json()["paths"]
    before = state(filled)
    asked = 0
    for route, methods in document.items():
        # Agents act for their own worker alone; series are asked of by label, not by id;
        # releases are everybody's.
        if "{" not in route or route.startswith(("/v1/agent/", "/v1/prometheus/", "/v1/releases/")):
            continue
        path, nothing = filled_in(route, adas), filled_in(route, nobodys(adas))
        assert path is not None, f"this test has no id for {route}"
        for method in methods:
            body = {} if method in ("post", "patch", "put") else None
            theirs = network.call(method.upper(), path, token=filled.bob.token, body=body)
            nobody = network.call(method.upper(), nothing, token=filled.bob.token, body=body)
            assert shape(theirs, adas) == shape(nobody, nobodys(adas)), f"{method} {route}"
            assert theirs.status >= 400, f"{method} {route}: {theirs.status}"
            assert method != "get" or theirs.status in (403, 404), f"{method} {route}: {theirs.status}"
            asked += 1
    assert asked >= 6
    assert state(filled) == before


def state(filled):
    """What Ada and her creator have."""
    network = filled.network
    worker = network.ask(filled.ada, "GET", f"/v1/workers/{filled.real['id']}")
    moving = ("last_heartbeat_at", "uptime_seconds", "availability_ratio", "cpu", "gpus", "memory_used_bytes")
    return (
        {key: value for key, value in worker.items() if key not in moving},
        network.ask(filled.cleo, "GET", f"/v1/jobs/{filled.job}"),
        [token["id"] for token in network.ask(filled.ada, "GET", "/v1/tokens")["items"]],
    )


def test_no_page_tells_them_apart_from_nothing(chromium, filled, network, adas):
    visit = Visit(chromium, network)
    visit.sign_in(filled.bob, "/summary")
    cookie = {"cookie": f"pictor_session={visit.session_cookie()['value']}", "accept": "text/html"}
    token = visit.page.locator("input[name=form_token]").first.get_attribute("value")
    form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    before = state(filled)
    for method in ("get", "post"):
        for route in sorted(route for route in routes(method) if "{" in route and not route.startswith("/assets/")):
            path, nothing = filled_in(route, adas), filled_in(route, nobodys(adas))
            assert path is not None, f"this test has no id for {route}"
            headers = cookie if method == "get" else cookie | form
            body = None if method == "get" else urlencode({"form_token": token, **FIELDS.get(route, {})})
            theirs = network.call(method.upper(), path, headers=headers, body=body)
            nobody = network.call(method.upper(), nothing, headers=headers, body=body)
            assert theirs.status in (403, 404), f"{method} {route}: {theirs.status}"
            assert shape(theirs, adas) == shape(nobody, nobodys(adas)), f"{method} {route}"
    assert state(filled) == before
    visit.close()


# What each form sends, so that it is refused for its id and not for its fields.
FIELDS = {
    "/workers/{id}/rename": {"name": "mine-now"},
    "/workers/{id}/desired": {"desired": "paused"},
    "/admin/payouts/{id}": {"status": "sent"},
}


def test_no_list_names_anything_of_the_other(chromium, filled, network, adas):
    adas_own = {*adas.values(), filled.raw["id"], filled.fresh["id"], filled.failed, filled.ada.id, "never-connected", "adas-tag"}
    bobs_own = {filled.bobs["id"], filled.bob.id, "bobs-box", "bobs-tag"}
    for account, others, own in [(filled.bob, adas_own, "bob"), (filled.ada, bobs_own, "ada")]:
        visit = Visit(chromium, network)
        visit.sign_in(account, "/summary")
        for page in PAGES:
            # Bob may see each kind of page that Ada may, and those of creators.
            seen_by = {"ada": ("ada",), "bob": ("ada", "bob")}[own]
            if "{" in page.path or page.who not in seen_by or page.status != 200:
                continue
            visit.page.goto(page.path)
            html = visit.page.content()
            assert own in html, page.path
            named = [text for text in others if text in html]
            assert named == [], f"{page.path} names {named} of the other"
        visit.close()
