"""The video deployment: one clip at a time per replica; scenes spread over the replicas. Knows no generation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
from ray import serve

from configs.settings import library_root, load_model
from models.interfaces import EncodedImage, NoiseSpec, Unwatched, VideoModel, VideoRequest, VideoResult, Watcher
from models.registry import load
from models.spec import VideoModelSpec
from models.weights import Library
from pipelines.media import encode_png
from serving.deployments.call_stream import CallItem, call_stream
from serving.deployments.counters import CountedSteps
from serving.deployments.picture_replica import PictureReplica
from serving.gateway.backends import ModelCounters


class VideoReplica:
    """Makes clips with any of `models`; the first is run once before the replica counts as ready."""

    async def __init__(self, models: tuple[str, ...], device: str, memory_gb: float | None) -> None:  # type: ignore[misc]
        library = Library(library_root())
        specs = {name: load_model(name, VideoModelSpec) for name in models}
        self._replica = PictureReplica(specs, lambda spec: load(spec, library.folders(spec), device), device, memory_gb)
        for request in one_step_requests(self._replica.spec(models[0])):
            await self._make(models[0], request, Unwatched())

    async def generate(self, model: str, request: VideoRequest, watched: bool) -> AsyncIterator[CallItem[VideoResult]]:
        """Steps, then the clip or the ModelError. Closing the stream stops the call at its next step."""
        async for item in call_stream(lambda watcher: self._make(model, request, watcher), watched):
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


def one_step_requests(spec: VideoModelSpec) -> tuple[VideoRequest, ...]:
    """The smallest real calls of a model, one per size that its description wants warm."""
    ratios = spec.warm_up or tuple(spec.sizes)[:1]
    return tuple(_one_step_request(spec, *spec.sizes[ratio]) for ratio in ratios)


def _one_step_request(spec: VideoModelSpec, width: int, height: int) -> VideoRequest:
    still = EncodedImage(data=encode_png(np.zeros((height, width, 3), dtype=np.uint8)))
    return VideoRequest(
        prompt="a bottle on a table",
        width=width,
        height=height,
        num_frames=spec.frame_multiple + 1,
        noise=NoiseSpec(seed=0),
        num_inference_steps=1,
        guidance_scale=spec.guidance_scale,
        first_frame=still if spec.first_frame == "required" else None,
        last_frame=still if spec.last_frame else None,
    )


video_deployment = serve.deployment(VideoReplica)
