"""What the tests share: a Chromium and a network for each file of tests, and visits that must leave no error."""

import browser
import pytest
from filled import Filled
from fixtures import chromium, network, pytest_configure  # noqa: F401  pytest takes them from here


@pytest.fixture(scope="module")
def filled():
    """A network with something on every page."""
    filled = Filled()
    yield filled
    filled.stop()


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
