"""A store as version 0.1 left it, with rows in every table and files, under this version: read, resumed, backed up."""

from __future__ import annotations

import asyncio
import io
import json
from functools import partial

import pytest
from alembic import command
from sqlalchemy import text

from pipelines.brief import Brief
from pipelines.recipe import Recipe
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.backup import back_up, restore
from pipelines.store.database import Database, sqlite_url
from pipelines.store.generations import GenerationStore
from pipelines.store.ownership import OwnedArtifacts, Quota, used_bytes
from pipelines.store.sweep import Disposal
from tests.support.engine_world import STAGES, EngineWorld, scenes

DONE, HALF, WAITING = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
BRIEF = Brief(prompt="an ad for a steel water bottle", duration=9, seed=1).model_dump(mode="json")
RECIPE = Recipe(name="test", description="", stages=STAGES).model_dump(mode="json")
ADDED_SINCE = {"brief": ("title", "brand_name"), "recipe": ("approvals", "facts", "quality_gate", "drawn_references")}
"""Fields that 0.1 did not know: their defaults stand in for them."""


LATER_KNOBS = ("shared_cutoff", "chain", "cond_lowpass_until", "consistent_attention", "reference_weights")


def without(name, value):
    coherence = {key: each for key, each in value["coherence"].items() if key not in LATER_KNOBS}
    old = {key: each for key, each in value.items() if key not in ADDED_SINCE[name]}
    return {**old, "coherence": {**coherence, "chain_last_frame": name == "brief"}}


def rows(artifacts):
    """What 0.1 wrote for a finished ad, a half-made one whose worker was killed, and one that waits."""
    picture = artifacts.put(b"a keyframe", "image/png")
    film = artifacts.put(b"a film", "video/mp4")
    generation = {
        "user_id": "anna",
        "brief": json.dumps(without("brief", BRIEF)), "recipe": json.dumps(without("recipe", RECIPE)),
        "given": json.dumps({"scenes": scenes().model_dump(mode="json")}), "manifest": "{}", "current_step": None,
        "error_message": None, "cancellation_requested": False, "completed_at": None, "lease_owner": None,
        "lease_expires_at": None, "fence": 0, "last_seq": 0,
    }  # fmt: skip
    yield "generations", generation | {
        "id": DONE, "status": "completed", "progress": 100, "created_at": "2026-01-01 10:00:00+00:00",
        "completed_at": "2026-01-01 10:05:00+00:00", "fence": 2, "last_seq": 1,
    }  # fmt: skip
    yield "generations", generation | {
        "id": HALF, "status": "processing", "progress": 40, "created_at": "2026-01-02 10:00:00+00:00", "fence": 1,
        "lease_owner": "cli-1", "lease_expires_at": "2026-01-02 10:00:30+00:00", "last_seq": 1,
        "current_step": "storyboard/scene-001",
    }  # fmt: skip
    yield "generations", generation | {
        "id": WAITING, "user_id": "bruno", "status": "pending", "progress": 0,
        "created_at": "2026-01-03 10:00:00+00:00",
    }  # fmt: skip
    for generation_id in (DONE, HALF):
        yield "artifacts", {"generation_id": generation_id, **picture.model_dump()}
        yield "events", {
            "generation_id": generation_id, "seq": 1, "kind": "generation_started", "severity": "info", "step": None,
            "scene_number": None, "message": "recipe 'test'", "data": "{}", "created_at": "2026-01-01 10:00:00+00:00",
        }  # fmt: skip
    yield "artifacts", {"generation_id": DONE, **film.model_dump()}
    yield "checkpoints", {
        "generation_id": DONE, "step": "quality/scene-001", "key": "k", "seconds": 2.5,
        "value": '{"scores": [{"metric_id": "vbench.flicker", "scene_number": 1, "raw": 0.5, "reason": null}]}',
        "created_at": "2026-01-01 10:04:00+00:00",
    }  # fmt: skip
    yield "messages", {
        "generation_id": DONE, "step": "story/director-1", "role": "director", "iteration": 1, "scene_number": None,
        "content": "a story", "score": 90.0, "timestamp": "2026-01-01 10:01:00+00:00",
    }  # fmt: skip
    yield "takes", {
        "id": "take", "generation_id": DONE, "kind": "video", "scene_number": None, "artifact": film.sha256,
        "provenance": "{}", "step": "stitch", "key": "k", "position": 0, "created_at": "2026-01-01 10:04:00+00:00",
    }  # fmt: skip
    yield "currents", {"generation_id": DONE, "kind": "video", "scene_number": 0, "take_id": "take"}


def run(statement, row, connection):
    connection.execute(statement, row)


@pytest.fixture
async def old(tmp_path, empty_database_url, monkeypatch):
    """The address of a database under the schema of the first migration, filled."""
    artifacts, database = LocalArtifacts(tmp_path / "artifacts"), Database(empty_database_url)
    with monkeypatch.context() as patch:
        upgrade = command.upgrade
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        await database.migrate()
    for table, row in rows(artifacts):
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        statement = text(f"insert into {table} ({names}) values ({values})")  # noqa: S608
        await database.write(partial(run, statement, row))
    await database.close()
    return empty_database_url


@pytest.fixture
async def database(old):
    database = Database(old)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def world(tmp_path, database):
    return EngineWorld(tmp_path, database)


async def check(world):
    """Everything that 0.1 stored, as this version reads it."""
    store = world.store
    assert await store.list_ids("anna") == (HALF, DONE)
    done = await store.get("anna", DONE)
    assert (done.status, done.progress, done.brief.prompt) == ("completed", 100, BRIEF["prompt"])
    assert (done.completed_at - done.created_at).total_seconds() == 300
    assert done.step_seconds == 2.5
    assert (done.brief.coherence.chain, done.recipe.coherence.chain) == ("last_frame", "none")
    assert [event.message for event in await store.events(DONE)] == ["recipe 'test'"]
    assert [message.content for message in await store.messages(DONE)] == ["a story"]
    (metric,) = await store.quality_metrics(DONE)
    assert (metric.metric_name, metric.metric_value) == ("flicker", 0.5)
    (take,) = await store.takes(DONE)
    assert take.current
    assert world.artifacts.read(take.artifact) == b"a film"
    found = await store._database.fetch(text("select user_id, status, prompt from generation_contract order by id"))
    assert [tuple(row) for row in found] == [
        ("anna", "completed", BRIEF["prompt"]), (*found[1][:2], BRIEF["prompt"]), ("bruno", "pending", BRIEF["prompt"])
    ]  # fmt: skip


async def test_everything_is_there(world):
    await check(world)
    assert (await world.store.get("anna", HALF)).status == "processing"
    assert await OwnedArtifacts(world.store._database).find("anna", (await world.store.takes(DONE))[0].artifact)


async def test_what_was_half_made_and_what_waited_is_made(world):
    for expected in (HALF, WAITING):
        lease, generation = await world.store.claim_next("worker")
        assert generation.id == expected
        state = await world.engine().run_claimed(lease, generation)
        assert state.video.frames > 0
    assert (await world.store.get("anna", HALF)).status == "completed"
    assert [event.seq for event in await world.store.events(HALF)][:2] == [1, 2]


async def test_its_bytes_count_and_it_can_be_deleted(world, database):
    used = await database.write(lambda connection: used_bytes(connection, "anna"))
    assert used > len(b"a keyframe") + len(b"a film") + 2 * len(json.dumps(BRIEF))
    quota = Quota(generations=1, stored_bytes=10**6)
    bruno = GenerationStore(database, quota)
    await bruno.cancel("bruno", WAITING)
    assert await bruno.create("bruno", Brief.model_validate(BRIEF), Recipe.model_validate(RECIPE), {}, {})
    unnamed = await Disposal(database).forget("anna", DONE)
    assert len(unnamed) == 1


async def test_it_can_be_backed_up_as_it_is_and_restored_under_the_new_schema(old, tmp_path):
    archive = io.BytesIO()
    kept = await asyncio.to_thread(back_up, old, LocalArtifacts(tmp_path / "artifacts"), archive)
    assert (kept.rows["generations"], kept.files) == (3, 2)
    archive.seek(0)
    url = sqlite_url(tmp_path / "restored.sqlite")
    await asyncio.to_thread(restore, url, LocalArtifacts(tmp_path / "else" / "artifacts"), archive)
    database = Database(url)
    try:
        world = EngineWorld(tmp_path / "else", database)
        await check(world)
        assert (await world.store.get("anna", HALF)).status == "pending"
    finally:
        await database.close()
