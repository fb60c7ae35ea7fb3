"""What the gateway bears, on SQLite and PostgreSQL: orders at a rate, the lag of events, open streams, durable steps.

    python -m benchmarks.gateway [--json FILE] [--database sqlite|postgres]

The gateway runs in a process of its own without a worker (`benchmarks.gateway.process`); this one orders, listens and
writes the events that a worker would write. PostgreSQL is Debian's server with every commit synced. A busy machine
makes all of it slower: the load averages of the run are in the result, and the processor time of an order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gateway.load import Gateway, Key, Listener, listening, ordered, submit
from pipelines.records import Lease, NewEvent
from pipelines.steps import Step, StepOutput
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from serving.deployments.replica_options import end_construction
from tests.support.postgres import PostgresServer

RATE, SUBMIT_SECONDS = 50.0, 10.0
LAG_GENERATIONS, LAG_EVENTS, LAG_PAUSE = 20, 400, 0.02
STREAMS = 1000
STREAM_GENERATIONS = 100
STEPS = 100
CLIP_BYTES = 300_000
LAG_BARS = {"sqlite": 0.3, "postgres": 0.05}
Row = tuple[str, float, float, str]
"""Name, value, bar, format."""


async def measure(gateway: Gateway, database_url: str, folder: Path) -> dict[str, Any]:
    """Everything on one database."""
    await submit(gateway, 10, 1)  # warm
    used = gateway.cpu_seconds()
    times, refused = await submit(gateway, RATE, SUBMIT_SECONDS)
    per_order = (gateway.cpu_seconds() - used) / len(times)
    database = Database(database_url)
    try:
        store = GenerationStore(database)
        found = {
            "submit_seconds": _spread(times) | {"refused": refused, "cpu_seconds": per_order},
            "event_lag_seconds": _spread(await event_lags(gateway, store)),
            "durable_step_seconds": _spread(await durable_steps(gateway, store, LocalArtifacts(folder / "artifacts"))),
            "streams": await open_streams(gateway, store),
        }
    finally:
        await database.close()
    return found


async def event_lags(gateway: Gateway, store: GenerationStore) -> list[float]:
    """Seconds from an event's commit to its arrival at the client, with a stream open on every generation."""
    leases = [await store.claim(each, "benchmark") for each in await ordered(gateway, LAG_GENERATIONS)]
    listeners = await listening(gateway, [lease.generation_id for lease in leases], LAG_GENERATIONS)
    written = await _write(store, leases, LAG_EVENTS, LAG_PAUSE)
    return await _lags(listeners, written)


async def durable_steps(gateway: Gateway, store: GenerationStore, artifacts: LocalArtifacts) -> list[float]:
    """Seconds that a step takes beside its work: looking for its checkpoint, its file and its rows, all synced."""
    (generation_id,) = await ordered(gateway, 1)
    lease, times = await store.claim(generation_id, "benchmark"), []
    for number in range(STEPS):
        data = os.urandom(CLIP_BYTES)
        step = Step(name=f"video/scene-{number:03d}", inputs={"number": number}, work=_nothing)
        began = time.perf_counter()
        await store.checkpoint(generation_id, step)
        stored = await asyncio.to_thread(artifacts.put, data, "video/mp4")
        output = StepOutput(value={"artifact": stored.sha256}, artifacts=(stored,))
        await store.commit_step(lease, step, output, 1.0, NewEvent(kind="step_completed", message="done"))
        times.append(time.perf_counter() - began)
    return times


async def open_streams(gateway: Gateway, store: GenerationStore) -> dict[str, float]:
    """Memory and processor time of a gateway with STREAMS open streams, at rest and with events for all of them."""
    leases = [await store.claim(each, "benchmark") for each in await ordered(gateway, STREAM_GENERATIONS)]
    before = gateway.resident_bytes()
    listeners = await listening(gateway, [lease.generation_id for lease in leases], STREAMS)
    used, began = gateway.cpu_seconds(), time.monotonic()
    await asyncio.sleep(5)
    idle = (gateway.cpu_seconds() - used) / (time.monotonic() - began)
    lags = await _lags(listeners, await _write(store, leases, 2 * STREAM_GENERATIONS, 0.05))
    return {
        "open": STREAMS,
        "resident_mb": gateway.resident_bytes() / 1e6,
        "resident_mb_before": before / 1e6,
        "idle_cores": idle,
        "lag_p95_seconds": _spread(lags)["p95"],
    }


async def _nothing(*_: object) -> StepOutput:
    raise NotImplementedError("the benchmark runs no step")


async def _write(store: GenerationStore, leases: list[Lease], count: int, pause: float) -> dict[Key, float]:
    """`count` events, one after the other over the generations; when each was committed."""
    seqs = {lease.generation_id: len(await store.events(lease.generation_id)) for lease in leases}
    written: dict[Key, float] = {}
    for number in range(count):
        lease = leases[number % len(leases)]
        await store.append(lease, NewEvent(kind="notice", message=str(number)))
        seqs[lease.generation_id] += 1
        written[lease.generation_id, seqs[lease.generation_id]] = time.monotonic()
        await asyncio.sleep(pause)
    return written


async def _lags(listeners: list[Listener], written: dict[Key, float]) -> list[float]:
    """Once everything has arrived everywhere."""
    deadline = time.monotonic() + 60
    wanted = [[key for key in written if key[0] == each.generation_id] for each in listeners]
    while any(key not in each.arrived for each, keys in zip(listeners, wanted, strict=True) for key in keys):
        if time.monotonic() > deadline:
            raise RuntimeError("events did not arrive within a minute")
        await asyncio.sleep(0.1)
    for each in listeners:
        await each.close()
    pairs = zip(listeners, wanted, strict=True)
    return [each.arrived[key] - written[key] for each, keys in pairs for key in keys]


def _spread(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"median": cuts[49], "p95": cuts[94], "p99": cuts[98], "count": len(times)}


@contextmanager
def running_gateway(folder: Path, database_url: str) -> Iterator[Gateway]:
    command = [sys.executable, "-m", "benchmarks.gateway.process", str(folder), database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told = json.loads(process.stdout.readline() if process.stdout else "")
        yield Gateway(told["url"], told["key"], process.pid)


def on_sqlite() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = sqlite_url(folder / "store.sqlite")
        with running_gateway(folder, url) as gateway:
            return asyncio.run(measure(gateway, url, folder))


def on_postgres() -> dict[str, Any]:
    server = PostgresServer(durable=True)
    try:
        server.start()
        url = server.url(server.create())
        with tempfile.TemporaryDirectory() as name, running_gateway(Path(name), url) as gateway:
            return asyncio.run(measure(gateway, url, Path(name)))
    finally:
        server.remove()


MEASURES = {"sqlite": on_sqlite, "postgres": on_postgres}


def rows(database: str, found: dict[str, Any]) -> list[Row]:
    return [
        (f"{database}: order at {RATE:.0f}/s, p99 s", found["submit_seconds"]["p99"], 0.05, "{:.3f}"),
        (f"{database}: orders refused", found["submit_seconds"]["refused"], 0, "{:.0f}"),
        (f"{database}: commit to client, p95 s", found["event_lag_seconds"]["p95"], LAG_BARS[database], "{:.3f}"),
        (f"{database}: memory with {STREAMS} streams, MB", found["streams"]["resident_mb"], 500, "{:.0f}"),
        (f"{database}: a step made durable, median s", found["durable_step_seconds"]["median"], 0.01, "{:.4f}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--database", choices=tuple(MEASURES))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d %H:%M"), "cores": os.cpu_count()}
    result["load_before"] = os.getloadavg()
    end_construction()  # a full collection here would be counted as the gateway's delay
    table: list[Row] = []
    for database in (arguments.database,) if arguments.database else MEASURES:
        result[database] = MEASURES[database]()
        table += rows(database, result[database])
    result["load_after"] = os.getloadavg()
    for name, value, bar, form in table:
        kept = "ok" if value <= bar else "MISSED"
        print(f"{name:42} {form.format(value):>8}  bar <= {form.format(bar):>6}  {kept}")
    print(f"load averages: {result['load_before'][0]:.1f} before, {result['load_after'][0]:.1f} after")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
