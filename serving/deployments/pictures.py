"""The image and video deployments: models of one device, called one after the other.

Image calls that may share a batch run as one, each with its own noise. The others (start image, mask,
`deterministic`) run alone, in their turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ray import serve

from configs.settings import library_root, load_model
from models.errors import InvalidRequest, ModelError
from models.interfaces import (
    ImageRequest,
    ImageResult,
    Unwatched,
    VideoModel,
    VideoRequest,
    VideoResult,
    Watcher,
)
from models.registry import load
from models.spec import ImageModelSpec, VideoModelSpec
from models.weights import Library
from pipelines.runtime.lanes import Lane
from serving.backends.counters import CountedSteps, Counters
from serving.backends.interface import ModelCounters
from serving.backends.warm_up import one_step_clips, one_step_images
from serving.deployments.batching import Coalescer
from serving.deployments.calls import Call, CallItem, call_stream
from serving.deployments.replica_options import begin_replica, end_construction

Spec = TypeVar("Spec", ImageModelSpec, VideoModelSpec)
Result = TypeVar("Result")


class PictureReplica(Generic[Spec]):
    """One device with the models that `specs` describe by name, loaded by `load` when first needed.

    Of the loaded ones those that fit `memory_gb` stay; None keeps all.
    """

    def __init__(
        self, specs: Mapping[str, Spec], load: Callable[[Spec], Any], device: str, memory_gb: float | None
    ) -> None:
        self._specs: Mapping[str, Spec] = specs
        # Here, because deployments are described in processes that load no model: torch takes each 1.2 s and 100 MB.
        from models.pool import ModelPool

        self._pool: ModelPool[Spec] = ModelPool(load, None if memory_gb is None else round(memory_gb * 2**30))
        self._lane = Lane(device)
        self.counters = {name: Counters() for name in specs}
        self._waiting = dict.fromkeys(specs, 0)

    def spec(self, model: str) -> Spec:
        """Raises InvalidRequest for a model that this replica does not offer."""
        if model not in self._specs:
            raise InvalidRequest(f"no model {model!r} here: choose one of {', '.join(self._specs)}")
        return self._specs[model]

    async def on_lane(
        self, model: str, watcher: Watcher, call: Callable[[Any, Watcher], Result], count: int = 1
    ) -> Result:
        """Run `call` with the loaded engine of `model` and a watcher, alone on the device. It serves `count` requests.

        Cancelling the task makes the watcher stop the call at its next step.
        """
        counters, started = self.counters[model], False

        def work(watcher: Watcher) -> Result:
            nonlocal started
            started = True
            self._waiting[model] -= count
            with counters.on_device(count), self._pool.use(self._specs[model], watcher) as engine:
                return call(engine, watcher)

        self._waiting[model] += count
        try:
            return await self._lane.run(work, watcher)
        finally:
            if not started:
                self._waiting[model] -= count

    def snapshot(self) -> dict[str, ModelCounters]:
        engines = self._pool.engines()
        return {
            name: counters.snapshot(self._waiting[name], *_embeddings(engines.get(name)))
            for name, counters in self.counters.items()
        }


def _embeddings(engine: Any) -> tuple[int, int]:
    """Hits and misses of an engine's cache of prompt and reference embeddings."""
    stats = engine.stats().values() if hasattr(engine, "stats") else ()
    return sum(each["hits"] for each in stats), sum(each["misses"] for each in stats)


class ImageReplica:
    """Makes images with any of `models`; the first is run once before the replica counts as ready."""

    async def __init__(self, models: tuple[str, ...], device: str, memory_gb: float | None) -> None:  # type: ignore[misc]
        begin_replica("Image")
        library = Library(library_root())
        specs = {name: load_model(name, ImageModelSpec) for name in models}
        self._replica = PictureReplica(specs, lambda spec: load(spec, library.folders(spec), device), device, memory_gb)
        self._coalescer: Coalescer[tuple[str, ImageRequest], ImageResult] = Coalescer(self._run)
        for request in one_step_images(self._replica.spec(models[0])):
            await self._make(models[0], request, Unwatched())
        end_construction()

    async def generate(self, model: str, request: ImageRequest, call: Call) -> AsyncIterator[CallItem[ImageResult]]:
        """Steps, then the image or the ModelError. Closing the stream stops the call at its next step."""
        async for item in call_stream(lambda watcher: self._make(model, request, watcher), call):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        return self._replica.snapshot()

    async def _make(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        spec = self._replica.spec(model)
        key = spec.batch_key(request)
        counters = self._replica.counters[model]
        with counters.call():
            return await self._coalescer.submit(
                key=None if key is None else f"{model}:{key}",
                cost=request.width * request.height,
                limit=spec.batch_pixels,
                request=(model, request),
                watcher=CountedSteps(counters, watcher),
            )

    async def _run(
        self, calls: Sequence[tuple[str, ImageRequest]], watchers: Sequence[Watcher]
    ) -> Sequence[ImageResult | Exception]:
        """Run one batch on the lane. Each watcher stops its own call only, so the lane itself is not watched."""
        requests = [request for _, request in calls]

        def work(engine: Any, _: Watcher) -> Sequence[ImageResult | ModelError]:
            if len(requests) == 1:
                return [engine.generate(requests[0], watchers[0])]
            outcomes: Sequence[ImageResult | ModelError] = engine.generate_batch(requests, watchers)
            return outcomes

        return await self._replica.on_lane(calls[0][0], Unwatched(), work, len(calls))


image_deployment = serve.deployment(ImageReplica)


class VideoReplica:
    """Makes clips with any of `models`; the first is run once before the replica counts as ready."""

    async def __init__(self, models: tuple[str, ...], device: str, memory_gb: float | None) -> None:  # type: ignore[misc]
        begin_replica("Video")
        library = Library(library_root())
        specs = {name: load_model(name, VideoModelSpec) for name in models}
        self._replica = PictureReplica(specs, lambda spec: load(spec, library.folders(spec), device), device, memory_gb)
        for request in one_step_clips(self._replica.spec(models[0])):
            await self._make(models[0], request, Unwatched())
        end_construction()

    async def generate(self, model: str, request: VideoRequest, call: Call) -> AsyncIterator[CallItem[VideoResult]]:
        """Steps, then the clip or the ModelError. Closing the stream stops the call at its next step."""
        async for item in call_stream(lambda watcher: self._make(model, request, watcher), call):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        return self._replica.snapshot()

    async def _make(self, model: str, request: VideoRequest, watcher: Watcher) -> VideoResult:
        self._replica.spec(model)
        counters = self._replica.counters[model]

        def work(engine: VideoModel, watcher: Watcher) -> VideoResult:
            return engine.generate(request, watcher)

        with counters.call():
            return await self._replica.on_lane(model, CountedSteps(counters, watcher), work)


video_deployment = serve.deployment(VideoReplica)
