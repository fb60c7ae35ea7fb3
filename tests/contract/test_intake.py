"""Taking orders and forgetting them in the store: once per name, under the quota, and no file that others name."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from pipelines.brief import Brief
from pipelines.errors import Gone, KeyReused, NotFound, QuotaExceeded, TooManyWaiting
from pipelines.recipe import Recipe
from pipelines.records import NewGeneration, RequestKey
from pipelines.steps import StoredArtifact
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import Accepted, Intake
from pipelines.store.ownership import OwnedArtifacts, Quota
from pipelines.store.queue import QueueLimit
from pipelines.store.request_keys import REMEMBERED, request_keys
from pipelines.store.sweep import Disposal
from pipelines.store.tables import generations
from pipelines.store.transaction import now

RECIPE = Recipe(name="express", description="", stages=("story", "scenes"))
PICTURES = tuple(StoredArtifact(sha256=letter * 64, media_type="image/png", size=10) for letter in "abc")


def order(seed=0, artifacts=()):
    return NewGeneration(Brief(prompt="an ad for a bottle", duration=9, seed=seed), RECIPE, {}, {}, artifacts)


def key(name="idempotency:one", fingerprint="f"):
    return (RequestKey(name, fingerprint),)


@pytest.fixture
def intake(database):
    return Intake(database)


async def count(database, user="anna"):
    return (await GenerationIndex(database).page(user, 100, 0))[1]


async def test_orders_that_come_at_once_under_one_name_are_one(intake, database):
    made = await asyncio.gather(*(intake.generation("anna", order(), key()) for _ in range(8)))
    assert len({one.id for one in made}) == 1
    assert [one.repeated for one in made].count(False) == 1
    assert await count(database) == 1


async def test_a_name_belongs_to_its_owner(intake, database):
    hers = await intake.generation("anna", order(), key())
    his = await intake.generation("bruno", order(), key())
    assert hers.id != his.id
    with pytest.raises(NotFound):
        await intake.find("carla", "idempotency:one")


async def test_another_order_under_the_same_name_is_refused_and_changes_nothing(intake, database):
    await intake.generation("anna", order(), key())
    with pytest.raises(KeyReused, match="one"):
        await intake.generation("anna", order(1), key(fingerprint="g"))
    with pytest.raises(KeyReused):
        await intake.group("anna", "settings", (order(), order(1)), key(fingerprint="g"))
    assert await count(database) == 1


async def test_either_of_two_names_finds_the_order(intake):
    first = await intake.generation("anna", order(), (*key(), *key("client:mine")))
    assert await intake.find("anna", "client:mine") == first.id
    assert await intake.known("anna", key("client:mine")) == first.id
    assert await intake.generation("anna", order(), key("client:mine")) == Accepted(first.id, repeated=True)


@pytest.mark.parametrize("grouped", [False, True], ids=["generation", "group"])
async def test_a_late_retry_of_what_was_deleted_makes_nothing_anew_for_a_day(intake, database, grouped):
    def ask(seed=0, **named):
        if grouped:
            return intake.group("anna", "settings", (order(seed), order(seed + 1)), key(**named))
        return intake.generation("anna", order(seed), key(**named))

    await ask()
    for one in await database.fetch(select(generations.c.id)):
        await Disposal(database).forget("anna", one.id)
    with pytest.raises(Gone, match="was deleted"):
        await ask()
    with pytest.raises(Gone):
        await intake.known("anna", key())
    with pytest.raises(KeyReused):
        await ask(1, fingerprint="g")
    assert await count(database) == 0
    long_ago = update(request_keys).values(gone_at=now() - REMEMBERED - timedelta(seconds=1))
    await database.write(lambda connection: connection.execute(long_ago))
    assert not (await ask()).repeated
    assert (await ask()).repeated


async def test_names_of_what_was_deleted_are_forgotten_after_a_day(intake, database):
    made = await intake.generation("anna", order(), key())
    await Disposal(database).forget("anna", made.id)
    await Disposal(database).forget_requests()
    assert len(await database.fetch(select(request_keys))) == 1
    long_ago = update(request_keys).values(gone_at=now() - REMEMBERED - timedelta(seconds=1))
    await database.write(lambda connection: connection.execute(long_ago))
    await Disposal(database).forget_requests()
    assert not await database.fetch(select(request_keys))


async def test_of_many_orders_at_once_no_more_than_the_queue_takes_are_taken_in(database):
    intake = Intake(database, queue_limit=QueueLimit(waiting=3, retry_after_seconds=7))
    made = await asyncio.gather(*(intake.generation("anna", order()) for _ in range(8)), return_exceptions=True)
    refused = [each for each in made if isinstance(each, TooManyWaiting)]
    assert await count(database) == 3
    assert [each.retry_after for each in refused] == [7] * 5


async def test_a_queue_that_others_fill_has_room_for_an_owners_share(database):
    intake = Intake(database, queue_limit=QueueLimit(waiting=4, retry_after_seconds=7))
    for owner in ("anna", "bruno"):
        for _ in range(2):
            await intake.generation(owner, order())
    await intake.generation("carla", order())
    for owner in ("anna", "bruno", "carla"):
        with pytest.raises(TooManyWaiting, match="5 generations wait already"):
            await intake.generation(owner, order())


async def test_a_group_that_is_too_much_is_not_begun(database):
    intake = Intake(database, Quota(generations=2, stored_bytes=100_000))
    with pytest.raises(QuotaExceeded):
        await intake.group("anna", "settings", tuple(order(seed) for seed in range(3)))
    assert await count(database) == 0
    assert (await intake.group("anna", "settings", tuple(order(seed) for seed in range(2)))).id


async def test_a_parent_must_be_ones_own(intake, database):
    hers = await intake.generation("anna", order())
    with pytest.raises(NotFound):
        await intake.generation("bruno", NewGeneration(order().brief, RECIPE, {}, {}, (), hers.id))
    assert await count(database, "bruno") == 0


async def test_forgetting_names_only_the_files_that_nobody_else_does(intake, database):
    first = await intake.generation("anna", order(0, PICTURES))
    await intake.generation("bruno", order(0, PICTURES[:1]))
    await OwnedArtifacts(database).record("carla", PICTURES[1])
    assert await Disposal(database).forget("anna", first.id) == {PICTURES[2].sha256}
    with pytest.raises(NotFound):
        await GenerationStore(database).get("anna", first.id)


async def test_forgetting_someone_elses_is_forgetting_nothing(intake, database):
    hers = await intake.generation("anna", order(0, PICTURES))
    with pytest.raises(NotFound):
        await Disposal(database).forget("bruno", hers.id)
    assert await count(database) == 1
