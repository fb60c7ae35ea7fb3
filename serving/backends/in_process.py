"""The gateway's backend and worker in one process, without Ray: for a small server, and for tests on real models.

Each model runs in the lane it is given; models on one lane never run at the same time. Loaded when first used, or by
`warm_up`. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from models.errors import InvalidRequest, ModelError
from models.interfaces import (
    ChatRequest,
    ChatResult,
    ImageRequest,
    ImageResult,
    NoiseSpec,
    Unwatched,
    VideoRequest,
    VideoResult,
    Watcher,
    unread,
)
from models.llm.openai_serving import Json, Reply, ServedChat, read_body
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, VideoModelSpec
from pipelines.media import encode_png
from pipelines.runtime.lanes import Lane, Loader, Scorers
from pipelines.runtime.worker import Worker
from pipelines.scoring import ScoreRequest
from quality.score import Score
from serving.backends.counters import CountedSteps, Counters
from serving.backends.interface import Json as Json_local_backends
from serving.backends.interface import ModelCounters, Spec
from serving.errors import QueueFull


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


Result = TypeVar("Result")


class LocalBackend:
    """A `ModelBackend` over engines in this process."""

    def __init__(
        self,
        specs: Sequence[Spec],
        loader: Loader,
        lanes: Mapping[str, str],
        max_waiting: int,
        scorer: ScorerModelSpec | None = None,
    ) -> None:
        """`lanes` names the lane of every model; at most `max_waiting` calls of one model wait for it."""
        self.specs: Mapping[str, Spec] = {spec.name: spec for spec in specs}
        self._loader = loader
        self._lane_of = dict(lanes)
        self._lanes = {name: Lane(name) for name in dict.fromkeys(lanes.values())}
        self._scorers = Scorers(loader, scorer)
        self._max_waiting = max_waiting
        self._engines: dict[str, Any] = {}
        self._counters = {name: Counters() for name in self.specs}
        self._waiting = dict.fromkeys(self.specs, 0)
        self._state = {name: "not loaded yet" for name in self.specs}

    async def chat(self, model: str, body: Json_local_backends) -> AsyncGenerator[Json_local_backends, None]:
        spec = self._spec(model, ChatModelSpec)

        async def stream(request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
            return await self._call(spec, lambda engine, seen: engine.stream(request, seen, write), watcher)

        chunks = LocalChat(spec, stream).chat(body)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    async def complete(self, model: str, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """One chat call for the pipeline, which speaks to engines and not OpenAI's protocol."""
        spec = self._spec(model, ChatModelSpec)
        return await self._call(spec, lambda engine, seen: engine.complete(request, seen), watcher)

    async def image(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        spec = self._spec(model, ImageModelSpec)
        return await self._call(spec, lambda engine, seen: engine.generate(request, seen), watcher)

    async def video(self, model: str, request: VideoRequest, watcher: Watcher) -> VideoResult:
        spec = self._spec(model, VideoModelSpec)
        return await self._call(spec, lambda engine, seen: engine.generate(request, seen), watcher)

    async def score(self, request: ScoreRequest) -> tuple[Score, ...]:
        return await self._scorers.score(request, Unwatched())

    async def warm_up(self) -> None:
        """Load every model and let each make one thing in one step; `ready` tells how it went."""
        for name, spec in self.specs.items():
            self._state[name] = "loading, and its first generation"
            try:
                await self._first_call(spec)
                self._state[name] = "ready"
            except ModelError as error:
                self._state[name] = f"failed: {error}"

    async def ready(self) -> Mapping[str, str]:
        return dict(self._state)

    async def counters(self) -> Mapping[str, ModelCounters]:
        return {name: counters.snapshot(self._waiting[name], 0, 0) for name, counters in self._counters.items()}

    def close(self) -> None:
        """Wait for running calls; those that wait are dropped."""
        self._scorers.close()
        for lane in self._lanes.values():
            lane.close()

    async def _first_call(self, spec: Spec) -> None:
        if isinstance(spec, ChatModelSpec):
            await self._call(spec, lambda engine, seen: None, Unwatched())
            return
        ratios = spec.warm_up or tuple(spec.sizes)[:1]
        for width, height in (spec.sizes[ratio] for ratio in ratios):
            common: dict[str, Any] = {
                "prompt": "warm-up", "width": width, "height": height, "noise": NoiseSpec(seed=0),
                "num_inference_steps": 1, "guidance_scale": spec.guidance_scale,
            }  # fmt: skip
            if isinstance(spec, ImageModelSpec):
                await self.image(spec.name, ImageRequest(**common), Unwatched())
            else:
                await self.video(spec.name, _first_clip(spec, common), Unwatched())

    def _spec(self, model: str, kind: type[Any]) -> Any:
        spec = self.specs.get(model)
        if not isinstance(spec, kind):
            raise InvalidRequest(f"no such model here: {model!r}")
        return spec

    async def _call(self, spec: Spec, work: Callable[[Any, Watcher], Result], watcher: Watcher) -> Result:
        """Run `work` with the engine in the model's lane. Raises QueueFull."""
        counters, started = self._counters[spec.name], False
        if self._waiting[spec.name] >= self._max_waiting:
            raise QueueFull(
                f"{self._waiting[spec.name]} calls wait for {spec.name!r} already", self._retry_after(spec.name)
            )

        def in_lane(watcher: Watcher) -> Result:
            nonlocal started
            started = True
            self._waiting[spec.name] -= 1
            with counters.on_device(1):
                return work(self._engine(spec), CountedSteps(counters, watcher))

        self._waiting[spec.name] += 1
        try:
            with counters.call():
                return await self._lanes[self._lane_of[spec.name]].run(in_lane, watcher)
        finally:
            if not started:
                self._waiting[spec.name] -= 1

    def _engine(self, spec: Spec) -> Any:
        if spec.name not in self._engines:
            load: Callable[[Any], Any] = getattr(self._loader, spec.kind)
            self._engines[spec.name] = load(spec)
        return self._engines[spec.name]

    def _retry_after(self, model: str) -> int:
        """Seconds until the calls that wait are through, by the mean of those that ended."""
        counters = self._counters[model]
        mean = counters.device_seconds / counters.calls if counters.calls else 1.0
        return max(1, math.ceil(mean * (self._waiting[model] + 1)))


def _first_clip(spec: VideoModelSpec, common: dict[str, Any]) -> VideoRequest:
    """The shortest clip of the model, from a black frame where it needs one."""
    import numpy as np

    black = encode_png(np.zeros((common["height"], common["width"], 3), dtype=np.uint8))
    first = {} if spec.first_frame != "required" else {"first_frame": {"data": black}}
    return VideoRequest.model_validate({**common, **first, "num_frames": min(spec.frame_multiple + 1, spec.max_frames)})


class BackendModels:
    """Three models of a backend as an engine of the pipeline wants them (`pipelines.runtime.run.Models`)."""

    def __init__(
        self,
        backend: LocalBackend,
        chat_model: ChatModelSpec,
        image_model: ImageModelSpec,
        video_model: VideoModelSpec,
    ) -> None:
        self._backend = backend
        self.chat_model, self.image_model, self.video_model = chat_model, image_model, video_model

    async def chat(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        return await self._backend.complete(self.chat_model.name, request, watcher)

    async def image(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        return await self._backend.image(self.image_model.name, request, watcher)

    async def video(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        return await self._backend.video(self.video_model.name, request, watcher)

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        return await self._backend.score(request)


class LocalWorker:
    """The gateway's `Worker` over a worker in this event loop."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def wake(self) -> None:
        self._worker.wake()

    async def cancel(self, generation_id: str) -> None:
        self._worker.cancel(generation_id)
