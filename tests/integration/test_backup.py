"""Backup and restore, from and into either database: while others write, after damage, and of half-made ads."""

from __future__ import annotations

import asyncio
import io

import pytest
from sqlalchemy import text

from pipelines.errors import BadInput, NotFound
from pipelines.store.accounts import Accounts
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.backup import back_up, restore
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from pipelines.store.ownership import OwnedArtifacts
from pipelines.store.sweep import Disposal
from tests.support.engine_world import EngineWorld
from tests.support.stored_generations import BRIEF, RECIPE


@pytest.fixture
async def world(tmp_path, database):
    return EngineWorld(tmp_path, database)


@pytest.fixture(params=["sqlite", "postgres"])
def target_url(request, tmp_path):
    """An empty database without a schema."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "restored.sqlite")
        return
    postgres = request.getfixturevalue("postgres")
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


async def backed_up(world, url):
    archive = io.BytesIO()
    kept = await asyncio.to_thread(back_up, url, world.artifacts, archive)
    archive.seek(0)
    return archive, kept


async def half_made(world):
    """An ad that a worker has in hand, with one clip to be made."""
    generation_id = await world.create()
    world.models.wait_in_video_call = 3
    run = asyncio.create_task(world.engine().run("anna", generation_id))
    await world.models.until_waiting()
    return generation_id, run


async def test_a_half_made_ad_goes_on_in_the_restored_store(world, database_url, target_url, tmp_path):
    await Accounts(world.store._database).add_user("anna", "a hash")
    generation_id, run = await half_made(world)
    archive, kept = await backed_up(world, database_url)
    run.cancel()
    await asyncio.wait({run})
    assert (kept.rows["generations"], kept.lost) == (1, ())
    clips = kept.rows["takes"] - 3  # all three keyframes are there
    assert 0 <= clips < 3
    folder = tmp_path / "elsewhere"
    await asyncio.to_thread(restore, target_url, LocalArtifacts(folder / "artifacts"), archive)
    database = Database(target_url)
    try:
        await database.migrate()
        other = EngineWorld(folder, database)
        before = await other.store.get("anna", generation_id)
        assert (before.status, before.brief) == ("pending", (await world.store.get("anna", generation_id)).brief)
        assert [user.username for user in await Accounts(database).users()] == ["anna"]
        state = await other.engine().run("anna", generation_id)
        assert (len(other.models.images), len(other.models.videos)) == (0, 3 - clips)
        assert state.video.frames > 0
        seqs = [event.seq for event in await other.store.events(generation_id)]
        assert seqs == list(range(1, len(seqs) + 1))
        spoken = await database.fetch(text("select * from generation_contract"))
        assert len(spoken) == 1
    finally:
        await database.close()


async def test_a_backup_is_one_moment_however_much_is_written_meanwhile(world, database_url, target_url, tmp_path):
    ids = [await world.store.create("anna", BRIEF, RECIPE, {}, {}) for _ in range(20)]
    done = asyncio.Event()

    async def write():
        while not done.is_set():
            await world.store.cancel("anna", ids[0])
            await world.store.create("bruno", BRIEF, RECIPE, {}, {})

    writing = asyncio.create_task(write())
    archives = [(await backed_up(world, database_url))[0] for _ in range(3)]
    done.set()
    await writing
    await asyncio.to_thread(restore, target_url, LocalArtifacts(tmp_path / "else"), archives[-1])
    database = Database(target_url)
    store = GenerationStore(database)
    assert sorted(await store.list_ids("anna")) == sorted(ids)
    for generation_id in await store.list_ids("bruno"):
        assert (await store.get("bruno", generation_id)).status == "pending"
    await database.close()


async def test_what_is_deleted_while_the_backup_is_taken_is_not_in_it(world, database_url, target_url, tmp_path):
    generation_id = await world.create()
    await world.engine().run("anna", generation_id)
    kept_id = await world.store.create("anna", BRIEF, RECIPE, {}, {}, parent_generation_id=generation_id)
    single = world.artifacts.put(b"a picture", "image/png")
    await OwnedArtifacts(world.store._database).record("anna", single)
    loop, read = asyncio.get_running_loop(), world.artifacts.read

    async def delete():
        disposal = Disposal(world.store._database)
        for sha256 in await disposal.forget("anna", generation_id):
            world.artifacts.path(sha256).unlink()
        await disposal.forget_file("anna", single.sha256)
        world.artifacts.path(single.sha256).unlink()

    def first_delete(sha256):
        if world.artifacts.path(sha256).exists():
            asyncio.run_coroutine_threadsafe(delete(), loop).result()
        return read(sha256)

    world.artifacts.read = first_delete
    archive, kept = await backed_up(world, database_url)
    assert (kept.files, kept.lost) == (0, ())
    await asyncio.to_thread(restore, target_url, LocalArtifacts(tmp_path / "else"), archive)
    database = Database(target_url)
    assert await GenerationStore(database).list_ids("anna") == (kept_id,)
    assert await OwnedArtifacts(database).page("anna", None, 5) == ()
    for table in ("events", "takes", "checkpoints", "currents", "artifacts", "stage_outputs"):
        assert (await database.fetch(text(f"select count(*) from {table}")))[0][0] == 0, table  # noqa: S608
    await database.close()


async def test_damaged_files_are_named_and_made_again_after_the_restore(world, database_url, tmp_path):
    generation_id = await world.create()
    first = await world.engine().run("anna", generation_id)
    world.artifacts.path(first.video.artifact).write_bytes(b"cut off")
    archive, kept = await backed_up(world, database_url)
    assert kept.lost == (first.video.artifact,)
    url = sqlite_url(tmp_path / "restored.sqlite")
    restored = await asyncio.to_thread(restore, url, LocalArtifacts(tmp_path / "else" / "artifacts"), archive)
    assert restored.lost == kept.lost
    database = Database(url)
    other = EngineWorld(tmp_path / "else", database)
    assert (await other.engine().run("anna", generation_id)).video == first.video
    assert other.artifacts.is_whole(first.video.artifact)
    assert not other.models.videos
    await database.close()


async def test_a_backup_that_is_not_whole_changes_nothing(world, database_url, tmp_path):
    generation_id = await world.create()
    await world.engine().run("anna", generation_id)
    archive, _ = await backed_up(world, database_url)
    whole = archive.getvalue()
    step = len(whole) // 12
    cuts = [whole[:end] for end in range(0, len(whole) - 10_240, step)]
    flips = [
        whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        for place in (whole.index(b'"prompt"') + 3, whole.index(b"\x89PNG") + 20, 520)
    ]
    url = sqlite_url(tmp_path / "kept.sqlite")
    kept = Database(url)
    await kept.migrate()
    mine = await GenerationStore(kept).create("bruno", BRIEF, RECIPE, {}, {})
    for damaged in (*cuts, *flips, b"", b"no tar at all" * 100):
        with pytest.raises(BadInput):
            await asyncio.to_thread(restore, url, LocalArtifacts(tmp_path / "else"), io.BytesIO(damaged), replace=True)
        assert await GenerationStore(kept).list_ids("bruno") == (mine,)
    await kept.close()


async def test_a_store_that_holds_something_is_only_replaced_when_told_to(world, database_url, tmp_path):
    generation_id = await world.create()
    archive, _ = await backed_up(world, database_url)
    artifacts = LocalArtifacts(tmp_path / "else")
    with pytest.raises(BadInput, match="is not empty"):
        await asyncio.to_thread(restore, database_url, artifacts, archive)
    later = await world.store.create("anna", BRIEF, RECIPE, {}, {})
    archive.seek(0)
    await asyncio.to_thread(restore, database_url, artifacts, archive, replace=True)
    assert await world.store.list_ids("anna") == (generation_id,)
    with pytest.raises(NotFound):
        await world.store.get("anna", later)


@pytest.mark.parametrize("schema", ["9999", "abc"])
async def test_a_backup_of_a_newer_version_is_refused(world, database_url, tmp_path, schema):
    await world.create()
    archive, _ = await backed_up(world, database_url)
    (found,) = await world.store._database.fetch(text("select version_num from alembic_version"))
    newer = archive.getvalue().replace(f'"schema": "{found.version_num}"'.encode(), f'"schema":"{schema:>5}"'.encode())
    url = sqlite_url(tmp_path / "restored.sqlite")
    with pytest.raises(BadInput, match="newer version"):
        await asyncio.to_thread(restore, url, LocalArtifacts(tmp_path / "else"), io.BytesIO(newer))


async def test_a_database_without_a_schema_has_nothing_to_back_up(tmp_path):
    with pytest.raises(BadInput, match="nothing to back up"):
        back_up(sqlite_url(tmp_path / "new.sqlite"), LocalArtifacts(tmp_path), io.BytesIO())
