"""Models in this process: what the command line, `admint worker` and tests call where a server calls Ray's replicas.

A model is loaded when it is first used, or by `warm_up`, and runs in its lane: models of one lane share a device and
never run at the same time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from configs.settings import Profile, library_root, load_model
from models.errors import InvalidRequest, ModelError
from models.interfaces import (
    ChatModel,
    ChatRequest,
    ChatResult,
    ImageModel,
    ImageRequest,
    ImageResult,
    Unwatched,
    VideoModel,
    VideoRequest,
    VideoResult,
    Watcher,
    unread,
)
from models.llm.openai_serving import Reply, ServedChat, read_body
from models.spec import ChatModelSpec, ImageModelSpec, ScorerModelSpec, VideoModelSpec
from models.weights import Library
from pipelines.runtime.lanes import Lane, Scorers
from pipelines.runtime.questions import Ask, AskedChat, Look
from pipelines.scoring import ScoreRequest
from quality.score import Score
from quality.stream import Model
from serving.backends.counters import CountedSteps, Counters
from serving.backends.interface import Json, ModelCounters, Spec
from serving.backends.warm_up import one_step_clips, one_step_images
from serving.errors import QueueFull
from serving.profile_models import LibraryLoader, ModelSet, asked_chat, asked_model, loaded_chat, model_set

Result = TypeVar("Result")


class Loader(Protocol):
    """Builds engines. Each model is asked for once, in its lane, when it is first needed."""

    def chat(self, spec: ChatModelSpec) -> ChatModel: ...
    def image(self, spec: ImageModelSpec) -> ImageModel: ...
    def video(self, spec: VideoModelSpec) -> VideoModel: ...
    def scorer(self, spec: ScorerModelSpec) -> Model: ...


class LocalBackend:
    """A `ModelBackend` over engines in this process."""

    def __init__(
        self,
        specs: Iterable[Spec],
        loader: Loader,
        lanes: Mapping[str, str],
        scorers: Mapping[str, ScorerModelSpec] | None = None,
        max_waiting: int | None = None,
        chat: Callable[[Callable[[str], Ask]], AskedChat] | None = None,
    ) -> None:
        """`lanes` names the lane of every model. At most `max_waiting` calls of a model wait; None: any number.

        Scores are measured in a lane of their own. `scorers` are by the backbone that each is; without one, the
        dimensions that need it have no value. `chat` is as `Scorers` wants it, and is given what asks a model in its
        own lane, by name.
        """
        self.specs: Mapping[str, Spec] = {spec.name: spec for spec in specs}
        self._loader = loader
        self._lane_of = dict(lanes)
        self._lanes = {name: Lane(name) for name in dict.fromkeys(lanes.values())}
        self._scorers = Scorers(loader, scorers or {}, None if chat is None else partial(chat, self._ask_in_lane))
        self._max_waiting = max_waiting
        self._engines: dict[str, Any] = {}
        self._counters = {name: Counters() for name in self.specs}
        self._waiting = dict.fromkeys(self.specs, 0)
        self._state = {name: "not loaded yet" for name in self.specs}

    async def chat(self, model: str, body: Json) -> AsyncGenerator[Json, None]:
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
        """One chat call as a pipeline makes it, without OpenAI's protocol. Raises ModelError, QueueFull."""
        spec = self._spec(model, ChatModelSpec)
        return await self._call(spec, lambda engine, seen: engine.complete(request, seen), watcher)

    async def image(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        spec = self._spec(model, ImageModelSpec)
        return await self._call(spec, lambda engine, seen: engine.generate(request, seen), watcher)

    async def video(self, model: str, request: VideoRequest, watcher: Watcher) -> VideoResult:
        spec = self._spec(model, VideoModelSpec)
        return await self._call(spec, lambda engine, seen: engine.generate(request, seen), watcher)

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        return await self._scorers.score(request, watcher)

    async def warm_up(self, names: Collection[str] | None = None) -> None:
        """Load the named models, or every one, and run their smallest requests; `ready` tells how that went."""
        for name, spec in self.specs.items():
            if names is not None and name not in names:
                continue
            self._state[name] = "loading, and its first generation"
            try:
                await self._first_calls(spec)
                self._state[name] = "ready"
            except ModelError as error:
                self._state[name] = f"failed: {error}"

    async def load_scorers(self, dimensions: Collection[str]) -> None:
        """Load what the dimensions need and what is here of it. Raises UnknownDimension."""
        await self._scorers.load(dimensions)

    async def ready(self) -> Mapping[str, str]:
        return dict(self._state)

    async def counters(self) -> Mapping[str, ModelCounters]:
        return {name: counters.snapshot(self._waiting[name], 0, 0) for name, counters in self._counters.items()}

    def close(self) -> None:
        """Wait for running calls; those that wait are dropped."""
        self._scorers.close()
        for lane in self._lanes.values():
            lane.close()

    async def _first_calls(self, spec: Spec) -> None:
        if isinstance(spec, ChatModelSpec):
            await self._call(spec, lambda engine, seen: None, Unwatched())
        elif isinstance(spec, ImageModelSpec):
            for image in one_step_images(spec):
                await self.image(spec.name, image, Unwatched())
        else:
            for clip in one_step_clips(spec):
                await self.video(spec.name, clip, Unwatched())

    def _spec(self, model: str, kind: type[Any]) -> Any:
        spec = self.specs.get(model)
        if not isinstance(spec, kind):
            raise InvalidRequest(f"no such model here: {model!r}")
        return spec

    def _ask_in_lane(self, model: str) -> Ask:
        """Raises InvalidRequest for a model that is not here."""
        spec = self._spec(model, ChatModelSpec)
        lane, counters = self._lanes[self._lane_of[spec.name]], self._counters[spec.name]

        def ask(request: ChatRequest, look: Look) -> ChatResult:
            def in_lane(watcher: Watcher) -> ChatResult:
                with counters.call(), counters.on_device(1):
                    answer: ChatResult = self._engine(spec).stream(request, watcher, unread)
                    return answer

            return lane.call(in_lane, look)

        return ask

    async def _call(self, spec: Spec, work: Callable[[Any, Watcher], Result], watcher: Watcher) -> Result:
        """Run `work` with the engine in the model's lane. Raises QueueFull."""
        counters, started = self._counters[spec.name], False
        if self._max_waiting is not None and self._waiting[spec.name] >= self._max_waiting:
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


def profile_backend(profile: Profile, specs: Iterable[Spec], loader: Loader | None = None) -> LocalBackend:
    """`specs` in the lanes of a profile, with its scorers, loaded from the weights library or by `loader`."""
    named = {spec.name: spec for spec in specs}
    own = LibraryLoader(Library(library_root()), profile.device)

    def chat(ask_in_lane: Callable[[str], Ask]) -> AskedChat:
        asked = asked_model(profile).name
        return asked_chat(profile, own, ask_in_lane(asked)) if asked in named else loaded_chat(profile, own)

    return LocalBackend(
        named.values(),
        loader or own,
        lanes={name: getattr(profile.lanes, spec.kind) for name, spec in named.items()},
        scorers={backbone: load_model(name, ScorerModelSpec) for backbone, name in profile.backbones().items()},
        chat=chat,
    )


class LocalModels:
    """Three models of a backend, and its scorer, as a run calls them (`pipelines.steps.Models`)."""

    def __init__(self, backend: LocalBackend, described: ModelSet) -> None:
        self.backend = backend
        self.described = described
        self.chat_model, self.image_model, self.video_model = described.chat, described.image, described.video

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult:
        return await self.backend.complete(self.chat_model.name, request, watcher or Unwatched())

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult:
        return await self.backend.image(self.image_model.name, request, watcher or Unwatched())

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult:
        return await self.backend.video(self.video_model.name, request, watcher or Unwatched())

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]:
        return await self.backend.score(request, watcher or Unwatched())

    def close(self) -> None:
        """Close the backend: wait for running calls."""
        self.backend.close()


def local_models(profile: Profile, image: str | None = None, video: str | None = None) -> LocalModels:
    """The profile's models, or the named ones instead of its own, on a backend that is theirs alone.

    Raises BadInput, WeightsError when a folder of weights is not right. Nothing is loaded yet.
    """
    described = model_set(profile, image=image, video=video)
    return LocalModels(profile_backend(profile, (described.chat, described.image, described.video)), described)


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
        reply = Reply(str(body["model"]), served.notes, served.top_logprobs)
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
            opened, whole = False, served.request.first_token  # one token, which comes with its log-probabilities
            while (piece := await pieces.get()) is not None:
                if whole:
                    continue
                if not opened:
                    yield reply.opening()
                    opened = True
                yield reply.piece(piece)
            result = await answer
            if not opened:
                yield reply.opening()
                if whole:
                    yield reply.piece(result.text, result)
                elif result.text:  # of an engine that found its answer only at the end, as among a server's thoughts
                    yield reply.piece(result.text)
            yield reply.end(result.finish_reason, result.notes)
            if served.include_usage:
                yield reply.usage(result)
        finally:
            answer.cancel()
            await asyncio.wait({answer})
