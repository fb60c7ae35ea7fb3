"""Killing workers while they make ads, at named points and at any moment, and what is known of each kill afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from pipelines.store.fault_points import FaultPoint
from tests.chaos.processes import Process
from tests.chaos.world import ChaosWorld, Finished
from tests.support.postgres import PostgresServer

RANDOM = "random"
TERM = "sigterm"
"""Told to end, as `docker stop` does, at a random moment: the work is handed back."""
POINTS: tuple[FaultPoint, ...] = get_args(FaultPoint)
FILES_OF_AN_AD, COMMITS_OF_AN_AD = 8, 30
"""What an undisturbed run writes, rounded down."""
MOST_NEWS = 6
"""Events between two kills at random moments: a little is done each time, so that the ad is finished some day."""
MOMENT_SECONDS = 0.05
"""Random kills come up to this long after an event: in the middle of a step, or of a write."""


@dataclass(frozen=True)
class Fault:
    """Where a process dies: at the `number`-th time that it comes to a point; or, at random, after so many events."""

    point: str
    number: int


@dataclass(frozen=True)
class Kill:
    process: Literal["worker", "gateway", "postgresql"]
    point: str
    recovery_seconds: float | None
    """From the kill to the first sign of work of a replacement; None: that one was killed before it."""


def worker_faults(rng: random.Random, each: int, moments: int, terms: int = 0) -> list[Fault]:
    """`each` faults at every named point, `moments` at random ones, and as many SIGTERMs as `terms` says, mixed."""
    faults = [Fault(point, rng.randint(1, _most(point))) for point in POINTS for _ in range(each)]
    faults += [Fault(RANDOM, rng.randint(1, MOST_NEWS)) for _ in range(moments)]
    faults += [Fault(TERM, rng.randint(1, MOST_NEWS)) for _ in range(terms)]
    rng.shuffle(faults)
    return faults


def _most(point: FaultPoint) -> int:
    return COMMITS_OF_AN_AD if point in ("before_commit", "after_commit") else FILES_OF_AN_AD


async def kill_workers(
    world: ChaosWorld, faults: Sequence[Fault], undisturbed: str, rng: random.Random
) -> tuple[Kill, ...]:
    """One kill per fault, over as many ads as it takes. Asserts of each ad that it is as if nobody had been killed."""
    left = list(faults)
    kills: list[Kill] = []
    while left:
        kills += await _kill_in_one_ad(world, left, undisturbed, rng)
    return tuple(kills)


async def _kill_in_one_ad(world: ChaosWorld, left: list[Fault], undisturbed: str, rng: random.Random) -> list[Kill]:
    """Takes from `left` what struck."""
    generation_id = await world.order()
    struck: list[tuple[Fault, datetime]] = []
    kept: list[Finished] = []
    while left:
        if not await _kill_one(world, generation_id, left[0], rng):
            left[0] = Fault(left[0].point, max(1, left[0].number // 2))
            break
        struck.append((left.pop(0), datetime.now(UTC)))
        kept.append(await world.finished(generation_id))
    last = world.worker()
    await world.until_ended(generation_id)
    assert await world.check(generation_id, *kept) == undisturbed, "the video differs"
    last.kill()
    log = await world.events(generation_id)
    await world.forget(generation_id)
    starts = [event.created_at for event in log if event.kind == "generation_started"]
    ends = [*(when for _, when in struck[1:]), datetime.max.replace(tzinfo=UTC)]
    return [
        Kill("worker", fault.point, _recovery(starts, when, before))
        for (fault, when), before in zip(struck, ends, strict=False)
    ]


def _recovery(starts: Sequence[datetime], killed: datetime, before: datetime) -> float | None:
    return next(((start - killed).total_seconds() for start in starts if killed < start < before), None)


async def _kill_one(world: ChaosWorld, generation_id: str, fault: Fault, rng: random.Random) -> bool:
    """Start a worker that the fault kills; false when the ad ended before."""
    if fault.point in (RANDOM, TERM):
        return await _kill_at_a_moment(world, generation_id, fault, rng)
    worker = world.worker(f"{fault.point}:{fault.number}")
    await world.until(lambda: _died_or_done(world, worker, generation_id), f"a worker dies {fault}")
    if not worker.ended:
        worker.kill()
        return False
    assert worker.exit_code == -9, f"a worker ended by itself: {worker.exit_code}"
    return True


async def _died_or_done(world: ChaosWorld, worker: Process, generation_id: str) -> bool:
    return worker.ended or await world.ended(generation_id)


async def _kill_at_a_moment(world: ChaosWorld, generation_id: str, fault: Fault, rng: random.Random) -> bool:
    goal = await _news(world, generation_id) + fault.number
    worker = world.worker()
    await _until_news(world, generation_id, goal)
    await asyncio.sleep(rng.uniform(0, MOMENT_SECONDS))
    running = not await world.ended(generation_id)
    if fault.point == TERM and running:
        code = await asyncio.to_thread(worker.stop)
        assert code == 0, f"a worker that was told to stop ended with {code}"
    else:
        worker.kill()
    return running


async def _until_news(world: ChaosWorld, generation_id: str, goal: int) -> None:
    """Until the log says so many new things, or the ad has ended."""

    async def reached() -> bool:
        return await world.ended(generation_id) or await _news(world, generation_id) >= goal

    await world.until(reached, f"{generation_id} has {goal} events")


async def kill_databases(
    world: ChaosWorld, server: PostgresServer, faults: Sequence[Fault], undisturbed: str, rng: random.Random
) -> tuple[Kill, ...]:
    """`kill -9` of the database server, once per fault, while a worker makes ads; asserts as `kill_workers`."""
    left, kills = list(faults), list[Kill]()
    while left:
        generation_id, worker, kept = await world.order(), world.worker(), list[Finished]()
        while left and await _works_on(world, generation_id, left[0].number, rng):
            kept.append(await world.finished(generation_id))
            kills.append(await _kill_database(world, server, generation_id, left.pop(0).point))
        if left:
            left[0] = Fault(left[0].point, max(1, left[0].number // 2))
        await world.until_ended(generation_id)
        assert await world.check(generation_id, *kept) == undisturbed, "the video differs"
        assert not worker.ended, f"a worker ended with its database: {worker.exit_code}"
        worker.kill()
        await world.forget(generation_id)
    return tuple(kills)


async def _works_on(world: ChaosWorld, generation_id: str, events: int, rng: random.Random) -> bool:
    """Wait for so many new events and a moment more; whether the ad is still made then."""
    await _until_news(world, generation_id, await _news(world, generation_id) + events)
    await asyncio.sleep(rng.uniform(0, MOMENT_SECONDS))
    return not await world.ended(generation_id)


async def _kill_database(world: ChaosWorld, server: PostgresServer, generation_id: str, point: str) -> Kill:
    """Kill the server and start it again; how long until the worker wrote something new."""
    await asyncio.to_thread(server.kill)
    killed = time.monotonic()
    await asyncio.to_thread(server.start)
    before = await _news(world, generation_id)
    await _until_news(world, generation_id, before + 1)
    moved = await _news(world, generation_id) > before
    return Kill("postgresql", point, time.monotonic() - killed if moved else None)


async def _news(world: ChaosWorld, generation_id: str) -> int:
    """Events in the log that say something new: not that a finished step was found again."""
    known = ("step_reused", "generation_started")
    return sum(event.kind not in known for event in await world.events(generation_id))
