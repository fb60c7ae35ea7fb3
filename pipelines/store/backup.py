"""A backup of a store: all its rows as they were at one moment, and the files that they name, in one tar file.

It is taken while servers run, from SQLite or PostgreSQL, and restored into either. The rows come from one snapshot of
the database. Files are named by their hash and never change, so they can be read after it; a generation that is deleted
meanwhile is left out as a whole. Every file is compared with its name on both ways.

    backup.json                     version of this format and of the schema
    rows/TABLE.jsonl                one row a line
    artifacts/SHA256                every file that a row names
    end.json                        what was lost, and the hashes of the rows: without it the backup is cut off

The key that signs access tokens is no part of it: a server whose `secret` is lost asks for new logins.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from alembic.util import CommandError
from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Engine,
    MetaData,
    Table,
    delete,
    func,
    insert,
    inspect,
    null,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DDLElement

from pipelines.errors import BadInput, DamagedArtifact, NotFound
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.database import revision, upgrade
from pipelines.store.engines import migrating_engine, reading_engine
from pipelines.store.values import storage_errors

FORMAT = 1
HEAD, END = "backup.json", "end.json"
PASSING = ("tickets", "login_attempts", "alembic_version")
"""Tables whose rows are worth nothing later, and the one that migrations keep."""
AT_ONCE = 500
"""Rows written together."""
_ROWS = re.compile(r"rows/([a-z_]+)\.jsonl")
_FILE = re.compile(r"artifacts/([0-9a-f]{64})")


@dataclass(frozen=True)
class Kept:
    """What is in a backup."""

    rows: dict[str, int]
    """By table."""
    files: int
    bytes: int
    """Of the files."""
    lost: tuple[str, ...] = ()
    """Hashes of files that rows name and that the disk has damaged or lost: resuming a generation makes them again."""


def back_up(url: str, artifacts: LocalArtifacts, archive: IO[bytes]) -> Kept:
    """Write a backup of a database and its files. Raises StorageFailed, BadInput for a database without a schema."""
    engine = reading_engine(url)
    size, count, missing = 0, 0, list[str]()
    try:
        with storage_errors(), tarfile.open(fileobj=archive, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            with _snapshot(engine) as connection:
                if (found := revision(connection)) is None:
                    raise BadInput("this database has no schema: there is nothing to back up")
                _add(tar, HEAD, {"format": FORMAT, "schema": found, "made_at": datetime.now(UTC).isoformat()})
                counts, hashes = _add_rows(tar, connection)
                named = _named_files(connection)
            for sha256 in sorted(named):
                try:
                    data = artifacts.read(sha256)
                except (NotFound, DamagedArtifact):
                    missing.append(sha256)
                    continue
                _add_bytes(tar, f"artifacts/{sha256}", data)
                size, count = size + len(data), count + 1
            with engine.connect() as connection:
                still = _named_files(connection) if missing else set()
            lost = [sha256 for sha256 in missing if sha256 in still]
            deleted = [sha256 for sha256 in missing if sha256 not in still]
            end = {"rows": hashes, "counts": counts, "files": count, "bytes": size, "lost": lost, "deleted": deleted}
            _add(tar, END, end)
    finally:
        engine.dispose()
    return Kept(counts, count, size, tuple(lost))


def restore(url: str, artifacts: LocalArtifacts, archive: IO[bytes], replace: bool = False) -> Kept:
    """Put a backup into a database and an artifact folder, under the newest schema.

    What ran when the backup was taken waits for a worker again. Nothing is changed in the database until all of the
    backup was read and found whole; `replace` then deletes what is there. Raises BadInput for what is no whole backup,
    for one of a newer version, and for a database that is not empty; StorageFailed.
    """
    engine = migrating_engine(url)
    try:
        with tempfile.TemporaryDirectory(prefix="admint-restore-") as folder, storage_errors():
            with engine.connect() as connection:
                _check_target(connection, replace)
            head, end = _unpack(archive, Path(folder), artifacts)
            with engine.begin() as connection:
                _check_target(connection, replace)
                _drop_all(connection)
                _upgrade_to(connection, head["schema"])
                _insert_all(connection, Path(folder))
                _leave_out(connection, end["deleted"])
                _let_go_of_leases(connection)
                upgrade(connection)
    finally:
        engine.dispose()
    return Kept(end["counts"], end["files"], end["bytes"], tuple(end["lost"]))


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the database as it is now, whatever others commit meanwhile, and blocks nobody."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            yield connection.execution_options(isolation_level="REPEATABLE READ")
            return
        connection.exec_driver_sql("BEGIN")  # a reader of SQLite's write-ahead log
        yield connection
        connection.exec_driver_sql("ROLLBACK")


def _tables(connection: Connection) -> list[Table]:
    """The tables as the database has them, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name not in PASSING]


def _add_rows(tar: tarfile.TarFile, connection: Connection) -> tuple[dict[str, int], dict[str, str]]:
    counts: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for table in _tables(connection):
        with tempfile.SpooledTemporaryFile(max_size=2**24) as file:
            digest, counts[table.name] = hashlib.sha256(), 0
            rows = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=AT_ONCE)
            for row in connection.execute(rows):
                line = (json.dumps({name: _plain(value) for name, value in row._mapping.items()}) + "\n").encode()
                file.write(line)
                digest.update(line)
                counts[table.name] += 1
            hashes[table.name] = digest.hexdigest()
            info = tarfile.TarInfo(f"rows/{table.name}.jsonl")
            info.size, info.mode = file.tell(), 0o600
            file.seek(0)
            tar.addfile(info, file)
    return counts, hashes


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        return aware.astimezone(UTC).isoformat()
    return value


def _named_files(connection: Connection) -> set[str]:
    found: set[str] = set()
    for table in _tables(connection):
        if table.name in ("artifacts", "owned_artifacts"):
            found |= set(connection.execute(select(table.c.sha256).distinct()).scalars())
    return found


def _add(tar: tarfile.TarFile, name: str, value: Json) -> None:
    _add_bytes(tar, name, json.dumps(value).encode())


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _check_target(connection: Connection, replace: bool) -> None:
    """Raises BadInput when there is anything that a restore would delete, unless it is told to."""
    if replace:
        return
    for table in _tables(connection):
        if table.name in ("users", "generations") and connection.scalar(select(func.count()).select_from(table)):
            text = f"the database is not empty (it has {table.name}): restore into an empty one, or say --replace"
            raise BadInput(text)


def _unpack(archive: IO[bytes], folder: Path, artifacts: LocalArtifacts) -> tuple[Json, Json]:
    """Put the files into the artifact folder and the rows into `folder`; what the backup begins and ends with.

    Files that no row names later are swept like any others.
    """
    said: dict[str, Json] = {}
    hashes: dict[str, str] = {}
    try:
        for name, data in _members(archive):
            if name in (HEAD, END):
                said[name] = json.loads(data)
            elif HEAD not in said or said[HEAD]["format"] != FORMAT:
                raise BadInput("this is no backup of this version: give a file that `admint backup` wrote")
            elif found := _ROWS.fullmatch(name):
                hashes[found[1]] = hashlib.sha256(data).hexdigest()
                (folder / found[1]).write_bytes(data)
            else:
                _put_file(name, data, artifacts)
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise BadInput(f"the backup cannot be read to its end ({error}): it is cut off, or it is no backup") from None
    if HEAD not in said or END not in said:
        raise BadInput("the backup is cut off: its end is missing")
    if said[END]["rows"] != hashes:
        raise BadInput("the backup is damaged: its rows are not those that were written")
    return said[HEAD], said[END]


def _members(archive: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each entry, in order."""
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            yield member.name, b"" if file is None else file.read()


def _put_file(name: str, data: bytes, artifacts: LocalArtifacts) -> None:
    found = _FILE.fullmatch(name)
    if found is None:
        raise BadInput(f"{name[:80]!r} is no part of a backup")
    if hashlib.sha256(data).hexdigest() != found[1]:
        raise BadInput(f"the backup is damaged: file {found[1]!r} in it is another one")
    artifacts.put(data, "")


def _drop_all(connection: Connection) -> None:
    for view in inspect(connection).get_view_names():
        connection.execute(DropView(view))
    metadata = MetaData()
    metadata.reflect(connection)
    metadata.drop_all(connection)


class DropView(DDLElement):
    """`drop view`, which SQLAlchemy has no statement for."""

    def __init__(self, name: str) -> None:
        self.name = name


@compiles(DropView)
def _drop_view(element: DropView, compiler: Any, **_: Any) -> str:
    return f"DROP VIEW {compiler.preparer.quote(element.name)}"


def _upgrade_to(connection: Connection, schema: str) -> None:
    try:
        upgrade(connection, schema)
    except CommandError as error:
        text = f"the backup has the schema {schema[:40]!r} of a newer version: restore it with that version"
        raise BadInput(text) from error


def _insert_all(connection: Connection, folder: Path) -> None:
    tables = {table.name: table for table in _tables(connection)}
    for name, table in tables.items():
        path = folder / name
        if not path.exists():
            continue
        with path.open() as lines:
            for some in _batches(_typed(table, connection, json.loads(line)) for line in lines):
                connection.execute(insert(table), some)
        if connection.dialect.name == "postgresql" and name == "messages":
            newest = select(func.coalesce(func.max(table.c.id), 1)).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(name, "id"), newest)))
    _set_parents(connection, tables["generations"], folder / "generations")


def _typed(table: Table, connection: Connection, row: Json) -> Json:
    """A row as the database takes it. A parent may come later in the file: it is set when all rows are there."""
    if table.name == "generations":
        row = {**row, "parent_generation_id": None} if "parent_generation_id" in row else row
    for column in table.columns:
        value = row.get(column.name)
        if value is not None and isinstance(column.type, DateTime):
            time = datetime.fromisoformat(value)
            row[column.name] = time.replace(tzinfo=None) if connection.dialect.name == "sqlite" else time
        elif value is None and isinstance(column.type, JSON):
            row[column.name] = null()  # the database's null, not JSON's
    return row


def _set_parents(connection: Connection, table: Table, path: Path) -> None:
    if not path.exists():
        return
    with path.open() as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        if parent := row.get("parent_generation_id"):
            connection.execute(update(table).where(table.c.id == row["id"]).values(parent_generation_id=parent))


def _batches(rows: Iterable[Json]) -> Iterator[list[Json]]:
    """Lists of at most AT_ONCE rows."""
    iterator = iter(rows)
    while some := list(islice(iterator, AT_ONCE)):
        yield some


def _leave_out(connection: Connection, hashes: list[str]) -> None:
    """Delete what was deleted while the backup was taken: generations and single files whose bytes were gone."""
    tables = {table.name: table for table in _tables(connection)}
    for sha256 in hashes:
        if (single := tables.get("owned_artifacts")) is not None:
            connection.execute(delete(single).where(single.c.sha256 == sha256))
        files, generations = tables["artifacts"], tables["generations"]
        gone = list(connection.execute(select(files.c.generation_id).where(files.c.sha256 == sha256)).scalars())
        if "parent_generation_id" in generations.c:
            children = generations.c.parent_generation_id.in_(gone)
            connection.execute(update(generations).where(children).values(parent_generation_id=None))
        for table in reversed(tables.values()):  # SQLite is migrated without foreign keys: nothing goes by itself
            if "generation_id" in table.c:
                connection.execute(delete(table).where(table.c.generation_id.in_(gone)))
        connection.execute(delete(generations).where(generations.c.id.in_(gone)))


def _let_go_of_leases(connection: Connection) -> None:
    """What ran waits for a worker of the restored server."""
    table = next(table for table in _tables(connection) if table.name == "generations")
    free = {"status": "pending", "lease_owner": None, "lease_expires_at": None}
    connection.execute(update(table).where(table.c.status == "processing").values(**free))
