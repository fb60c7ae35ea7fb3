"""Whose an artifact is: recorded by its owner, or made by a generation of theirs; for others it does not exist."""

import asyncio

import pytest

from pipelines.errors import NotFound
from pipelines.steps import StoredArtifact
from pipelines.store.ownership import OwnedArtifacts
from tests.support.stored_generations import EVENT, output, step

PICTURE = StoredArtifact(sha256="b" * 64, media_type="image/png", size=7)


@pytest.fixture
def owned(database):
    return OwnedArtifacts(database)


async def test_what_is_recorded_is_found_by_its_owner_alone(owned):
    await owned.record("anna", PICTURE)
    assert await owned.find("anna", PICTURE.sha256) == PICTURE
    with pytest.raises(NotFound):
        await owned.find("bert", PICTURE.sha256)


async def test_the_same_bytes_may_belong_to_several(owned):
    await owned.record("anna", PICTURE)
    await owned.record("bert", PICTURE)
    assert await owned.find("bert", PICTURE.sha256) == PICTURE


async def test_recording_twice_at_once_changes_nothing(owned):
    await asyncio.gather(*(owned.record("anna", PICTURE) for _ in range(4)))
    assert await owned.find("anna", PICTURE.sha256) == PICTURE


async def test_what_a_generation_made_belongs_to_its_owner(owned, store, generation_id):
    lease = await store.claim(generation_id, "worker")
    await store.commit_step(lease, step(), output(), 1.0, EVENT)
    assert (await owned.find("anna", "a" * 64)).media_type == "image/png"
    with pytest.raises(NotFound):
        await owned.find("bert", "a" * 64)


async def test_an_artifact_goes_with_its_generation_unless_it_was_recorded(owned, store, generation_id):
    lease = await store.claim(generation_id, "worker")
    await store.commit_step(lease, step(), output(), 1.0, EVENT)
    await store.end(lease, "completed", EVENT)
    await store.delete("anna", generation_id)
    with pytest.raises(NotFound):
        await owned.find("anna", "a" * 64)
