"""The models and workers of a Ray Serve application, behind handles: for the gateway and for the pipeline.

The gateway's calls (`HandleBackend`) raise QueueFull; the pipeline's (`HandleModels`) wait until there is room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ray.serve.handle import DeploymentHandle

from models.errors import InferenceFailed
from models.interfaces import (
    ChatRequest,
    ChatResult,
    ImageRequest,
    ImageResult,
    Unwatched,
    VideoRequest,
    VideoResult,
    Watcher,
)
from pipelines.scoring import ScoreRequest
from quality.registry import check_dimension
from quality.score import Score
from serving.backends.counters import summed
from serving.backends.interface import Json, ModelCounters, Spec
from serving.deployments.calls import alive, broadcast, call_replica
from serving.deployments.chat import ChatOverHandle, complete
from serving.errors import NotReady, QueueFull
from serving.profile_models import ModelSet


class AskedCalls:
    """How many calls this process is waiting for, by model name."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    @contextmanager
    def one_of(self, model: str) -> Iterator[None]:
        """Count one call until its end, however it ends."""
        self._count[model] += 1
        try:
            yield
        finally:
            self._count[model] -= 1

    def snapshot(self) -> dict[str, int]:
        return dict(self._count)


def with_queues(counters: Mapping[str, ModelCounters], asked: Iterable[Mapping[str, int]]) -> dict[str, ModelCounters]:
    """`counters` in which every call that was `asked` for and does not run counts as waiting."""
    total: Counter[str] = Counter()
    for each in asked:
        total.update(each)
    return {
        model: known.model_copy(update={"waiting": max(known.waiting, total[model] - known.running)})
        for model, known in counters.items()
    }


@dataclass(frozen=True)
class ModelHandles:
    """The handles of an application, by kind."""

    chat: DeploymentHandle[Any]
    image: DeploymentHandle[Any]
    video: DeploymentHandle[Any]
    scorer: DeploymentHandle[Any]
    asked: AskedCalls = field(default_factory=AskedCalls)
    """Calls of models over these handles."""


class HandleModels:
    """Three models of an application, and its scorer, as a run calls them: a full queue is waited for."""

    def __init__(self, handles: ModelHandles, described: ModelSet) -> None:
        self._handles = handles
        self.described = described
        self.chat_model, self.image_model, self.video_model = described.chat, described.image, described.video

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult:
        with self._handles.asked.one_of(self.chat_model.name):
            return await complete(self._handles.chat, self.chat_model.name, request, watcher or Unwatched())

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult:
        with self._handles.asked.one_of(self.image_model.name):
            result: ImageResult = await _patiently(
                self._handles.image, watcher or Unwatched(), self.image_model.name, request
            )
        return result

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult:
        with self._handles.asked.one_of(self.video_model.name):
            result: VideoResult = await _patiently(
                self._handles.video, watcher or Unwatched(), self.video_model.name, request
            )
        return result

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]:
        scores: tuple[Score, ...] = await _patiently(
            self._handles.scorer, watcher or Unwatched(), request, method="score"
        )
        return scores


async def _patiently(handle: DeploymentHandle[Any], watcher: Watcher, *arguments: Any, method: str = "generate") -> Any:
    while True:
        try:
            return await call_replica(handle, method, watcher, *arguments)
        except QueueFull as full:
            await asyncio.sleep(full.retry_after)
        except NotReady as error:
            raise InferenceFailed(str(error)) from error


class HandleBackend:
    """`ModelBackend` over an application's deployments."""

    def __init__(
        self, handles: ModelHandles, pipeline: DeploymentHandle[Any] | None, specs: Mapping[str, Spec]
    ) -> None:
        """`pipeline`: its replicas call models too, and are asked how many calls they wait for. None: there is none."""
        self._handles = handles
        self._pipeline = pipeline
        self._specs = dict(specs)

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self._specs

    async def chat(self, model: str, body: Json) -> AsyncGenerator[Json, None]:
        with self._handles.asked.one_of(model):
            async with aclosing(ChatOverHandle(self._handles.chat).chat(body)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def image(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        with self._handles.asked.one_of(model):
            result: ImageResult = await call_replica(self._handles.image, "generate", watcher, model, request)
        return result

    async def video(self, model: str, request: VideoRequest, watcher: Watcher) -> VideoResult:
        with self._handles.asked.one_of(model):
            result: VideoResult = await call_replica(self._handles.video, "generate", watcher, model, request)
        return result

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        for name in request.dimensions:
            check_dimension(name)
        scores: tuple[Score, ...] = await call_replica(self._handles.scorer, "score", watcher, request)
        return scores

    async def ready(self) -> Mapping[str, str]:
        """Every deployment is asked itself: what Serve knows of it may be ten seconds old."""
        asked = {"Chat": self._handles.chat, "Image": self._handles.image, "Video": self._handles.video}
        calls = {name: alive(handle, "counters") for name, handle in {**asked, "Scorer": self._handles.scorer}.items()}
        if self._pipeline is not None:
            calls["Pipeline"] = alive(self._pipeline, "asked")
        answers = await asyncio.gather(*calls.values())
        return {name: "ready" if lives else "no replica answers" for name, lives in zip(calls, answers, strict=True)}

    async def counters(self) -> Mapping[str, ModelCounters]:
        handles = (self._handles.chat, self._handles.image, self._handles.video)
        asked, *answers = await asyncio.gather(
            self._asked_by_pipeline(),
            *(broadcast(handle, "counters") for handle in handles),
            return_exceptions=True,
        )
        models = summed(snapshot for answer in answers if isinstance(answer, list) for snapshot in answer)
        return with_queues(models, [self._handles.asked.snapshot(), *(asked if isinstance(asked, list) else ())])

    async def _asked_by_pipeline(self) -> list[dict[str, int]]:
        """How many calls each replica of the pipeline waits for, by model."""
        return [] if self._pipeline is None else await broadcast(self._pipeline, "asked")


class HandleNotifier:
    """`WorkerNotifier` over the pipeline's replicas. All are called: any may be free, or run the generation."""

    def __init__(self, pipeline: DeploymentHandle[Any]) -> None:
        self._pipeline = pipeline

    async def wake(self) -> None:
        await broadcast(self._pipeline, "wake")

    async def cancel(self, generation_id: str) -> None:
        await broadcast(self._pipeline, "cancel", generation_id)
