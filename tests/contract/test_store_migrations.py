"""The schema on both databases: the same as the tables say, made once however many ask, and no row lost on the way."""

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import IntegrityError

from pipelines.store.account_tables import users
from pipelines.store.database import Database
from pipelines.store.generations import GenerationStore
from pipelines.store.request_keys import request_keys
from pipelines.store.tables import metadata
from tests.support.program import Program

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


async def test_processes_that_start_together_migrate_one_after_the_other(empty_database_url):
    arguments = ("-c", MIGRATE, empty_database_url)
    started = [Program([sys.executable, *arguments]) for _ in range(3)]
    for program in started:
        assert await asyncio.to_thread(program.end) == 0, program.said
    async with opened(empty_database_url) as database:
        assert await GenerationStore(database).count_waiting() == 0
