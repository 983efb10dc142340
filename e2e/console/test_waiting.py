"""These tests hold on a busy machine: nothing in them looks once at what comes when it comes, or waits for the clock."""

import ast

import pytest
from processes import REPOSITORY

FILES = sorted(file for folder in ("app", "console") for file in (REPOSITORY / "e2e" / folder).glob("*.py"))
# What a locator says now. In an assertion it is asked once: `expect` asks until it is so.
ASKED_ONCE = {
    "all_inner_texts", "all_text_contents", "count", "get_attribute", "inner_html", "inner_text", "input_value", "is_checked",
    "is_disabled", "is_enabled", "is_hidden", "is_visible", "text_content",
}
# One patience is for all: PATIENCE_SECONDS.
SLEEPS = {"sleep", "wait_for_timeout"}
WAITS = {"expect_navigation", "until", "wait_for", "wait_for_url"}


def faults(tree):
    """The lines that look once or wait for the clock, and why."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            for call in calls(node.test):
                if name(call) in ASKED_ONCE and isinstance(call.func, ast.Attribute) and not is_of_text(call):
                    yield node.lineno, f"asks .{name(call)}() once: expect(…) asks until it is so"
        if isinstance(node, ast.Call) and name(node) in SLEEPS:
            yield node.lineno, "sleeps: until(…) waits for the thing itself"
        if isinstance(node, ast.Call) and name(node) == "int" and any(name(call) == "read_text" for call in calls(node)):
            yield node.lineno, "reads a number that may not be written yet: written(…) waits for the line"
        if isinstance(node, ast.Call) and name(node) in WAITS and any(word.arg == "timeout" for word in node.keywords):
            yield node.lineno, "has a patience of its own"


def calls(node):
    return (found for found in ast.walk(node) if isinstance(found, ast.Call))


def name(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)


def is_of_text(call):
    """`"…".count("x")` is no locator's."""
    return name(call) == "count" and bool(call.args)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_it_waits_for_the_thing_itself(file):
    found = [f"{file.name}:{line} {why}" for line, why in faults(ast.parse(file.read_text()))]
    # The one place that does.
    assert [fault for fault in found if not fault.startswith("waiting.py")] == []


def test_each_of_these_faults_is_found():
    for line in [
        'assert page.locator("#a").inner_text() == "b"', 'assert "b" in page.locator("#a").inner_text(), "c"',
        'assert page.get_by_text("a").count() == 0', "time.sleep(1)", "page.wait_for_timeout(5)",
        "pid = int(file.read_text())", "link.wait_for(timeout=9)",
    ]:
        assert list(faults(ast.parse(line))), line
    assert not list(faults(ast.parse('expect(link).to_have_text("b")\nassert log.read_text().count("x") == 1')))
