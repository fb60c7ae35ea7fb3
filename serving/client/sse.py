"""Server-sent events as they are read: the data of each, whatever its type. Knows no connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable


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
