"""Empty databases with the newest schema for every test, on SQLite and on PostgreSQL.

The schema is migrated once per run. SQLite's file is copied for each test; PostgreSQL's rows are deleted after it,
which takes 2 ms where a copy of the database and its removal take 30.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pipelines.store.database import Database, sqlite_url
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the schema and no rows, made once."""
    path = tmp_path_factory.mktemp("migrated") / "store.sqlite"
    asyncio.run(_migrate(sqlite_url(path)))
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> str:
    """The name of a database with the schema and no rows, made once."""
    name = postgres.create()
    asyncio.run(_migrate(postgres.url(name)))
    return name


@pytest.fixture
def sqlite_database_url(tmp_path: Path, migrated: Path) -> str:
    shutil.copy(migrated, tmp_path / "store.sqlite")
    return sqlite_url(tmp_path / "store.sqlite")


@pytest.fixture
def postgres_database_url(postgres: PostgresServer, migrated_postgres: str) -> Iterator[str]:
    """A test that changes the schema makes a database of its own (`PostgresServer.create`)."""
    yield postgres.url(migrated_postgres)
    postgres.empty(migrated_postgres)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs once on each database."""
    url: str = request.getfixturevalue(f"{request.param}_database_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, of the test's own."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "store.sqlite")
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database without any table for a server that serves all tests of a module; they run once on each."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path_factory.mktemp("server") / "store.sqlite")
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


async def _migrate(url: str) -> None:
    database = Database(url)
    await database.migrate()
    await database.close()
