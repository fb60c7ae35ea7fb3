"""What the gateway benchmark asks of a running gateway: orders at a fixed rate, and event streams on bare sockets.

Knows no database. Streams are read on bare sockets, so that a thousand of them cost the measuring process little.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

ORDER = {"recipe": "express", "brief": {"prompt": "an ad for a steel water bottle", "duration": 9, "num_scenes": 2}}
Key = tuple[str, int]
"""An event: the id of its generation, and its `seq`."""


@dataclass(frozen=True)
class Gateway:
    url: str
    key: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def resident_bytes(self) -> int:
        """Of the process, now."""
        with open(f"/proc/{self.pid}/statm") as pages:
            return int(pages.read().split()[1]) * 4096

    def cpu_seconds(self) -> float:
        """Of the process, since its start."""
        with open(f"/proc/{self.pid}/stat") as numbers:
            fields = numbers.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


async def submit(gateway: Gateway, rate: float, seconds: float) -> tuple[list[float], int]:
    """Seconds from sending to the whole answer of each order, and how many of them were refused.

    They leave at `rate` per second whatever is answered.
    """
    times: list[float] = []
    refused = 0
    async with httpx.AsyncClient(base_url=gateway.url, headers=gateway.headers, timeout=300) as client:

        async def order() -> None:
            nonlocal refused
            began = time.perf_counter()
            answer = await client.post("/api/v1/generations", json=ORDER)
            times.append(time.perf_counter() - began)
            refused += answer.is_error

        start, sent = time.perf_counter(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            sent.append(asyncio.create_task(order()))
        await asyncio.gather(*sent)
    return times, refused


async def ordered(gateway: Gateway, count: int) -> list[str]:
    """Ids of `count` new generations, which wait."""
    async with httpx.AsyncClient(base_url=gateway.url, headers=gateway.headers, timeout=60) as client:
        made: list[str] = []
        for _ in range(count):
            answer = await client.post("/api/v1/generations", json=ORDER)
            made.append(str(answer.raise_for_status().json()["id"]))
        return made


@dataclass
class Listener:
    """One open event stream; notes when each event arrived."""

    generation_id: str
    arrived: dict[Key, float] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def open(self, gateway: Gateway) -> None:
        """Returns once the stream has begun."""
        address = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        path = f"/api/v1/generations/{self.generation_id}/events"
        lines = [f"GET {path} HTTP/1.1", f"Host: {address.netloc}", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in gateway.headers.items()]
        writer.write("\r\n".join((*lines, "", "")).encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{path} is not streamed: {status!r}")
        self._task = asyncio.create_task(self._listen(reader, writer))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if line.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                    self.arrived[self.generation_id, event["seq"]] = time.monotonic()
        finally:
            writer.close()


async def listening(gateway: Gateway, generation_ids: list[str], streams: int) -> list[Listener]:
    """`streams` open streams, spread over the generations."""
    listeners = [Listener(generation_ids[number % len(generation_ids)]) for number in range(streams)]
    for start in range(0, streams, 20):
        await asyncio.gather(*(each.open(gateway) for each in listeners[start : start + 20]))
    return listeners
