"""Every page of the console, with who looks at it, on a network that is filled."""

import re
from dataclasses import dataclass

from processes import REPOSITORY


@dataclass(frozen=True)
class Page:
    # What its picture is called.
    name: str
    path: str
    # Who looks at it: an account of the filled network, or nobody.
    who: str | None = "ada"
    status: int = 200

    def at(self, filled):
        return self.path.format(
            real=filled.real["id"], raw=filled.raw["id"], fresh=filled.fresh["id"], completed=filled.completed,
            failed=filled.failed, job=filled.job, waiting=filled.waiting,
        )


PAGES = [
    Page("login", "/login", who=None),
    Page("not-found", "/nowhere", status=404),
    Page("workers", "/workers"),
    Page("workers-empty", "/workers?search=nothing"),
    Page("workers-tags", "/workers/tags"),
    Page("worker-rename", "/workers/{real}/rename"),
    Page("worker-config", "/workers/{real}/config"),
    Page("worker-delete", "/workers/{real}/delete"),
    Page("worker-new", "/workers/new"),
    Page("worker-setup", "/workers/{fresh}/setup"),
    Page("worker-setup-online", "/workers/{real}/setup"),
    Page("worker-setup-windows", "/workers/{fresh}/setup?system=windows"),
    Page("worker-setup-elsewhere", "/workers/{fresh}/setup?system=macos"),
    Page("enrolments", "/workers/enrolments"),
    Page("enrolments-empty", "/workers/enrolments", who="bob"),
    Page("monitor", "/workers/{real}"),
    Page("monitor-hostile", "/workers/{raw}"),
    Page("monitor-empty", "/workers/{fresh}"),
    Page("worker-tasks", "/workers/{real}/tasks"),
    Page("worker-tasks-empty", "/workers/{fresh}/tasks"),
    Page("history", "/attempts"),
    Page("history-empty", "/attempts", who="bob"),
    Page("attempt", "/attempts/{completed}"),
    Page("attempt-failed", "/attempts/{failed}"),
    Page("jobs", "/jobs", who="cleo"),
    Page("jobs-empty", "/jobs", who="bob"),
    Page("job-new", "/jobs/new", who="cleo"),
    Page("job", "/jobs/{job}", who="cleo"),
    Page("job-running", "/jobs/{waiting}", who="cleo"),
    Page("job-cancel", "/jobs/{waiting}/cancel", who="cleo"),
    Page("account", "/account"),
    Page("account-creator", "/account", who="cleo"),
    Page("account-operator", "/account", who="olga"),
    Page("notifications", "/account/notifications"),
    Page("admin", "/admin", who="olga"),
    Page("admin-accounts", "/admin/accounts", who="olga"),
    Page("admin-payouts", "/admin/payouts", who="olga"),
    Page("admin-ledger", "/admin/ledger", who="olga"),
    Page("admin-audit", "/admin/audit", who="olga"),
    Page("summary", "/summary?range=24h"),
    Page("summary-empty", "/summary", who="bob"),
    Page("statistics", "/workers/{real}/statistics"),
]
# Answers to scripts, downloads and places to go on from.
NO_PAGES = {
    "/", "/assets/{name}", "/login/oidc", "/summary/payouts.csv", "/workers.csv", "/workers/live", "/workers/{id}/live",
    "/workers/{id}/setup/live", "/jobs/{id}/live", "/jobs/{id}/frames/{n}", "/jobs/{id}/frames.zip",
    "/workers/{id}/test-render/{slot}/frame",
}


def routes(method="get"):
    """The console's routes of this method, as the registry's source has them."""
    found = set()
    for source in [REPOSITORY / "registry/src/console.rs", *(REPOSITORY / "registry/src/console").rglob("*.rs")]:
        for path, handlers in re.findall(r'\.route\(\s*"([^"]+)",([^\n]*)', source.read_text()):
            if re.search(rf"\b{method}\(", handlers):
                found.add(path)
    assert "/login" in found
    return found


def route_of(path):
    """The route that serves this path."""
    path, known = path.split("?")[0], routes()
    if path in known:
        return path
    shape = lambda route: "".join("[^/]+" if part[:1] == "{" else re.escape(part) for part in re.split(r"({\w+})", route))
    return next((route for route in known if re.fullmatch(shape(route), path)), None)
