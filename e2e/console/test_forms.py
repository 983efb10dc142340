"""Forms that another site made, or that carry no proof of this session, change nothing."""

from html import escape
from urllib.parse import urlencode

import elsewhere
import pytest


def lure(action, fields):
    """A page that sends a form to another site as soon as it is looked at."""
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    return f'<form method="post" action="{escape(action)}">{inputs}</form><script>document.forms[0].submit()</script>'


@pytest.fixture(scope="module")
def provider(network):
    return network.account("ada", "provider")


@pytest.fixture(scope="module")
def worker(network, provider):
    return network.worker(provider, "render-box")


def writes(worker):
    """What another site would like to have done."""
    at = f"/workers/{worker['id']}"
    return [
        ("/logout", {}),
        (f"{at}/pause", {}),
        (f"{at}/rename", {"name": "taken-over"}),
        ("/workers/bulk", {"ids": worker["id"], "action": "drain"}),
        (f"{at}/delete", {}),
    ]


def token_of(page):
    return page.locator("input[name=form_token]").first.get_attribute("value")


# Of the two hosts one is the same site, whose requests carry the session's cookie, and the other is not.
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_another_site_cannot_send_a_form(visit, network, provider, worker, host):
    visitor = visit(provider, "/summary")
    token = token_of(visitor.page)
    for action, fields in writes(worker):
        before = network.ask(provider, "GET", f"/v1/workers/{worker['id']}")
        with elsewhere.site(lure(network.url + action, {**fields, "form_token": token})) as port:
            page = visitor.new_page()
            with page.expect_response(network.url + action) as answered:
                page.goto(f"http://{host}:{port}/")
            assert answered.value.status == 403, (action, answered.value.status)
            page.close()
        assert network.ask(provider, "GET", f"/v1/workers/{worker['id']}") == before, action
    visitor.page.reload()
    assert visitor.page.evaluate("location.pathname") == "/summary", "still signed in"
    # Chromium reports the refusals themselves, and looks for their icons.
    assert [error for error in visitor.errors if "Failed to load resource" not in error] == []
    visitor.errors.clear()


def test_a_form_carries_proof_of_its_session(visit, network, provider, worker):
    visitor, other = visit(provider, "/summary"), visit(provider, "/summary")
    cookie = {"cookie": f"pictor_session={visitor.session_cookie()['value']}"}

    def send(action, fields):
        headers = cookie | {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        return network.call("POST", action, body=urlencode(fields), headers=headers).status

    for action, fields in writes(worker)[1:]:
        before = network.ask(provider, "GET", f"/v1/workers/{worker['id']}")
        stolen = token_of(other.page)
        for wrong in [{}, {"form_token": ""}, {"form_token": "0" * 128}, {"form_token": stolen}]:
            assert send(action, fields | wrong) == 403, (action, wrong)
        assert network.ask(provider, "GET", f"/v1/workers/{worker['id']}") == before, action
        assert send(action, fields | {"form_token": token_of(visitor.page)}) in (200, 303), action
        answer = network.call("GET", f"/v1/workers/{worker['id']}", token=provider.token)
        assert answer.status == 404 or answer.json() != before, action


def test_no_other_site_can_show_a_page_in_a_frame(visit, network, provider):
    visitor = visit(provider, "/summary")
    policy = network.call("GET", "/login").headers["content-security-policy"]
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["frame-ancestors"] == "'none'" and directives["form-action"] == "'self'"
    assert directives["default-src"] == "'none'" and directives["script-src"] == "'self'", policy
    assert directives["style-src"] == "'self'" and "unsafe" not in policy, policy
    visitor.page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
    }""")
    assert visitor.page.evaluate("window.ran") is None, "an inline script ran"
    assert len(visitor.errors) == 1 and "Content Security Policy" in visitor.errors[0], visitor.errors
    visitor.errors.clear()
