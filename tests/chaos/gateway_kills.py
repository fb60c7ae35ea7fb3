"""Killing the gateway while customers order: what was answered exists once, and what was not at most once.

A customer names each order with an Idempotency-Key of its own and repeats it until it is answered, as a client should.
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from PIL import Image
from sqlalchemy import select

from pipelines.store.request_keys import request_keys
from pipelines.store.tables import generations
from tests.chaos.kills import RANDOM, TERM, Fault, Kill
from tests.chaos.processes import Process
from tests.chaos.world import LOOK_SECONDS, PROMPT, ChaosWorld
from tests.support.gateway_users import auth_on, bearer, new_user
from tests.support.program import free_port
from tests.support.waiting import until_async

POINTS = ("before_commit", "after_commit", "before_temp_write", "before_rename", "before_folder_sync")
MOST = 3
"""Of a point, before the gateway dies there."""
MOMENT_SECONDS = 1.0
ORDERS = "/api/v1/generations"
ORDER = {"recipe": "express", "brief": {"prompt": PROMPT, "duration": 9, "num_scenes": 2, "seed": 0}}


@dataclass
class Book:
    """What the customers know."""

    earlier: frozenset[str]
    """Keys of orders that stood before."""
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Orders that were sent, by key."""
    answered: dict[str, str] = field(default_factory=dict)
    """Ids of generations by key."""
    last_answer: float = 0.0
    """Monotonic seconds."""


def gateway_faults(rng: random.Random, each: int, moments: int, terms: int = 0) -> list[Fault]:
    """As `kills.worker_faults`."""
    faults = [Fault(point, rng.randint(1, MOST)) for point in POINTS for _ in range(each)]
    faults += [Fault(RANDOM, 0) for _ in range(moments)] + [Fault(TERM, 0) for _ in range(terms)]
    rng.shuffle(faults)
    return faults


async def kill_gateways(world: ChaosWorld, faults: Sequence[Fault], rng: random.Random) -> tuple[Kill, ...]:
    """One kill per fault while customers order; asserts after each and in the end that every order stands once."""
    async with visitor(world) as http:
        port, book, kills = http.base_url.port, Book(frozenset(await _orders(world))), []
        assert port is not None
        customers = asyncio.gather(*(_order_for_ever(http, book, pictured) for pictured in (True, False)))
        try:
            gateway = world.gateway(port, _variable(faults[0]))
            for number, fault in enumerate(faults):
                await _until_dead(world, gateway, fault, book, customers, rng)
                killed = time.monotonic()
                await _check_orders(world, book)
                following = faults[number + 1] if number + 1 < len(faults) else None
                gateway = world.gateway(port, _variable(following))
                answered = await _next_answer(world, gateway, book, killed, customers)
                kills.append(Kill("gateway", fault.point, answered))
        finally:
            customers.cancel()
            with suppress(asyncio.CancelledError):
                await customers
        await _repeat_unanswered(http, book)
        gateway.kill()
    assert await _check_orders(world, book) == book.answered
    return tuple(kills)


@asynccontextmanager
async def visitor(world: ChaosWorld) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway that will listen at its port, with a key of a new user."""
    key = await new_user(auth_on(world.database), f"user-{uuid.uuid4().hex[:8]}")
    base = f"http://127.0.0.1:{free_port()}"
    async with httpx.AsyncClient(base_url=base, headers=bearer(key), timeout=60) as http:
        yield http


async def patiently(http: httpx.AsyncClient, method: str, path: str, **request: Any) -> httpx.Response:
    """The answer, of whichever gateway gives one."""

    async def answer() -> httpx.Response | None:
        try:
            return await http.request(method, path, **request)
        except httpx.TransportError:
            return None

    given = await until_async(answer, f"any gateway to answer {method} {path}", pause=LOOK_SECONDS)
    assert given is not None
    return given


async def _order_for_ever(http: httpx.AsyncClient, book: Book, pictured: bool) -> None:
    while True:
        key = uuid.uuid4().hex
        order = ORDER | {"references": [_picture(key)] if pictured else []}
        book.asked[key] = order
        await _order(http, book, key)


async def _order(http: httpx.AsyncClient, book: Book, key: str) -> None:
    order = book.asked[key]
    answer = await patiently(http, "POST", ORDERS, json=order, headers={"Idempotency-Key": key})
    assert answer.status_code == 202, answer.text
    book.answered[key] = answer.json()["id"]
    book.last_answer = time.monotonic()


async def _repeat_unanswered(http: httpx.AsyncClient, book: Book) -> None:
    for key in set(book.asked) - set(book.answered):
        await _order(http, book, key)


def _picture(key: str) -> str:
    """Base64 of a picture that no other order has: its file is written anew."""
    shades = np.random.default_rng(int(key, 16)).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _variable(fault: Fault | None) -> str | None:
    return None if fault is None or fault.point in (RANDOM, TERM) else f"{fault.point}:{fault.number}"


async def _until_dead(
    world: ChaosWorld, gateway: Process, fault: Fault, book: Book, customers: asyncio.Future[Any], rng: random.Random
) -> None:
    if fault.point in (RANDOM, TERM):
        await asyncio.sleep(rng.uniform(0, MOMENT_SECONDS))
    if fault.point == RANDOM:
        gateway.kill()
    if fault.point == TERM:
        code = await asyncio.to_thread(gateway.stop)
        assert code in (0, -signal.SIGTERM), f"a gateway that was told to stop ended with {code}"
        return

    async def dead() -> bool:
        _raise(customers)
        return gateway.ended

    await world.until(dead, f"a gateway dies {fault}")
    assert gateway.exit_code == -9, f"a gateway ended by itself: {gateway.exit_code}"


async def _next_answer(
    world: ChaosWorld, gateway: Process, book: Book, killed: float, customers: asyncio.Future[Any]
) -> float | None:
    """Seconds from the kill to the first answer after it; None when the next gateway died before it gave one."""

    async def answered() -> bool:
        _raise(customers)
        return book.last_answer > killed or gateway.ended

    await world.until(answered, "an order is answered again")
    return book.last_answer - killed if book.last_answer > killed else None


def _raise(customers: asyncio.Future[Any]) -> None:
    if customers.done():
        customers.result()


async def _check_orders(world: ChaosWorld, book: Book) -> dict[str, str]:
    """Asserts that answered orders stand, none twice, and none that nobody sent. Returns those that stand."""
    standing = {key: found for key, found in (await _orders(world)).items() if key not in book.earlier}
    assert book.answered.items() <= standing.items(), "an answered order was lost"
    assert set(standing) <= set(book.asked), "an order stands twice, or nobody sent it"
    return standing


async def _orders(world: ChaosWorld) -> dict[str, str]:
    """Ids of all generations by the key of their order."""
    query = select(generations.c.id, request_keys.c.name).outerjoin(
        request_keys, request_keys.c.generation_id == generations.c.id
    )
    rows = await world.database.fetch(query)
    by_key = {str(row.name).removeprefix("idempotency:"): row.id for row in rows}
    assert len(by_key) == len(rows), "an order stands twice"
    return by_key
