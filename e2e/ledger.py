"""Reads a registry's SQLite file from outside and checks its ledger; prints what it holds as JSON.

    python3 ledger.py registry.db

{"books": {BOOK: MICROS}, "kinds": {KIND: [TRANSFERS, MICROS]}}; exits 1 naming what is wrong.
"""

import json
import sqlite3
import sys

BELOW_ZERO_ALLOWED = {"issued"}


def main(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    books, kinds = {}, {}
    for kind, source, target, amount in db.execute("SELECT kind, from_book, to_book, amount_micros FROM transfers"):
        books[source] = books.get(source, 0) - amount
        books[target] = books.get(target, 0) + amount
        count, total = kinds.get(kind, (0, 0))
        kinds[kind] = (count + 1, total + amount)

    wrong = [f"{book} stands at {held}" for book, held in books.items() if held < 0 and book not in BELOW_ZERO_ALLOWED]
    ended = db.execute("SELECT id FROM jobs WHERE status IN ('completed', 'failed', 'cancelled')").fetchall()
    wrong += [f"{job} has ended with {books[job]} in escrow" for (job,) in ended if books.get(job, 0) != 0]
    (cost,) = db.execute("SELECT COALESCE(SUM(cost_micros), 0) FROM attempts WHERE status = 'completed'").fetchone()
    paid = sum(kinds.get(kind, (0, 0))[1] for kind in ("reward", "fee"))
    if cost != paid:
        wrong.append(f"completed tasks cost {cost}, but {paid} was paid for them")
    twice = db.execute(
        "SELECT attempts.task_id FROM transfers JOIN attempts ON attempts.id = transfers.attempt_id"
        " WHERE transfers.kind = 'reward' GROUP BY attempts.task_id HAVING COUNT(*) > 1"
    ).fetchall()
    wrong += [f"{task} was paid twice" for (task,) in twice]
    if wrong:
        sys.exit("; ".join(wrong))
    print(json.dumps({"books": books, "kinds": kinds}))


main(sys.argv[1])
