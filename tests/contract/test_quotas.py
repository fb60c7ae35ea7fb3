"""What one user may have, under many requests at once."""

import asyncio

import pytest

from pipelines.decisions.service import Directions
from pipelines.decisions.situation import Decision
from pipelines.errors import QuotaExceeded
from pipelines.records import NewEvent
from pipelines.steps import Message, StoredArtifact
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.decisions import DirectionStore
from pipelines.store.generations import GenerationStore
from pipelines.store.ownership import OwnedArtifacts, Quota, used_bytes
from tests.support.stored_generations import BRIEF, RECIPE, output, step

DONE = NewEvent(kind="generation_completed", message="done")
QUOTA = Quota(generations=2, stored_bytes=100_000, stored_generations=6)


@pytest.fixture
def store(database):
    return GenerationStore(database, QUOTA)


@pytest.fixture
def owners(database):
    return OwnedArtifacts(database, QUOTA)


def create(store, user="anna"):
    return store.create(user, BRIEF, RECIPE, {}, {})


def stored(name: str, size: int) -> StoredArtifact:
    return StoredArtifact(sha256=name * 64, media_type="image/png", size=size)


async def test_a_user_has_so_many_generations_in_progress_and_others_have_theirs(store):
    first = await create(store)
    await create(store)
    with pytest.raises(QuotaExceeded, match="2 of your generations wait or run, of 2") as refused:
        await create(store)
    assert (refused.value.quota, refused.value.used, refused.value.limit) == ("generations", 2, 2)
    await create(store, "bruno")
    await store.cancel("anna", first)
    await create(store)


async def test_a_running_generation_counts_and_a_finished_one_does_not(store):
    await create(store)
    lease, _ = await store.claim_next("worker")
    await create(store)
    with pytest.raises(QuotaExceeded):
        await create(store)
    await store.end(lease, "completed", DONE)
    await create(store)


async def test_of_many_created_at_once_no_more_than_the_quota_are(store):
    made = await asyncio.gather(*(create(store) for _ in range(8)), return_exceptions=True)
    assert [type(each) for each in made if not isinstance(each, str)] == [QuotaExceeded] * 6


async def test_a_generation_that_waits_for_approval_counts(store):
    await create(store)
    lease, _ = await store.claim_next("worker")
    await store.end(lease, "awaiting_approval", DONE)
    await create(store)
    with pytest.raises(QuotaExceeded, match="2 of your generations"):
        await create(store)


async def test_resuming_what_ended_is_one_more_in_progress(store, database, tmp_path):
    owner = Directions(DirectionStore(database, QUOTA), LocalArtifacts(tmp_path))
    first = await create(store)
    await store.cancel("anna", first)
    second, _ = await create(store), await create(store)
    with pytest.raises(QuotaExceeded, match="2 of your generations"):
        await owner.resume("anna", first)
    assert (await store.get("anna", first)).status == "cancelled"
    await store.cancel("anna", second)
    assert (await owner.resume("anna", first)).status == "pending"


async def test_ended_generations_are_bounded_too(store):
    for _ in range(6):
        await store.cancel("anna", await create(store))
    with pytest.raises(QuotaExceeded, match="6 generations, of 6") as refused:
        await create(store)
    assert refused.value.quota == "stored_generations"
    await create(store, "bruno")


async def test_rows_count_as_bytes_also_those_of_cancelled_generations(store, database):
    """An order may hold a storyboard of megabytes, and cancelling it frees nothing."""
    storyboard = {"scenes": {"scenes": [{"action": "x" * 30_000}]}}
    for _ in range(3):
        await store.cancel("anna", await store.create("anna", BRIEF, RECIPE, storyboard, {}))
    with pytest.raises(QuotaExceeded) as refused:
        await store.create("anna", BRIEF, RECIPE, storyboard, {})
    assert refused.value.quota == "bytes"
    assert 90_000 < refused.value.used < 100_000
    await store.delete("anna", (await store.list_ids("anna"))[0])
    await store.create("anna", BRIEF, RECIPE, storyboard, {})


async def test_what_a_running_generation_writes_counts(store, database, owners):
    generation_id = await create(store)
    lease, _ = await store.claim_next("worker")
    text = "x" * 10_000

    async def used():
        return await database.write(lambda connection: used_bytes(connection, "anna"))

    before = await used()
    await store.append(lease, NewEvent(kind="notice", message=text))
    await store.commit_step(lease, step(), output(value=text), 2.5, DONE)
    await store.finish_stage(lease, "story", {"text": text})
    await store.finish_stage(lease, "story", {"text": text})  # in place of the first
    assert 30_000 < await used() - before < 33_000
    assert (await store.get("anna", generation_id)).step_seconds == 2.5


async def test_talk_and_uploads_of_a_session_are_bounded(store, database):
    generation_id = await create(store)
    lease, _ = await store.claim_next("worker")
    await store.end(lease, "awaiting_approval", DONE)
    owner = DirectionStore(database, QUOTA)

    def says(situation):
        said = Message(role="user", iteration=0, content="x" * 20_000)
        return Decision(direction=situation.direction, messages=(said,))

    with pytest.raises(QuotaExceeded):
        for number in range(5):
            await owner.decide("anna", generation_id, says, f"say/{number}", once=False)
    assert 1 < len(await store.messages(generation_id)) < 5
    assert await owner.decide("anna", generation_id, lambda one: Decision(direction=one.direction), "yes", once=False)


async def test_stored_bytes_are_bounded_each_hash_counting_once(store, owners):
    await owners.record("anna", stored("a", 60_000))
    await owners.record("anna", stored("a", 60_000))
    with pytest.raises(QuotaExceeded, match="60000 bytes stored, of 100000"):
        await owners.record("anna", stored("b", 41_000))
    with pytest.raises(QuotaExceeded):
        await owners.check_room("anna", 41_000)
    await owners.check_room("anna", 40_000)
    await owners.record("anna", stored("b", 40_000))
    await owners.record("bruno", stored("a", 60_000))
    with pytest.raises(QuotaExceeded) as refused:
        await create(store)
    assert refused.value.quota == "bytes"
    await create(store, "bruno")


async def test_of_many_uploads_at_once_no_more_than_the_quota_are_recorded(owners):
    each = [owners.record("anna", stored(name, 30_000)) for name in "0123456789"]
    done = await asyncio.gather(*each, return_exceptions=True)
    assert done.count(None) == 3
    assert {type(error) for error in done if error} == {QuotaExceeded}


async def test_a_store_without_a_quota_has_no_bound(database):
    store = GenerationStore(database)
    for _ in range(5):
        await create(store)
