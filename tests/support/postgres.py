"""A real PostgreSQL server for the tests: Debian's binaries, a cluster of its own under /tmp, a unix socket, no port.

`start`, `stop`, `kill` and `restart` are for the tests that take the server away.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.program import run
from tests.support.waiting import PATIENCE_SECONDS, until

USER = "admint"
_EMPTY = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()",
    "set session_replication_role = replica",  # no foreign keys: tables in any order
    "do $$ declare name text; begin"
    " for name in select tablename from pg_tables where schemaname = 'public' and tablename <> 'alembic_version'"
    " loop execute format('delete from %I', name); end loop; end $$",
)

# A zone of its own: times must read back as they were written, whatever the server's zone is.
_SETTINGS = ("-c", "listen_addresses=", "-c", "shared_buffers=32MB", "-c", "timezone=Asia/Kolkata")
_FAST = ("-c", "fsync=off", "-c", "full_page_writes=off")


class PostgresMissing(Exception):
    """There is no server to start: install it."""


class PostgresServer:
    """One cluster and the server on it.

    Also when it is not `durable`, what was committed outlives `kill`: the write-ahead log is with the kernel by then,
    and only a machine that loses power forgets it. `durable` syncs every commit to the disk, as a real server does.
    """

    def __init__(self, durable: bool = False) -> None:
        """Raises PostgresMissing."""
        self._binaries = _binaries()
        self._settings = (*_SETTINGS, *(() if durable else _FAST))
        self._folder = Path(tempfile.mkdtemp(prefix="admint-postgres-", dir="/tmp"))
        self._as: dict[str, Any] = {"cwd": self._folder}
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}
        make = ("initdb", "-D", "data", "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        made = run([self._binaries / make[0], *make[1:]], **self._as)
        assert made.returncode == 0, made.stderr

    # --- the server ---

    def start(self) -> None:
        """Returns when it answers."""
        with (self._folder / "log").open("ab") as log:
            command = [self._binaries / "postgres", "-D", "data", "-k", self._folder, *self._settings]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as)
        until(self._answers, lambda: f"PostgreSQL to start; its log ends with: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Ask it to end; connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def kill(self) -> None:
        """`kill -9` to the server and every process of it."""
        assert self._process is not None, "the server does not run"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        self._process = None
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        # A new server refuses to start while one of them holds the shared memory.
        until(lambda: not any(_lives(child) for child in children), "the processes of a killed PostgreSQL to die")

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def log(self) -> str:
        return (self._folder / "log").read_text()

    # --- databases ---

    def url(self, name: str) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@/{name}?host={self._folder}"

    def create(self) -> str:
        """A new, empty database. Returns its name."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        # Copying files takes 20 ms here, the default (through the write-ahead log) 70 ms.
        self._execute("postgres", f"create database {name} strategy file_copy")
        return name

    def empty(self, name: str) -> None:
        """Cut every connection to the database and delete all rows, but for the version of the schema."""
        self._execute(name, *_EMPTY)

    def drop(self, name: str) -> None:
        """Whoever is still connected."""
        self._execute("postgres", f"drop database {name} with (force)")

    def _execute(self, name: str, *statements: str) -> None:
        with psycopg.connect(host=str(self._folder), user=USER, dbname=name, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _answers(self) -> bool:
        try:
            self._execute("postgres", "select 1")
        except psycopg.OperationalError:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"PostgreSQL ended: {self.log()[-2000:]}") from None
            return False
        return True


def _binaries() -> Path:
    """The folder of the newest version's programs."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = max(versions, key=lambda path: int(path.parts[-3]), default=None) or shutil.which("initdb")
    if found is None:
        raise PostgresMissing("PostgreSQL's server is missing, which these tests start: apt-get install postgresql")
    return Path(found).parent


def _lives(pid: str) -> bool:
    """A process that ended and that nobody waited for has an empty command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole run. A test that stops or kills it starts it again."""
    try:
        server = PostgresServer()
    except PostgresMissing as error:
        pytest.fail(str(error), pytrace=False)
    try:
        server.start()
        yield server
    finally:
        server.remove()
