"""The image deployment: one lane per replica, calls of one key in one batch, each with its own noise.

Calls that cannot share a batch (start image, mask, `deterministic`) run alone, in their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray import serve

from configs.settings import library_root, load_model
from models.errors import ModelError
from models.interfaces import ImageRequest, ImageResult, NoiseSpec, Unwatched, Watcher
from models.registry import load
from models.spec import ImageModelSpec
from models.weights import Library
from serving.deployments.call_stream import CallItem, call_stream
from serving.deployments.coalescer import Coalescer
from serving.deployments.counters import CountedSteps
from serving.deployments.picture_replica import PictureReplica
from serving.gateway.backends import ModelCounters


class ImageReplica:
    """Makes images with any of `models`; the first is run once before the replica counts as ready."""

    async def __init__(self, models: tuple[str, ...], device: str, memory_gb: float | None) -> None:  # type: ignore[misc]
        library = Library(library_root())
        specs = {name: load_model(name, ImageModelSpec) for name in models}
        self._replica = PictureReplica(specs, lambda spec: load(spec, library.folders(spec), device), device, memory_gb)
        self._coalescer: Coalescer[tuple[str, ImageRequest], ImageResult] = Coalescer(self._run)
        for request in one_step_requests(self._replica.spec(models[0])):
            await self._make(models[0], request, Unwatched())

    async def generate(self, model: str, request: ImageRequest, watched: bool) -> AsyncIterator[CallItem[ImageResult]]:
        """Steps, then the image or the ModelError. Closing the stream stops the call at its next step."""
        async for item in call_stream(lambda watcher: self._make(model, request, watcher), watched):
            yield item

    async def counters(self) -> dict[str, ModelCounters]:
        return self._replica.snapshot()

    async def _make(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        spec = self._replica.spec(model)
        key = await asyncio.to_thread(self._replica.batch_key, model, request) if spec.batch_pixels else None
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
        """One batch on the lane. The watchers stop their own call only, so the lane itself watches nothing."""
        requests = [request for _, request in calls]

        def work(engine: Any, _: Watcher) -> Sequence[ImageResult | ModelError]:
            if len(requests) == 1:
                return [engine.generate(requests[0], watchers[0])]
            outcomes: Sequence[ImageResult | ModelError] = engine.generate_batch(requests, watchers)
            return outcomes

        return await self._replica.on_lane(calls[0][0], Unwatched(), work, len(calls))


def one_step_requests(spec: ImageModelSpec) -> tuple[ImageRequest, ...]:
    """The smallest real calls of a model, one per size that its description wants warm."""
    ratios = spec.warm_up or tuple(spec.sizes)[:1]
    return tuple(
        ImageRequest(
            prompt="a bottle on a table",
            width=spec.sizes[ratio][0],
            height=spec.sizes[ratio][1],
            noise=NoiseSpec(seed=0),
            num_inference_steps=1,
            guidance_scale=spec.guidance_scale,
        )
        for ratio in ratios
    )


image_deployment = serve.deployment(ImageReplica)
