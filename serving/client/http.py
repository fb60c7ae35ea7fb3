"""One server, asked with the caller's token: errors come back as our own, and a passing failure is waited out.

Redirects are not followed, so that a token reaches no other address. Knows no route.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipelines.errors import BadInput, StorageFailed
from serving.client.errors import refusal
from serving.client.login import Access, Credentials, access_to, credentials_file
from serving.errors import NotReady, Unreachable

TIMEOUT = httpx.Timeout(connect=10.0, read=60.0, write=60.0, pool=10.0)
"""Seconds. An event stream says something every 15."""
PASSING = (Unreachable, NotReady, StorageFailed)
"""What may be over at the next try."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0


class Patience:
    """Waits between tries, each about twice as long as the one before, until `seconds` passed without success."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._chance = random.SystemRandom()
        self.renew()

    def renew(self) -> None:
        """There was a success: the next failure is the first one."""
        self._failing_since: float | None = None
        self._wait = FIRST_WAIT

    async def after(self, failure: Exception) -> None:
        """Wait. Raises `failure` when there is no patience left."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now + self._wait > self._failing_since + self._seconds:
            raise failure
        # Spread out, so that the followers of a server that comes back do not all arrive at once.
        await asyncio.sleep(self._wait * self._chance.uniform(0.5, 1.0))
        self._wait = min(LONGEST_WAIT, 2 * self._wait)


class Connection:
    """Asks one server for one caller."""

    def __init__(self, server: str, access: Access, client: httpx.AsyncClient) -> None:
        self.server = server
        self._access = access
        self._client = client

    async def call(self, method: str, path: str, *, patience: float = 0.0, **content: Any) -> httpx.Response:
        """The whole answer; `content` as httpx takes it. With `patience`, seconds, the request must be one that can be
        sent twice. Raises Unreachable, and what the answer means (`serving.client.errors`).
        """
        waiting = Patience(patience)
        while True:
            try:
                async with self.open(method, path, **content) as answer:
                    await answer.aread()
                return answer
            except PASSING as error:
                await waiting.after(error)

    @asynccontextmanager
    async def open(self, method: str, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        """A good answer, to be read as it comes. Raises as `call`, also while it is read."""
        token = await asyncio.to_thread(self._access.token)
        try:
            answer = await self._send(token, method, path, **content)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                newer = await asyncio.to_thread(self._access.renewed, token)
                if newer is not None:
                    await answer.aclose()
                    answer = await self._send(newer, method, path, **content)
            try:
                if not answer.is_success:
                    await answer.aread()
                    raise refusal(self.server, answer)
                yield answer
            finally:
                await answer.aclose()
        except httpx.TransportError as error:
            raise Unreachable(f"no connection to {self.server}: {error or type(error).__name__}") from error

    async def _send(
        self, token: str, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any
    ) -> httpx.Response:
        carried = {**(headers or {}), "Authorization": f"Bearer {token}"}
        return await self._client.send(
            self._client.build_request(method, path, headers=carried, **content), stream=True
        )


@asynccontextmanager
async def connect(server: str, access: Access | None = None) -> AsyncIterator[Connection]:
    """With `access`, else what this machine has for `server`. Raises Unauthenticated, UnsafeCredentials."""
    known = access or access_to(server)
    async with httpx.AsyncClient(base_url=server, timeout=TIMEOUT) as client:
        yield Connection(server, known, client)


def known_server(named: str | None) -> str:
    """The address of the named server, else that of the last login. Raises BadInput without both."""
    chosen = named or Credentials(credentials_file()).read().latest
    if not chosen:
        raise BadInput("--server is missing, and nobody has logged in anywhere: name it as http://HOST:PORT")
    return server_address(chosen)


def server_address(text: str) -> str:
    """`http(s)://host[:port][/prefix]` without a slash at its end. Raises BadInput."""
    try:
        parts = urlsplit(text.strip())
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is never closed
        sound = None
    if not sound or parts.query or parts.fragment:
        raise BadInput(f"--server {text!r} is no address of a server: write it as http://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise BadInput("--server must not hold a password, which every list of processes shows: use admint login")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


async def event_data(lines: AsyncIterator[str], alive: Callable[[], None]) -> AsyncGenerator[str, None]:
    """`alive` is called for every line, also for the comments that keep a silent stream open."""
    data: list[str] = []
    async for line in lines:
        alive()
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
