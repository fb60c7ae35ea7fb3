"""What the store must do for directing: one decision is one transaction."""

import asyncio

import pytest

from pipelines.decisions.situation import Decision
from pipelines.errors import BadInput, NotFound
from pipelines.orders.ad import Variation, vary
from pipelines.records import NewEvent
from pipelines.steps import Message
from pipelines.store.decisions import DirectionStore
from tests.support.directed_world import BRIEF, DirectedWorld

ASKED = NewEvent(kind="regeneration_asked", message="anew")
SAID = (Message(role="user", iteration=1, content="anew"),)


@pytest.fixture
def world(tmp_path, database):
    return DirectedWorld(tmp_path, database)


@pytest.fixture
def store(world):
    return DirectionStore(world.store._database)


async def test_a_decision_that_cannot_be_written_leaves_nothing_of_itself(world, store):
    generation_id = await world.create()
    before = await world.get(generation_id)

    def unwritable(situation):
        return Decision(
            situation.direction, "storyboard", (ASKED,), SAID, outputs={"storyboard": object()}, forgotten=("video",)
        )

    with pytest.raises(Exception, match="serializ"):
        await store.decide("anna", generation_id, unwritable, "direction", False)
    assert await world.get(generation_id) == before
    assert await world.log(generation_id) == await world.store.messages(generation_id) == ()


async def test_decisions_at_the_same_moment_are_taken_one_after_the_other(world, store):
    generation_id = await world.create()
    seen = []

    def decide(situation):
        seen.append(situation.direction.references)
        return Decision(situation.direction, events=(ASKED,), messages=SAID)

    await asyncio.gather(*(store.decide("anna", generation_id, decide, "chat/1", True) for _ in range(5)))
    assert len(seen) == 1, "the others found the message in the log"
    await asyncio.gather(*(store.decide("anna", generation_id, decide, "chat", False) for _ in range(5)))
    assert [event.seq for event in await world.log(generation_id)] == list(range(1, 13))


@pytest.mark.parametrize("status", ["awaiting_approval", "pending"])
async def test_a_cancel_that_comes_while_the_worker_stops_is_not_forgotten(world, status):
    generation_id = await world.create()
    lease = await world.store.claim(generation_id, "one")
    await world.store.cancel("anna", generation_id)
    await world.store.end(lease, status, NewEvent(kind="approval_needed", message="approve"))
    assert (await world.get(generation_id)).status == "cancelled"
    assert (await world.log(generation_id))[-1].kind == "generation_cancelled"


async def test_someone_elses_generation_and_take_are_unknown(world, store):
    generation_id = await world.create()
    with pytest.raises(NotFound, match="no generation"):
        await store.decide("ben", generation_id, lambda situation: Decision(situation.direction), "direction", False)
    with pytest.raises(NotFound, match="no take"):
        await store.take("anna", generation_id, "unknown")


async def test_a_group_compares_briefs_that_differ_in_one_thing(world):
    variations = (Variation(coherence={"use_seed_control": False}), Variation(coherence={"blend_strength": 0.5}))
    briefs = vary(BRIEF, "settings", variations)
    assert {brief.seed for brief in briefs} == {BRIEF.seed}
    group = await world.compare("settings", briefs)
    members = [await world.get(generation_id) for generation_id in group.generation_ids]
    assert [one.brief for one in members] == list(briefs)
    assert {one.generation_group_id for one in members} == {group.id}
    with pytest.raises(NotFound):
        await world.groups.get("ben", group.id)
    with pytest.raises(BadInput, match="has not finished"):
        await world.groups.choose_winner("anna", group.id, members[1].id)
    lease = await world.store.claim(members[1].id, "one")
    await world.store.end(lease, "completed", NewEvent(kind="generation_completed", message="done"))
    await world.groups.choose_winner("anna", group.id, members[1].id)
    assert (await world.groups.get("anna", group.id)).winner_generation_id == members[1].id


@pytest.mark.parametrize(
    ("kind", "variations", "message"),
    [
        ("prompt", (Variation(prompt="an ad for a cup"),), "2 to 10"),
        (
            "prompt",
            (Variation(prompt="an ad for a cup"), Variation(coherence={})),
            r"variations\.1\.coherence: a comparison of prompts",
        ),
        (
            "settings",
            (Variation(prompt="a"), Variation(coherence={})),
            r"variations\.0\.prompt: a comparison of settings",
        ),
        ("settings", (Variation(coherence={}), Variation(coherence={})), "variations.1: the same as variations.0"),
        ("settings", (Variation(coherence={"blur": 1}), Variation(coherence={})), "variations.0.coherence.blur"),
    ],
)
def test_what_cannot_be_compared_is_refused(kind, variations, message):
    with pytest.raises(BadInput, match=message):
        vary(BRIEF, kind, variations)
