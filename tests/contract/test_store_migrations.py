"""The schema on both databases: the same as the tables say, made once however many ask, and no row lost on the way."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import IntegrityError

from pipelines.errors import Gone
from pipelines.records import RequestKey
from pipelines.store.account_tables import users
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database
from pipelines.store.generations import GenerationStore
from pipelines.store.intake import Intake
from pipelines.store.request_keys import request_keys
from pipelines.store.sweep import Disposal
from pipelines.store.tables import metadata
from quality.score import Score
from tests.support.program import Program
from tests.support.stored_generations import BRIEF, RECIPE

assert users.metadata is request_keys.metadata is metadata, "all tables are described in one place"
GENERATION = (
    "insert into generations (id, user_id, brief, recipe, given, manifest, status, progress, cancellation_requested,"
    " created_at, fence, last_seq) values ('g', 'anna', '{}', '{}', '{}', '{}', 'completed', 100, false,"
    " '2026-01-01', 1, 1)"
)
EVENT = (
    "insert into events (generation_id, seq, kind, severity, message, data, created_at)"
    " values ('g', 1, 'generation_completed', 'info', 'done', '{}', '2026-01-01')"
)
CHECKPOINT = (
    "insert into checkpoints (generation_id, step, key, value, seconds, created_at)"
    " values ('g', 'quality/scene-001', :key, :value, 1, :time)"
)
MIGRATE = """
import asyncio, sys
from pipelines.store.database import Database

async def migrate():
    database = Database(sys.argv[1])
    await database.migrate()
    await database.close()

asyncio.run(migrate())
"""


@asynccontextmanager
async def opened(url):
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def migrate_to(database, revision, monkeypatch):
    with monkeypatch.context() as patch:
        upgrade = command.upgrade
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, revision))
        await database.migrate()


async def execute(database, *statements, **values):
    await database.write(lambda connection: [connection.execute(text(each), values) for each in statements])


async def test_the_migrations_make_the_schema_that_the_tables_describe(database):
    assert await database.write(_differences) == []


def _differences(connection):
    found = compare_metadata(MigrationContext.configure(connection), metadata)
    inspector = inspect(connection)
    for table in metadata.sorted_tables:  # what Alembic does not compare
        described = {str(each.name) for each in table.constraints if isinstance(each, CheckConstraint)}
        made = {each["name"] for each in inspector.get_check_constraints(table.name)}
        if described != made:
            found.append((table.name, described, made))
    return found


async def test_an_older_database_keeps_every_row_and_takes_the_new_status(empty_database_url, monkeypatch):
    async with opened(empty_database_url) as database:
        await migrate_to(database, "0003", monkeypatch)
        await execute(database, GENERATION, EVENT)
        await database.migrate()
        assert (await database.fetch(text("select count(*) from events")))[0][0] == 1
        row = await database.fetch_first(text("select status, cast(direction as varchar) from generations"))
        assert tuple(row) == ("completed", "{}")
        await execute(database, "update generations set status = 'awaiting_approval'")
        with pytest.raises(IntegrityError, match="ck_generations_status"):
            await execute(database, "update generations set status = 'odd'")


async def test_the_scores_of_older_generations_become_metrics(empty_database_url, monkeypatch):
    score = '{{"scores": [{{"metric_id": "vbench.flicker", "scene_number": 1, "raw": {}, "reason": null}}]}}'
    async with opened(empty_database_url) as database:
        await migrate_to(database, "0005", monkeypatch)
        await execute(database, GENERATION)
        for number, time in enumerate(("2026-01-01", "2026-01-02")):
            row = {"key": str(number), "value": score.format(number)}
            await execute(database, CHECKPOINT.replace(":time", f"'{time} 00:00:00+00'"), **row)
        await database.migrate()
        metrics = await GenerationStore(database).quality_metrics("g")
        assert [(each.metric_name, each.scene_number, each.metric_value) for each in metrics] == [("flicker", 1, 1.0)]


async def test_stored_scores_take_todays_labels_and_one_that_was_not_finite_a_reason(empty_database_url, monkeypatch):
    flicker = {"metric_id": "vbench.temporal_flickering", "impl_id": "temporal_flickering@1", "scene_number": 1}
    scores = [
        flicker | {"protocol": "short", "fidelity": "vbench_like", "raw": 0.5, "reason": None},
        flicker | {"protocol": "short", "fidelity": "classical", "raw": None, "reason": None},
    ]
    async with opened(empty_database_url) as database:
        await migrate_to(database, "0009", monkeypatch)
        await execute(database, GENERATION)
        at = CHECKPOINT.replace(":time", "'2026-01-01 00:00:00+00'")
        await execute(database, at, key="k", value=json.dumps({"scores": scores}))
        stage = "insert into stage_outputs values ('g', 'quality', :value, '2026-01-01 00:00:00+00')"
        await execute(database, stage, value=json.dumps(scores))
        await database.migrate()
        of_steps = await database.fetch_first(text("select cast(value as varchar) from checkpoints"))
        of_stage = await database.fetch_first(text("select cast(value as varchar) from stage_outputs"))
    for found in (json.loads(of_steps[0])["scores"], json.loads(of_stage[0])):
        measured, lost = (Score.model_validate(each) for each in found)
        assert (measured.fidelity, measured.protocol, measured.raw) == ("like", "custom", 0.5)
        assert (lost.fidelity, lost.raw, lost.reason) == (None, None, "not finite")


@pytest.mark.parametrize("table", ["generations", "generation_groups", "owned_artifacts", "request_keys"])
async def test_every_owner_is_a_user(database, table):
    keys = await database.write(lambda connection: inspect(connection).get_foreign_keys(table))
    assert [each["constrained_columns"] for each in keys if each["referred_table"] == "users"] == [["user_id"]]


async def test_nothing_is_stored_for_an_owner_whom_no_row_names(database):
    with pytest.raises(IntegrityError):
        await execute(database, GENERATION)


async def test_an_owner_without_an_account_is_no_account(database):
    store, accounts = GenerationStore(database), Accounts(database)
    made = await store.create("local", BRIEF, RECIPE, {}, {})
    assert await store.list_ids("local") == (made,)
    assert await accounts.users() == ()
    assert await accounts.password_of("owner:local") is None
    assert await accounts.add_first_user("local", "hash", "admin") is not None
    assert [user.username for user in await accounts.users()] == ["local"]


async def test_rows_of_owners_that_no_account_names_are_kept(empty_database_url, monkeypatch):
    group = (
        "insert into generation_groups (id, user_id, comparison_type, created_at)"
        " values ('group', 'bruno', 'prompt', '2026-01-01')"
    )
    key = (
        "insert into request_keys (user_id, name, fingerprint, generation_id, created_at)"
        " values ('anna', 'idempotency:a', 'f', 'g', '2026-01-01')"
    )
    picture = (
        "insert into owned_artifacts (user_id, sha256, media_type, size, created_at)"
        " values ('carla', 'abc', 'image/png', 3, '2026-01-01')"
    )
    known = (
        "insert into users (id, username, password_hash, role, disabled, created_at)"
        " values ('carla', 'carla', 'hash', 'admin', false, '2026-01-01')"
    )
    async with opened(empty_database_url) as database:
        await migrate_to(database, "0009", monkeypatch)
        await execute(database, known, GENERATION, EVENT, group, key, picture)
        await database.migrate()
        found = await database.fetch(text("select id, username, disabled from users order by id"))
        assert [tuple(row) for row in found] == [
            ("anna", "owner:anna", True), ("bruno", "owner:bruno", True), ("carla", "carla", False)
        ]  # fmt: skip
        assert [user.username for user in await Accounts(database).users()] == ["carla"]
        (row,) = await database.fetch(text("select row_bytes from generations"))
        assert row.row_bytes > 100
        await Disposal(database).forget("anna", "g")
        with pytest.raises(Gone):
            await Intake(database).known("anna", (RequestKey("idempotency:a", "f"),))


async def test_processes_that_start_together_migrate_one_after_the_other(empty_database_url):
    arguments = ("-c", MIGRATE, empty_database_url)
    started = [Program([sys.executable, *arguments]) for _ in range(3)]
    for program in started:
        assert await asyncio.to_thread(program.end) == 0, program.said
    async with opened(empty_database_url) as database:
        assert await GenerationStore(database).count_waiting() == 0
