"""What all browser tests share: the way they end, a Chromium, and a network for each file of tests."""

import signal

import browser
import pytest
from network import Network


def pytest_configure():
    # Whoever ends the tests ends what they started: fixtures come to their ends as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def network():
    network = Network()
    yield network
    network.stop()
