#!/usr/bin/env python3
"""Writes the dashboards' JSON from their source, or with --check says whether what is written is stale.

Needs grafana/requirements.txt. Without options it writes what is committed; a network with another currency or
address runs it with its own, into a folder of its own.
"""

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from board import Board
from dashboards import (
    economics,
    network,
    summary,
    worker_monitor,
    worker_statistics,
    worker_tasks,
    workers,
)
from settings import Settings

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "dashboards"

# What a provider's own Grafana shows, and what is for the operator alone: a folder each, as provisioning reads them.
FOLDERS = {
    "provider": [summary, workers, worker_monitor, worker_statistics, worker_tasks, economics],
    "operator": [network],
}


def text_of(board: Board) -> str:
    return json.dumps(board.build().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def texts(settings: Settings) -> dict[str, str]:
    """Path below the output folder -> what stands there."""
    boards = [(folder, module.board(settings)) for folder, modules in FOLDERS.items() for module in modules]
    return {f"{folder}/{board.uid}.json": text_of(board) for folder, board in boards}


def write(output: Path, wanted: dict[str, str]) -> None:
    for name, text in wanted.items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path}")


def stale(output: Path, wanted: dict[str, str]) -> list[str]:
    found = {str(path.relative_to(output)): path.read_text() for path in output.rglob("*.json")}
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--currency", default="EUR", help="the network's currency, as the registry's --currency")
    parser.add_argument("--owner-currency", help="what electricity is paid in; the network's unless given")
    parser.add_argument(
        "--registry-url", default="http://127.0.0.1:8080", help="where people open the registry's console"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER", help="instead of grafana/dashboards")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the output folder is stale")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    settings = Settings(
        currency=options.currency,
        owner_currency=options.owner_currency or options.currency,
        registry_url=options.registry_url.rstrip("/"),
    )
    wanted = texts(settings)
    if not options.check:
        write(options.output, wanted)
        return 0
    names = stale(options.output, wanted)
    for name in names:
        print(
            f"{options.output / name} is not what its source says: run python3 grafana/src/generate.py", file=sys.stderr
        )
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
