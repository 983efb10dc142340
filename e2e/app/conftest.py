"""What the tests share: a Chromium, a worker for each file of tests, and a visit that must leave no error."""

import signal

import browser
import pytest
from worker import Worker


def pytest_configure():
    # Whoever ends the tests ends what they started: fixtures come to their ends as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.stop()


@pytest.fixture
def visit(chromium, worker):
    visit = browser.Visit(chromium, worker)
    visit.page.goto(worker.entrance())
    yield visit
    # Chromium reports the status of a page that a form was refused with.
    visit.errors[:] = [error for error in visit.errors if "422" not in error]
    visit.close()
