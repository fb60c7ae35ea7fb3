"""Runs `admint serve` as a user's shell would, on a free port, and knows when it is ready."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import openai

from pipelines.store.accounts import Accounts
from serving.gateway.auth.login import Passwords
from serving.server.first_start import bootstrap
from serving.server.store import open_server_store
from tests.e2e.command import REPOSITORY, environment

API_KEY = re.compile(r"admint_[0-9a-f]{12}_[0-9a-f]{64}")


@dataclass
class Server:
    """A running server and the folder with all that it keeps."""

    process: subprocess.Popen[str]
    url: str
    said: list[str]
    api_key: str
    """As the first start of a server in this folder told it."""

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, max_retries=0)

    def kill(self) -> None:
        """As when the machine dies: nothing of it gets a chance to end in order."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate()
        self.said += output.splitlines()
        return self.process.returncode


def start_server(home: Path, *arguments: str) -> Server:
    """Returns once it says that it is ready; AssertionError with what it said when it ends before."""
    port = free_port()
    variables = environment() | {"ADMINT_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "serve", "--port", str(port), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, env=variables,
        start_new_session=True,
    )  # fmt: skip
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        if line.startswith("ready at "):
            return Server(process, f"http://127.0.0.1:{port}", said, _told_key(home, said))
    raise AssertionError(f"the server ended with {process.wait()}:\n" + "\n".join(said))


def _told_key(home: Path, said: list[str]) -> str:
    """A server tells its first key once: later starts in the same folder use what was written down then."""
    note = home / "told-key"
    told = API_KEY.search("\n".join(said))
    if told is not None:
        note.write_text(told[0])
    return note.read_text()


async def first_key() -> str:
    """Make the first admin of the server that this process's environment describes; returns their API key."""
    opened = await open_server_store()
    try:
        first = await bootstrap(Accounts(opened.database), Passwords())
    finally:
        await opened.close()
    assert first is not None, "this server has users already"
    return first.api_key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
