"""Taking orders and forgetting them in the store: once per name, under the quota, and no file that others name."""

import asyncio

import pytest

from pipelines.brief import Brief
from pipelines.errors import KeyReused, NotFound, QuotaExceeded
from pipelines.recipe import Recipe
from pipelines.records import NewGeneration, RequestKey
from pipelines.steps import StoredArtifact
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import Accepted, Intake
from pipelines.store.ownership import OwnedArtifacts, Quota
from pipelines.store.sweep import Disposal

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


async def test_a_name_goes_with_what_it_made(intake, database):
    first = await intake.generation("anna", order(), key())
    await Disposal(database).forget("anna", first.id)
    second = await intake.generation("anna", order(1), key(fingerprint="g"))
    assert not second.repeated


async def test_a_group_that_is_too_much_is_not_begun(database):
    intake = Intake(database, Quota(generations=2, stored_bytes=1000))
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
