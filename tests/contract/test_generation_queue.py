"""The queue of the generation store: who is next, who waits where, what a cancel does."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from pipelines.errors import Busy, LeaseLost, NotFound
from pipelines.recipe import Recipe
from pipelines.records import NewEvent
from pipelines.steps import Step, StepOutput
from pipelines.store.generations import LOST_WORKERS
from pipelines.store.tables import generations
from tests.support.stored_generations import BRIEF, RECIPE

OTHER = Recipe(name="other", description="", stages=("storyboard",))
DONE = NewEvent(kind="generation_completed", message="done")


async def nothing(desk):
    return StepOutput(value={})


@pytest.fixture
async def three(store):
    return [await store.create("anna", BRIEF, RECIPE, {}, {}) for _ in range(3)]


async def test_generations_are_claimed_in_the_order_in_which_they_came(store, three):
    claimed = [await store.claim_next("one") for _ in range(4)]
    assert [pair[0].generation_id for pair in claimed if pair] == three
    assert claimed[3] is None


async def test_the_position_counts_down_to_one_and_ends_with_the_claim(store, three):
    assert [await store.queue_position(one) for one in three] == [1, 2, 3]
    await store.claim_next("one")
    assert [await store.queue_position(one) for one in three] == [None, 1, 2]
    assert await store.count_waiting() == 2


async def test_a_dead_workers_generation_is_claimed_again_and_a_live_ones_is_not(store, database, three):
    for _ in three:
        await store.claim_next("one")
    assert await store.claim_next("two") is None
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    over = update(generations).where(generations.c.id == three[1]).values(lease_expires_at=long_ago)
    await database.write(lambda connection: connection.execute(over))
    lease, generation = await store.claim_next("two")
    assert (lease.generation_id, lease.owner, generation.id) == (three[1], "two", three[1])


async def test_a_generation_that_kills_every_worker_is_given_up_and_the_next_one_runs(store, database, three):
    over = update(generations).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    for worker in range(LOST_WORKERS):
        lease, _ = await store.claim_next(str(worker))
        assert lease.generation_id == three[0]
        await database.write(lambda connection: connection.execute(over))
    lease, _ = await store.claim_next("next")
    assert lease.generation_id == three[1]
    ended = await store.get("anna", three[0])
    assert (ended.status, ended.error_message) == ("failed", (await store.events(three[0]))[-1].message)
    assert "5 workers died one after the other" in ended.error_message


async def test_a_generation_that_gets_further_may_lose_any_number_of_workers(store, database, three):
    over = update(generations).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    for number in range(2 * LOST_WORKERS):
        lease, _ = await store.claim_next("one")
        assert lease.generation_id == three[0]
        if number % (LOST_WORKERS - 1) == 0:
            step = Step(name=f"story/{number}", inputs={}, work=nothing)
            await store.commit_step(lease, step, await nothing(None), 1.0, DONE)
        await database.write(lambda connection: connection.execute(over))


async def test_owners_take_turns(store):
    anna = [await store.create("anna", BRIEF, RECIPE, {}, {}) for _ in range(3)]
    bruno = [await store.create("bruno", BRIEF, RECIPE, {}, {}) for _ in range(2)]
    carla = await store.create("carla", BRIEF, RECIPE, {}, {})
    expected = [anna[0], bruno[0], carla, anna[1], bruno[1], anna[2]]
    places = {one: await store.queue_position(one) for one in expected}
    assert places == {one: place for place, one in enumerate(expected, start=1)}
    claimed = [await store.claim_next("one") for _ in expected]
    assert [lease.generation_id for lease, _ in claimed] == expected


async def test_owners_take_turns_where_one_runs_at_a_time(store):
    """Nothing runs when the next is chosen, so the owner who was served longest ago goes first."""
    served = []
    for owner in ("anna", "anna", "anna", "bruno", "bruno"):
        await store.create(owner, BRIEF, RECIPE, {}, {})
    while (claimed := await store.claim_next("one")) is not None:
        lease, generation = claimed
        served.append(generation.user_id)
        await store.end(lease, "completed", DONE)
    assert served == ["anna", "bruno", "anna", "bruno", "anna"]


@pytest.mark.parametrize("clock_back", [timedelta(hours=1), timedelta(days=400)])
async def test_a_lease_given_before_the_clock_was_set_back_is_no_longer_than_any_other(store, database, clock_back):
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    await store.claim_next("dead")
    await set_lease(database, generation_id, datetime.now(UTC) + clock_back)
    assert await store.claim_next("next") is None
    (row,) = await database.fetch(select(generations.c.lease_expires_at))
    assert row.lease_expires_at <= datetime.now(UTC) + timedelta(seconds=store.lease_seconds)
    await set_lease(database, generation_id, datetime.now(UTC) - timedelta(seconds=1))
    assert (await store.claim_next("next"))[0].generation_id == generation_id


async def test_a_living_worker_keeps_its_generation_when_the_clock_is_set_back(store, database):
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    lease, _ = await store.claim_next("one")
    await set_lease(database, generation_id, datetime.now(UTC) + timedelta(hours=1))
    assert await store.claim_next("two") is None
    assert not await store.renew(lease)
    await store.append(lease, DONE)


@pytest.mark.parametrize("away", [timedelta(seconds=-1), timedelta(hours=1)], ids=["over", "clock set back"])
async def test_cancelling_what_no_living_worker_has_ends_it_at_once(store, database, away):
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    lease, _ = await store.claim_next("dead")
    await set_lease(database, generation_id, datetime.now(UTC) + away)
    assert (await store.cancel("anna", generation_id)).status == "cancelled"
    assert (await store.events(generation_id))[-1].kind == "generation_cancelled"
    assert await store.claim_next("next") is None
    with pytest.raises(LeaseLost):
        await store.append(lease, DONE)


async def test_what_was_to_be_cancelled_when_its_worker_died_is_not_run_again(store, database):
    generation_id = await store.create("anna", BRIEF, RECIPE, {}, {})
    await store.claim_next("dead")
    await store.cancel("anna", generation_id)
    await set_lease(database, generation_id, datetime.now(UTC) - timedelta(seconds=1))
    assert await store.claim_next("next") is None
    assert (await store.get("anna", generation_id)).status == "cancelled"


async def set_lease(database, generation_id, expires):
    change = update(generations).where(generations.c.id == generation_id).values(lease_expires_at=expires)
    await database.write(lambda connection: connection.execute(change))


async def test_what_waits_is_cancelled_at_once_and_never_claimed(store, three):
    assert (await store.cancel("anna", three[0])).status == "cancelled"
    assert (await store.events(three[0]))[-1].kind == "generation_cancelled"
    lease, _ = await store.claim_next("one")
    assert lease.generation_id == three[1]


async def test_what_runs_is_only_asked_to_stop(store, three):
    await store.claim_next("one")
    assert (await store.cancel("anna", three[0])).status == "processing"
    assert await store.cancels_requested(three) == (three[0],)


async def test_a_finished_generation_stays_finished_when_it_is_cancelled(store, three):
    lease, _ = await store.claim_next("one")
    await store.end(lease, "completed", DONE)
    assert (await store.cancel("anna", three[0])).status == "completed"


async def test_pages_are_of_one_owner_and_one_recipe_and_go_on_after_an_id(store, three):
    other = await store.create("anna", BRIEF, OTHER, {}, {})
    await store.create("ben", BRIEF, RECIPE, {}, {})
    newest = await store.page("anna", None, None, 10)
    assert [one.id for one in newest] == [other, *reversed(three)]
    assert [one.id for one in await store.page("anna", "test", None, 2)] == [three[2], three[1]]
    assert [one.id for one in await store.page("anna", "test", three[1], 2)] == [three[0]]
    assert [one.id for one in await store.page("anna", "test", three[0], 5, newest_first=False)] == three[1:]
    with pytest.raises(NotFound):
        await store.page("ben", None, three[0], 5)


async def test_a_deleted_generation_is_gone_and_a_running_one_is_not_deleted(store, three):
    await store.claim_next("one")
    with pytest.raises(Busy, match="cancel it first"):
        await store.delete("anna", three[0])
    with pytest.raises(NotFound):
        await store.delete("ben", three[1])
    await store.delete("anna", three[1])
    with pytest.raises(NotFound):
        await store.get("anna", three[1])
