"""What the gateway needs, behind Serve handles: models to call, counters to add up, a worker to wake.

A full queue is the caller's to hear of here: unlike the pipeline's calls (`handle_models`), these do not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from models.interfaces import ImageRequest, ImageResult, Unwatched, VideoRequest, VideoResult, Watcher
from pipelines.scoring import ScoreRequest
from quality.registry import check_dimension
from quality.score import Score
from serving.deployments.counters import summed
from serving.deployments.handle_models import ModelHandles
from serving.deployments.llm import ChatOverHandle
from serving.deployments.replica_call import broadcast, call_replica
from serving.deployments.server import APPLICATION
from serving.gateway.backends import Json, ModelCounters, Spec


class HandleBackend:
    """`ModelBackend` over an application's deployments."""

    def __init__(self, handles: ModelHandles, specs: Mapping[str, Spec]) -> None:
        self._handles = handles
        self._specs = dict(specs)

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self._specs

    def chat(self, model: str, body: Json) -> AsyncGenerator[Json, None]:
        return ChatOverHandle(self._handles.chat).chat(body)

    async def image(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        result: ImageResult = await call_replica(self._handles.image, "generate", watcher, model, request)
        return result

    async def video(self, model: str, request: VideoRequest, watcher: Watcher) -> VideoResult:
        result: VideoResult = await call_replica(self._handles.video, "generate", watcher, model, request)
        return result

    async def score(self, request: ScoreRequest) -> tuple[Score, ...]:
        for name in request.dimensions:
            check_dimension(name)
        scores: tuple[Score, ...] = await call_replica(self._handles.scorer, "score", Unwatched(), request)
        return scores

    async def ready(self) -> Mapping[str, str]:
        status = await asyncio.to_thread(serve.status)
        application = status.applications.get(APPLICATION)
        if application is None:
            return {"application": "not deployed"}
        return {
            name: "ready"
            if deployment.status == "HEALTHY"
            else f"{deployment.status}: {deployment.message}".rstrip(": ")
            for name, deployment in application.deployments.items()
        }

    async def counters(self) -> Mapping[str, ModelCounters]:
        answers = await asyncio.gather(
            *(
                broadcast(handle, "counters")
                for handle in (self._handles.chat, self._handles.image, self._handles.video)
            ),
            return_exceptions=True,
        )
        return summed(snapshot for answer in answers if isinstance(answer, list) for snapshot in answer)


class HandleWorker:
    """`Worker` over the pipeline's replicas. All are told: any of them may be free, or run the generation."""

    def __init__(self, pipeline: DeploymentHandle[Any]) -> None:
        self._pipeline = pipeline

    async def wake(self) -> None:
        await broadcast(self._pipeline, "wake")

    async def cancel(self, generation_id: str) -> None:
        await broadcast(self._pipeline, "cancel", generation_id)
