"""What pages of the console cost the registry: a year of one provider's history in its SQLite database, made by
direct inserts, then pages asked for as a browser signed in does."""

import contextlib
import http.client
import math
import random
import sqlite3
import sys
import time
import urllib.parse

YEAR_MILLIS = 365 * 24 * 3_600_000
TASKS_PER_JOB = 10_000
COST_MICROS, REWARD_MICROS = 50_000, 40_000
GPU_NAMES = ("NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 4090", "NVIDIA L40S")
TAGS = ('[]', '["rack-a"]', '["rack-a","fast"]', '["rack-b"]')
BATCH = 20_000


def identifier(prefix, millis, dice):
    """As the registry makes them: a UUIDv7, which sorts by time."""
    return f"{prefix}_{millis:012x}7{dice.getrandbits(12):03x}8{dice.getrandbits(60):015x}"


def account_id(database, name):
    with contextlib.closing(sqlite3.connect(database)) as db:
        return db.execute("SELECT id FROM accounts WHERE name = ?", (name,)).fetchone()[0]


def insert(db, table, rows):
    db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    rows.clear()


def fill(database, attempts, workers):
    """A year of attempts, evenly spread over workers of one GPU each; 1 in 25 failed, the rest completed and paid.
    Their tasks are left out: no page that is measured reads those of ended attempts."""
    dice, now = random.Random(20_261_125), int(time.time() * 1000)
    provider, creator = account_id(database, "provider"), account_id(database, "creator")
    db = sqlite3.connect(database)
    # Nobody reads it meanwhile, and one that was broken off is made anew.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
        db.execute(f"PRAGMA {pragma}")
    begin = now - YEAR_MILLIS
    db.execute("UPDATE accounts SET created_at = ?", (begin,))
    # Indexes are made at the end, each by one sort.
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
                         " AND tbl_name IN ('attempts', 'transfers', 'points')").fetchall()
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    machines = [(identifier("wrk", begin, dice), f"GPU-{n:04}", GPU_NAMES[n % len(GPU_NAMES)]) for n in range(workers)]
    db.executemany(
        "INSERT INTO workers (id, account_id, name, name_key, tags, created_at, updated_at, online_millis)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(worker, provider, f"node-{n:04}", f"node-{n:04}", TAGS[n % len(TAGS)], begin, begin, YEAR_MILLIS // 2)
         for n, (worker, _, _) in enumerate(machines)])
    jobs, rows, transfers, points = [], [], [], []
    for n in range(attempts):
        at = begin + YEAR_MILLIS * n // attempts
        if n % TASKS_PER_JOB == 0:
            jobs.append(identifier("job", at, dice))
        worker, gpu, gpu_name = machines[dice.randrange(workers)]
        attempt, task, is_paid = identifier("att", at, dice), identifier("tsk", at, dice), dice.random() >= 0.04
        rows.append((attempt, task, jobs[-1], worker, provider, 0, gpu, gpu_name, attempt,
                     "completed" if is_paid else "failed", None if is_paid else "out of memory", None, 1.0, 20.0,
                     COST_MICROS, REWARD_MICROS if is_paid else None, at - 25_000, at, at, at - 24_000, at))
        if is_paid:
            transfers.append((identifier("trf", at, dice), f"reward:{task}", "reward", jobs[-1], provider,
                              REWARD_MICROS, worker, attempt, at))
            transfers.append((identifier("trf", at, dice), f"fee:{task}", "fee", jobs[-1], "fees",
                              COST_MICROS - REWARD_MICROS, worker, attempt, at))
            points.append((f"frames:{task}", provider, worker, 1, at))
        if len(rows) == BATCH or n == attempts - 1:
            for table, held in (("attempts", rows), ("transfers", transfers), ("points", points)):
                insert(db, table, held)
    for _, sql in indexes:
        db.execute(sql)
    fund(db, jobs, creator, begin, now, dice)
    db.commit()
    db.close()


def fund(db, jobs, creator, begin, now, dice):
    """The jobs, over and paid for, so that the ledger is sound: it is checked meanwhile."""
    for number, job in enumerate(jobs):
        paid = db.execute("SELECT SUM(amount_micros) FROM transfers WHERE from_book = ?", (job,)).fetchone()[0] or 0
        db.execute(
            "INSERT INTO jobs (id, account_id, name, status, first_frame, last_frame, frames_per_task,"
            " frame_cost_micros, fee_ppm, task_timeout_seconds, scene_sha256, scene_bytes, created_at, ended_at)"
            " VALUES (?, ?, ?, 'completed', 1, ?, 1, ?, 200000, 3600, 'none', 1, ?, ?)",
            (job, creator, f"job {number}", TASKS_PER_JOB, COST_MICROS, begin, now))
        if paid:
            for kind, giver, taker in (("credit", "issued", creator), ("escrow", creator, job)):
                insert(db, "transfers", [(identifier("trf", begin, dice), f"{kind}:{job}", kind, giver, taker, paid,
                                          None, None, begin)])


def folded(database):
    """Whether what is over for long is summed: until then pages read its rows."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        return db.execute("SELECT MIN(until) FROM folds").fetchone()[0] > (time.time() - 2 * 86_400) * 1000


class Browser:
    """Signed in, on one connection that is kept open."""

    def __init__(self, url, token):
        self.host = urllib.parse.urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.host, timeout=60)
        form = urllib.parse.urlencode({"token": token})
        self.connection.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = self.connection.getresponse()
        answer.read()
        cookie = answer.getheader("set-cookie")
        if answer.status != 303 or not cookie:
            sys.exit(f"bench: signing in was answered with {answer.status}")
        self.headers = {"Cookie": cookie.split(";")[0], "Accept": "text/html", "Accept-Encoding": "gzip"}

    def get(self, path):
        """Status, bytes as sent, and milliseconds until the last of them."""
        began = time.perf_counter()
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        size = len(answer.read())
        return answer.status, size, (time.perf_counter() - began) * 1000


def measure(browser, paths, runs):
    """Whether every page that is there keeps its bar."""
    kept = True
    for path, bar_ms in paths:
        status, size, _ = browser.get(path)
        if status == 404:
            print(f"{path:24}  is not there")
            continue
        if status != 200:
            sys.exit(f"bench: GET {path} was answered with {status}")
        taken = sorted(browser.get(path)[2] for _ in range(runs))
        p50, p95 = taken[len(taken) // 2], taken[math.ceil(len(taken) * 0.95) - 1]
        kept &= p95 <= bar_ms
        print(f"{path:24}  p50 {p50:7.1f} ms  p95 {p95:7.1f} ms (bar {bar_ms} ms)  {size / 1024:6.1f} KiB sent", flush=True)
    return kept
