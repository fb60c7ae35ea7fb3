"""An in-process chat engine under OpenAI's protocol: `chat(body)` with plain JSON in and out, streaming as it writes.

Knows neither HTTP nor Ray, and not where the engine runs: whoever has it lends a `write` that runs it in a lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from models.interfaces import ChatRequest, ChatResult, Unwatched, Watcher, unread
from models.llm.openai_serving import Json, Reply, ServedChat, read_body
from models.spec import ChatModelSpec


class StreamInLane(Protocol):
    """`ChatModel.stream` in the engine's lane: cancelling the task stops the engine within a block of tokens."""

    async def __call__(self, request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
        """`write` is called in the lane's thread."""
        ...


class LocalChat:
    """A `models.llm.openai_wire.ChatService` on one engine."""

    def __init__(self, spec: ChatModelSpec, stream: StreamInLane) -> None:
        self._spec = spec
        self._stream = stream

    async def chat(self, body: Json) -> AsyncGenerator[Json, None]:
        """Chunks when `body["stream"]`, else one completion. Closing the generator stops the engine.

        Raises InvalidRequest (naming the field that cannot be honoured), BudgetExceeded (out of time; out of tokens is
        an answer with finish_reason `length`), InferenceFailed. Before the first chunk, if the request is at fault.
        """
        served = read_body(body, self._spec)
        reply = Reply(str(body["model"]))
        if not served.stream:
            yield reply.completion(await self._stream(served.request, Unwatched(), unread))
            return
        chunks = self._chunks(served, reply)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    async def _chunks(self, served: ServedChat, reply: Reply) -> AsyncGenerator[Json, None]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def write(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        answer = asyncio.ensure_future(self._stream(served.request, Unwatched(), write))
        answer.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            opened = False
            while (piece := await pieces.get()) is not None:
                if not opened:
                    yield reply.opening()
                    opened = True
                yield reply.piece(piece)
            result = await answer
            if not opened:
                yield reply.opening()
            yield reply.end(result.finish_reason)
            if served.include_usage:
                yield reply.usage(result)
        finally:
            answer.cancel()
            await asyncio.wait({answer})
