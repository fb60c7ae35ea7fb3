"""Runs `admint serve` as a user's shell would, on a free port, and knows when it is ready."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openai

from pipelines.store.accounts import Accounts
from serving.gateway.auth.login import Passwords
from serving.server.first_start import FIRST_FILE, create_first_admin
from serving.server.store import open_server_store
from tests.support.command import ADMINT, REPOSITORY, environment
from tests.support.program import Program, free_port
from tests.support.waiting import PATIENCE_SECONDS

API_KEY = re.compile(r"admint_[0-9a-f]{12}_[0-9a-f]{64}")


@dataclass(frozen=True)
class Server:
    """A running server and the folder with all that it keeps."""

    program: Program
    url: str
    api_key: str
    """The one that the first start of a server in this folder made."""

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, max_retries=0)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    def stop(self, by: signal.Signals = signal.SIGINT) -> int:
        """Send it a signal, by default that of Ctrl-C; returns the exit code."""
        if self.program.running:
            os.kill(self.program.pid, by)
        return self.program.end()


def start_server(
    home: Path, *arguments: str, seconds: float = PATIENCE_SECONDS, env: Mapping[str, str] | None = None
) -> Server:
    """Returns once it says that it is ready; AssertionError with what it said when it ends before.

    `env` are variables beside those of every command.
    """
    port = free_port()
    variables = environment() | {"ADMINT_HOME": str(home), "PYTHONUNBUFFERED": "1", **(env or {})}
    command = [*ADMINT, "serve", "--port", str(port), *arguments]
    program = Program(command, cwd=REPOSITORY, env=variables, own_group=True)
    try:
        program.until_says("ready at ", seconds)
    except AssertionError:
        program.kill()
        raise
    return Server(program, f"http://127.0.0.1:{port}", _first_key(home))


def _first_key(home: Path) -> str:
    """What the first start of a server in this folder wrote down, as its output is no terminal."""
    told = API_KEY.search((home / "server" / FIRST_FILE).read_text())
    assert told is not None
    return told[0]


async def first_key() -> str:
    """Make the first admin of the server that this process's environment describes; returns their API key."""
    opened = await open_server_store()
    try:
        first = await create_first_admin(Accounts(opened.database), Passwords())
    finally:
        await opened.close()
    assert first is not None, "this server has users already"
    return first.api_key
