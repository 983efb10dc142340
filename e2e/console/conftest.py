"""What the tests share: a Chromium and a network for each file of tests, and visits that must leave no error."""

import signal

import browser
import pytest
from filled import Filled
from network import Network


def pytest_configure():
    # Whoever ends the tests ends what they started: fixtures come to their ends as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def filled():
    """A network with something on every page."""
    filled = Filled()
    yield filled
    filled.stop()


@pytest.fixture(scope="module")
def network():
    network = Network()
    yield network
    network.stop()


@pytest.fixture
def visit(chromium, network):
    """Opens browser profiles; in the end none of their pages may have had an error."""
    visits = []

    def opened(account=None, page="/", **options):
        visits.append(browser.Visit(chromium, network, **options))
        if account is not None:
            visits[-1].sign_in(account, page)
        return visits[-1]

    yield opened
    errors = [error for visit in visits for error in visit.errors]
    for visit in visits:
        visit.context.close()
    assert errors == []
