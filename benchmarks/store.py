"""CPU time of the store's commonest calls, on SQLite and on the PostgreSQL that is named.

    python -m benchmarks.store [--database postgresql+psycopg://…] [--output FILE]

CPU time of this process, all its threads; the server's own is not in it. Of several rounds the quickest counts: on a
busy machine the others measure their neighbours. The database is migrated, and a user and 20 generations stay in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pipelines.brief import Brief
from pipelines.recipe import Recipe
from pipelines.records import NewEvent
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.generations import GenerationStore
from pipelines.store.logins import Logins

ROUNDS, CALLS = 8, 50
GENERATIONS = 20
RECIPE = Recipe(name="benchmark", description="", stages=("storyboard",))
NOTE = NewEvent(kind="notice", message="hello")
Call = Callable[[], Awaitable[Any]]
Row = dict[str, float | str]


async def measure(name: str, call: Call) -> Row:
    """Milliseconds of one call."""
    rounds = []
    for _ in range(ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(CALLS):
            await call()
        rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (min(column) / CALLS * 1000 for column in zip(*rounds, strict=True))
    return {"call": name, "cpu_ms": round(cpu, 3), "wall_ms": round(wall, 3)}


async def calls(url: str) -> list[Row]:
    database = Database(url)
    await database.migrate()
    try:
        store, index, logins = GenerationStore(database), GenerationIndex(database), Logins(database)
        user = await Accounts(database).add_user(f"benchmark-{uuid.uuid4()}", "no hash")
        login = await logins.open(user.id, uuid.uuid4().hex, 1.0)
        brief = Brief(prompt="an ad for a steel water bottle", seed=1)
        ids = [await store.create(user.id, brief, RECIPE, {}, {}) for _ in range(GENERATIONS)]
        lease = await store.claim(ids[0], "benchmark")
        measured: list[tuple[str, Call]] = [
            ("one generation", lambda: store.get(user.id, ids[0])),
            ("who is logged in", lambda: logins.holder(login)),
            ("place in the queue", lambda: store.queue_position(ids[9])),
            ("page of 20, with the total", lambda: index.page(user.id, 20, 0)),
            ("heads of 20 event logs", lambda: index.heads(ids)),
            ("write: renew a lease", lambda: store.renew(lease)),
            ("write: append an event", lambda: store.append(lease, NOTE)),
        ]
        return [await measure(name, call) for name, call in measured]
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of the store's commonest calls")
    parser.add_argument("--database", help="SQLAlchemy URL of a PostgreSQL database to measure as well")
    parser.add_argument("--output", type=Path, help="write the numbers there as JSON")
    given = parser.parse_args()
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        results["sqlite"] = asyncio.run(calls(sqlite_url(Path(folder) / "store.sqlite")))
    if given.database:
        results["postgresql"] = asyncio.run(calls(given.database))
    for database, rows in results.items():
        for row in rows:
            print(f"{database:12}{row['call']:30}{row['cpu_ms']:8.3f} ms CPU{row['wall_ms']:9.3f} ms")
    if given.output:
        given.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
