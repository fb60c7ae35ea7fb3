"""Kills workers, gateways and PostgreSQL by the hundred, and says how long a replacement took.

    python -m benchmarks.durability --json FILE [--each 23] [--moments 45] [--terms 54] [--restarts 40] [--minutes 60]

Each named fault point is struck `--each` times, random moments `--moments` times and SIGTERM `--terms` times, per
process and database; PostgreSQL is killed `--restarts` times under a working worker. These numbers make 500 kills per
database and 40 more. What was struck stands in FILE.struck.json after every few kills: the same command goes on from
there. `--markdown FILE` writes the table. After
every ad and every order the assertions of `tests/chaos` must hold: nothing lost, nothing doubled, no gap in a log, and
the bytes of the video that nobody disturbed. Leases last 1 s, so that hundreds of kills fit in minutes; a few kills
with the lease as it is shipped show what that means for a server. The first failure ends the run; what `--minutes` cut
off is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg

from configs.settings import library_root
from pipelines.steps import Json
from pipelines.store.generations import LEASE_SECONDS as SHIPPED_LEASE_SECONDS
from serving.profile_models import model_set
from tests.chaos.gateway_kills import gateway_faults, kill_gateways
from tests.chaos.kills import MOST_NEWS, RANDOM, Fault, Kill, kill_databases, kill_workers, worker_faults
from tests.chaos.processes import small_profile
from tests.chaos.world import LEASE_SECONDS, ChaosWorld
from tests.support.postgres import PostgresServer

SHIPPED_KILLS = 3
"""With the lease as it is shipped, per database: each takes half a minute."""
PORTION = 6
"""Kills between two looks at the clock."""
SEED = 2026


@dataclass(frozen=True)
class Plan:
    """How many kills of each kind."""

    each: int
    moments: int
    terms: int
    restarts: int


class Journal:
    """What was struck, by database, process and lease, in a file that outlives this program."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kills: dict[str, list[Json]] = json.loads(path.read_text()) if path.exists() else {}

    def struck(self, name: str) -> list[Kill]:
        return [Kill(**kill) for kill in self._kills.get(name, [])]

    def add(self, name: str, kills: Iterable[Kill]) -> None:
        self._kills.setdefault(name, []).extend(asdict(kill) for kill in kills)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._kills))
        part.replace(self._path)


class Bench:
    """The databases, and a folder for all that the killed processes write."""

    def __init__(self, folder: Path, server: PostgresServer, manifest: Json) -> None:
        self._folder = folder
        self._server = server
        self._manifest = manifest
        self._worlds = 0
        self._migrating = asyncio.Lock()

    @asynccontextmanager
    async def world(self, database: str, lease_seconds: float) -> AsyncIterator[ChaosWorld]:
        self._worlds += 1
        folder = self._folder / str(self._worlds)
        folder.mkdir()
        sqlite = f"sqlite:///{folder / 'store.sqlite'}"
        url = sqlite if database == "sqlite" else self._server.url(self._server.create())
        made = ChaosWorld(folder, self._folder, url, self._manifest, lease_seconds)
        async with self._migrating:  # Alembic keeps what it works on in variables of its modules
            await made.database.migrate()
        try:
            yield made
        finally:
            await made.close()


Strike = Callable[[ChaosWorld, list[Fault]], Awaitable[tuple[Kill, ...]]]
"""Kills one process per fault in a world, and asserts what must hold."""


async def run(bench: Bench, server: PostgresServer, plan: Plan, journal: Journal, until: float) -> list[Json]:
    """A row per process, database, lease and fault point. All worlds at once: most of their time is waiting."""
    async with bench.world("sqlite", LEASE_SECONDS) as world:
        generation_id = await world.order()
        world.worker()
        await world.until_ended(generation_id)
        undisturbed = await world.check(generation_id)
    rng = random.Random(SEED)  # noqa: S311

    async def databases(world: ChaosWorld, faults: list[Fault]) -> tuple[Kill, ...]:
        return await kill_databases(world, server, faults, undisturbed, rng)

    async def workers(world: ChaosWorld, faults: list[Fault]) -> tuple[Kill, ...]:
        return await kill_workers(world, faults, undisturbed, rng)

    async def gateways(world: ChaosWorld, faults: list[Fault]) -> tuple[Kill, ...]:
        return await kill_gateways(world, faults, rng)

    plans: list[tuple[Strike, float, list[Fault]]] = [
        (workers, LEASE_SECONDS, worker_faults(rng, plan.each, plan.moments, plan.terms)),
        (gateways, LEASE_SECONDS, gateway_faults(rng, plan.each, plan.moments, plan.terms)),
        (workers, SHIPPED_LEASE_SECONDS, [Fault(RANDOM, 2)] * SHIPPED_KILLS),
    ]
    runs = [
        strike_all(bench, database, lease_seconds, strike, faults, journal, until)
        for database in ("sqlite", "postgresql")
        for strike, lease_seconds, faults in plans
    ]
    rows = [row for rows in await asyncio.gather(*runs) for row in rows]
    killed = [Fault(RANDOM, rng.randint(1, MOST_NEWS)) for _ in range(plan.restarts)]
    # Last and alone: everybody's database goes with the server.
    return rows + await strike_all(bench, "postgresql", LEASE_SECONDS, databases, killed, journal, until)


async def strike_all(
    bench: Bench,
    database: str,
    lease_seconds: float,
    strike: Strike,
    faults: list[Fault],
    journal: Journal,
    until: float,
) -> list[Json]:
    """In small portions, until all struck or the time (monotonic) is over; what the journal has is not done again."""
    name = f"{database} {strike.__name__} {lease_seconds:g} s"
    kills = before = journal.struck(name)
    async with bench.world(database, lease_seconds) as world:
        for start in range(len(kills), len(faults), PORTION):
            if time.monotonic() > until:
                break
            struck = await strike(world, faults[start : start + PORTION])
            journal.add(name, struck)
            kills += struck
            print(f"{name}: {len(kills)} of {len(faults)}", flush=True)
        if len(kills) > len(before):
            await world.check_files()
    return told(database, lease_seconds, kills)


def told(database: str, lease_seconds: float, kills: Iterable[Kill]) -> list[Json]:
    """One row per fault point."""
    rows = []
    for point, struck in groupby(sorted(kills, key=lambda kill: kill.point), key=lambda kill: kill.point):
        same = list(struck)
        measured = [kill.recovery_seconds for kill in same if kill.recovery_seconds is not None]
        row: Json = {"process": same[0].process, "database": database, "lease_seconds": lease_seconds, "point": point}
        rows.append(row | {"kills": len(same), "recovery_seconds": [round(each, 3) for each in sorted(measured)]})
    return rows


def line(row: Json) -> str:
    """A row of the table."""
    shown = percentiles(row["recovery_seconds"])
    times = "  ".join("     -" if shown[name] is None else f"{shown[name]:6.2f}" for name in shown)
    return (
        f"{row['process']:8} {row['database']:11} {row['lease_seconds']:4.0f} s  {row['point']:18} "
        f"{row['kills']:4}  {times}"
    )


def markdown(rows: list[Json], totals: list[Json]) -> str:
    """The rows as a table for a document."""
    names = ("killed", "database", "lease", "at", "kills", "p50", "p95", "max")
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in (*rows, *totals):
        times = ["–" if value is None else f"{value:.2f} s" for value in percentiles(row["recovery_seconds"]).values()]
        place = (row["process"], row["database"], f"{row['lease_seconds']:g} s", row["point"].replace("_", " "))
        lines.append(f"| {' | '.join((*place, str(row['kills']), *times))} |")
    return "\n".join(lines) + "\n"


def percentiles(seconds: list[float]) -> dict[str, float | None]:
    if not seconds:
        return {"p50": None, "p95": None, "max": None}
    cuts = statistics.quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
    return {"p50": round(statistics.median(seconds), 3), "p95": round(cuts[18], 3), "max": max(seconds)}


def summary(rows: list[Json]) -> list[Json]:
    """Recovery over all points, by process, database and lease."""

    def place(row: Json) -> tuple[Any, ...]:
        return row["process"], row["database"], row["lease_seconds"]

    found = []
    for (process, database, lease), same in groupby(sorted(rows, key=place), key=place):
        listed = list(same)
        seconds = sorted(each for row in listed for each in row["recovery_seconds"])
        found.append(
            {"process": process, "database": database, "lease_seconds": lease, "point": "all"}
            | {"kills": sum(row["kills"] for row in listed), "recovery_seconds": seconds}
            | {"measured": len(seconds), **percentiles(seconds)}
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=23)
    parser.add_argument("--moments", type=int, default=45)
    parser.add_argument("--terms", type=int, default=54)
    parser.add_argument("--restarts", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    manifest, server, started = model_set(small_profile()).manifest, PostgresServer(durable=True), time.monotonic()
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="admint-durability-") as folder:
            (Path(folder) / "models").symlink_to(library_root())
            until = started + 60 * arguments.minutes
            plan = Plan(arguments.each, arguments.moments, arguments.terms, arguments.restarts)
            journal = Journal(arguments.json.with_suffix(".struck.json"))
            rows = asyncio.run(run(Bench(Path(folder), server, manifest), server, plan, journal, until))
        with psycopg.connect(server.url("postgres").replace("+psycopg", "")) as connection:
            postgres = connection.info.server_version
    finally:
        server.remove()
    totals = summary(rows)
    print("process  database   lease    point              kills     p50     p95     max   (seconds)")
    for row in (*rows, *totals):
        print(line(row))
    kills = sum(row["kills"] for row in rows)
    print(f"{kills} kills, nothing lost and nothing doubled")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows, totals))
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "versions": {
            "python": platform.python_version(),
            "sqlalchemy": version("sqlalchemy"),
            "sqlite": sqlite3.sqlite_version,
            "postgresql": f"{postgres // 10000}.{postgres % 10000}",
        },
        "minutes": round((time.monotonic() - started) / 60, 1),
        "kills": kills,
        "summary": [{name: value for name, value in row.items() if name != "recovery_seconds"} for row in totals],
        "rows": rows,
    }
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
