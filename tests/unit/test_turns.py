"""Decoder slots shared by owners: by turns, each slot given back once, whoever goes away."""

import asyncio

import pytest

from serving.errors import QueueFull
from serving.gateway.decoding.decoders import Turns

FULL = QueueFull("full", 1)


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Callers that wait for a slot and remember in which order they got one."""

    def __init__(self, slots=1, waiting=100):
        self.turns, self.waiting = Turns(slots, FULL), waiting
        self.served = []

    async def come(self, owner):
        task = asyncio.create_task(self._wait(owner))
        await settled()
        return task

    async def _wait(self, owner):
        await self.turns.take(owner, self.waiting)
        self.served.append(owner)

    async def leave(self):
        self.turns.leave()
        await settled()


async def test_owners_take_turns():
    crowd = Crowd()
    for owner in ("anna", "anna", "anna", "anna", "bruno", "carla", "bruno"):
        await crowd.come(owner)
    for _ in range(6):
        await crowd.leave()
    assert crowd.served == ["anna", "anna", "bruno", "carla", "anna", "bruno", "anna"]


async def test_a_full_queue_has_room_for_an_owners_share():
    crowd = Crowd(waiting=4)
    for _ in range(5):
        await crowd.come("anna")
    with pytest.raises(QueueFull):
        await crowd.turns.take("anna", 4)
    for _ in range(2):
        assert not (await crowd.come("bruno")).done()
    with pytest.raises(QueueFull):
        await crowd.turns.take("bruno", 4)


async def test_who_goes_away_leaves_no_slot_behind():
    crowd = Crowd(slots=2)
    waiting = [await crowd.come(owner) for owner in ("anna", "anna", "bruno", "carla", "bruno")]
    waiting[2].cancel()
    await settled()
    crowd.turns.leave()
    waiting[3].cancel()  # in the moment in which the slot came
    await settled()
    assert crowd.served == ["anna", "anna", "bruno"]
    for _ in range(2):
        await crowd.leave()
    assert [await crowd.come(owner) for owner in ("dora", "emil")]
    assert crowd.served[3:] == ["dora", "emil"]
    assert not (await crowd.come("fritz")).done()
