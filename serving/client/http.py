"""HTTP to one server with the caller's token: errors are raised as our own, and passing failures are tried again.

Redirects are not followed, so that a token reaches no other address.
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
"""Seconds. An event stream sends something every 15."""
PASSING = (Unreachable, NotReady, StorageFailed)
"""Errors that the next try may not meet."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0


@asynccontextmanager
async def connect(server: str, access: Access | None = None) -> AsyncIterator[Connection]:
    """A connection with `access`, else with this machine's credentials for `server`.

    Raises Unauthenticated, UnsafeCredentials.
    """
    known = access or access_to(server)
    encrypted = server.startswith("https:")  # without TLS no certificates need to be read, which takes 50 ms
    async with httpx.AsyncClient(base_url=server, timeout=TIMEOUT, verify=encrypted) as client:
        yield Connection(server, known, client)


class Connection:
    """Sends requests to one server for one caller."""

    def __init__(self, server: str, access: Access, client: httpx.AsyncClient) -> None:
        self.server = server
        self._access = access
        self._client = client

    async def call(self, method: str, path: str, *, patience: float = 0.0, **content: Any) -> httpx.Response:
        """Send a request and read the whole answer; `content` as httpx takes it.

        `patience`: seconds for which a passing failure is tried again; only for a request that may be sent twice.
        Raises Unreachable, and what an error answer means (`serving.client.errors`).
        """
        waiting = Backoff(patience)
        while True:
            try:
                async with self.open(method, path, **content) as answer:
                    await answer.aread()
                return answer
            except PASSING as error:
                await waiting.after(error)

    @asynccontextmanager
    async def open(self, method: str, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        """Send a request; its successful answer is read as it comes. Raises as `call`, also while it is read."""
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


class Backoff:
    """Waits between tries, each about twice as long as the one before, until `seconds` passed without success."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._chance = random.SystemRandom()
        self.renew()

    def renew(self) -> None:
        """Start again after a success: the next failure counts as the first."""
        self._failing_since: float | None = None
        self._wait = FIRST_WAIT

    async def after(self, failure: Exception) -> None:
        """Wait before the next try. Raises `failure` when the time is over."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now + self._wait > self._failing_since + self._seconds:
            raise failure
        # Spread out, so that the followers of a server that comes back do not all arrive at once.
        await asyncio.sleep(self._wait * self._chance.uniform(0.5, 1.0))
        self._wait = min(LONGEST_WAIT, 2 * self._wait)


def known_server(named: str | None) -> str:
    """The address of the named server, else that of the last login. Raises BadInput without both."""
    chosen = named or Credentials(credentials_file()).read().latest
    if not chosen:
        raise BadInput("--server is missing, and there is no earlier login: name it as http://HOST:PORT")
    return server_address(chosen)


def server_address(text: str) -> str:
    """The address in its normal form, `http(s)://host[:port][/prefix]`. Raises BadInput."""
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
    """The data of each event of a stream. `alive` is called for every line, also for keep-alive comments."""
    data: list[str] = []
    async for line in lines:
        alive()
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
