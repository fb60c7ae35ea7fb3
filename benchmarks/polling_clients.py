"""Clients that poll as a web page does: each holds one connection open and asks once a second.

Plain sockets: such a client costs 0.1 ms of CPU per request where a full one costs 1 ms, so that on two cores it is the
server that is measured. Knows no bar.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

CLIENTS = 200
PERIOD_SECONDS = 1.0


class PollingClient:
    """One kept connection."""

    def __init__(self, head: str, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._head = head
        self._reader, self._writer = streams

    @classmethod
    async def connected(cls, url: str, key: str) -> PollingClient:
        where = urlsplit(url)
        head = f"Host: {where.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n"
        return cls(head, await asyncio.open_connection(where.hostname, where.port))

    async def seconds(self, path: str) -> float:
        """Of one GET, to the last byte of its answer. Raises RuntimeError unless it is 200."""
        started = time.perf_counter()
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if " 200 " not in head.partition("\r\n")[0]:
            raise RuntimeError(f"{path} answered {head!r}")
        await self._reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
        return time.perf_counter() - started

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Crowd:
    """CLIENTS of them; the paths go round among them and from turn to turn."""

    def __init__(self, clients: Sequence[PollingClient], paths: Sequence[str]) -> None:
        self._clients = clients
        self._paths = paths

    @classmethod
    @asynccontextmanager
    async def gathered(cls, url: str, key: str, *paths: str) -> AsyncIterator[Crowd]:
        """Connected while the context lasts."""
        clients = await asyncio.gather(*(PollingClient.connected(url, key) for _ in range(CLIENTS)))
        try:
            yield cls(clients, paths)
        finally:
            await asyncio.gather(*(client.close() for client in clients))

    async def at_once(self) -> list[float]:
        """Seconds of one request each, all sent in one instant."""
        calls = (client.seconds(self._path(number)) for number, client in enumerate(self._clients))
        return list(await asyncio.gather(*calls))

    async def beside(self, work: Callable[[], Awaitable[None]]) -> tuple[list[float], float]:
        """Seconds of all requests while `work` ran, one per client and PERIOD_SECONDS, spread; and when it ended.

        By `time.perf_counter`: the crowd itself needs up to PERIOD_SECONDS more to go home.
        """
        stop = asyncio.Event()
        polling = [asyncio.create_task(self._poll(number, stop)) for number in range(CLIENTS)]
        await work()
        ended = time.perf_counter()
        stop.set()
        return [seconds for answers in await asyncio.gather(*polling) for seconds in answers], ended

    def _path(self, turn: int) -> str:
        return self._paths[turn % len(self._paths)]

    async def _poll(self, number: int, stop: asyncio.Event) -> list[float]:
        await asyncio.sleep(PERIOD_SECONDS * number / CLIENTS)
        seconds: list[float] = []
        while not stop.is_set():
            took = await self._clients[number].seconds(self._path(number + len(seconds)))
            seconds.append(took)
            await asyncio.sleep(max(0.0, PERIOD_SECONDS - took))
        return seconds


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]
