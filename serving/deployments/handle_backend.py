"""What the gateway needs, behind Serve handles: models to call, counters to add up, a worker to wake.

A full queue is the caller's to hear of here: unlike the pipeline's calls (`handle_models`), these do not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from models.interfaces import ImageRequest, ImageResult, Unwatched, VideoRequest, VideoResult, Watcher
from pipelines.scoring import ScoreRequest
from quality.registry import check_dimension
from quality.score import Score
from serving.deployments.asked_calls import with_queues
from serving.deployments.counters import summed
from serving.deployments.handle_models import ModelHandles
from serving.deployments.llm import ChatOverHandle
from serving.deployments.replica_call import broadcast, call_replica
from serving.deployments.server import APPLICATION
from serving.gateway.backends import Json, ModelCounters, Spec


class HandleBackend:
    """`ModelBackend` over an application's deployments."""

    def __init__(
        self, handles: ModelHandles, pipeline: DeploymentHandle[Any] | None, specs: Mapping[str, Spec]
    ) -> None:
        """`pipeline` calls models too: its replicas are asked for how many calls. None: there is none."""
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
        handles = (self._handles.chat, self._handles.image, self._handles.video)
        asked, *answers = await asyncio.gather(
            self._asked_by_pipeline(),
            *(broadcast(handle, "counters") for handle in handles),
            return_exceptions=True,
        )
        models = summed(snapshot for answer in answers if isinstance(answer, list) for snapshot in answer)
        return with_queues(models, [self._handles.asked.snapshot(), *(asked if isinstance(asked, list) else ())])

    async def _asked_by_pipeline(self) -> list[dict[str, int]]:
        """Calls by model that each of its replicas waits for."""
        return [] if self._pipeline is None else await broadcast(self._pipeline, "asked")


class HandleWorker:
    """`Worker` over the pipeline's replicas. All are told: any of them may be free, or run the generation."""

    def __init__(self, pipeline: DeploymentHandle[Any]) -> None:
        self._pipeline = pipeline

    async def wake(self) -> None:
        await broadcast(self._pipeline, "wake")

    async def cancel(self, generation_id: str) -> None:
        await broadcast(self._pipeline, "cancel", generation_id)
