"""What the tests share: a Chromium, a worker for each file of tests, and a visit that must leave no error."""

import browser
import pytest
from fixtures import chromium, network, pytest_configure  # noqa: F401  pytest takes them from here
from worker import Worker


@pytest.fixture(scope="module")
def ada(network):
    return network.account("ada", "provider")


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
