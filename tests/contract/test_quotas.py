"""What one user may have, under many requests at once."""

import asyncio

import pytest

from pipelines.errors import QuotaExceeded
from pipelines.records import NewEvent
from pipelines.steps import StoredArtifact
from pipelines.store.generations import GenerationStore
from pipelines.store.ownership import OwnedArtifacts, Quota
from tests.support.stored_generations import BRIEF, RECIPE

DONE = NewEvent(kind="generation_completed", message="done")
QUOTA = Quota(generations=2, stored_bytes=100)


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


async def test_stored_bytes_are_bounded_each_hash_counting_once(store, owners):
    await owners.record("anna", stored("a", 60))
    await owners.record("anna", stored("a", 60))
    with pytest.raises(QuotaExceeded, match="60 bytes stored, of 100"):
        await owners.record("anna", stored("b", 41))
    with pytest.raises(QuotaExceeded):
        await owners.check_room("anna", 41)
    await owners.check_room("anna", 40)
    await owners.record("anna", stored("b", 40))
    await owners.record("bruno", stored("a", 60))
    with pytest.raises(QuotaExceeded) as refused:
        await create(store)
    assert refused.value.quota == "bytes"
    await create(store, "bruno")


async def test_of_many_uploads_at_once_no_more_than_the_quota_are_recorded(owners):
    each = [owners.record("anna", stored(name, 30)) for name in "0123456789"]
    done = await asyncio.gather(*each, return_exceptions=True)
    assert done.count(None) == 3
    assert {type(error) for error in done if error} == {QuotaExceeded}


async def test_a_store_without_a_quota_has_no_bound(database):
    store = GenerationStore(database)
    for _ in range(5):
        await create(store)
