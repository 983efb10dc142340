"""Chromium as people use it: signed in, in light or dark, on a desktop or a phone; and what it complains about."""

import os
from contextlib import contextmanager
from urllib.parse import urlencode

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from waiting import PATIENCE_MILLISECONDS

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to run as root, as in most containers.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One browser profile with one page, and the errors on it."""

    def __init__(self, browser, network, scheme="light", viewport=DESKTOP, **options):
        self.network = network
        self.context = browser.new_context(
            base_url=network.url, color_scheme=scheme, viewport=viewport, locale="en-GB",
            timezone_id="Europe/Berlin", reduced_motion="reduce", **options,
        )
        self.context.set_default_timeout(PATIENCE_MILLISECONDS)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=network.url)
        self.errors = []
        self.page = self.new_page()

    def new_page(self):
        page = self.context.new_page()
        page.on("console", lambda message: self._said(page, message))
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        return page

    def _said(self, page, message):
        if message.type in ("error", "warning"):
            self.errors.append(f"{page.url}: {message.text} {message.location['url']}")

    def sign_in(self, account, page="/"):
        """On the page where people do it."""
        self.page.goto(f"/login?{urlencode({'next': page})}")
        self.page.get_by_label("Access token").fill(account.token)
        go(self.page.get_by_role("button", name="Sign in", exact=True))
        self.page.wait_for_url(lambda url: "/login" not in url)
        return self.page

    def session_cookie(self):
        [cookie] = [cookie for cookie in self.context.cookies() if cookie["name"] == "pictor_session"]
        return cookie

    def close(self):
        self.context.close()
        assert self.errors == [], self.errors


def go(locator):
    """Presses what leads to another page or sends a form, and waits for the whole of that page: what is typed or read
    at once would still be the old one's."""
    with locator.page.expect_navigation():
        locator.click()


def faults(page):
    """What keeps somebody from using the page, as axe finds it; nothing, on every page."""
    return "\n".join(
        f"{found['id']} ({found['impact']}): {found['help']}\n    "
        + "\n    ".join(f"{node['target']} {node['html'][:200]} {node['failureSummary']}" for node in found["nodes"][:4])
        for found in Axe().run(page).response["violations"]
    )


def wide_by(page):
    """By how many pixels the page can be scrolled sideways: nothing, on every screen."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
