"""The models of one generation behind Serve handles, as the pipeline's engine wants them (`pipelines.run.Models`).

A full queue is not the generation's fault: its call waits and asks again. Knows no stage.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ray.serve.handle import DeploymentHandle

from models.errors import InferenceFailed
from models.interfaces import ChatRequest, ChatResult, ImageRequest, ImageResult, VideoRequest, VideoResult, Watcher
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.scoring import ScoreRequest
from quality.score import Score
from serving.deployments.asked_calls import AskedCalls
from serving.deployments.llm import complete
from serving.deployments.replica_call import call_replica
from serving.errors import NotReady, QueueFull


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
    """Three models of an application, and its scorer."""

    def __init__(
        self, handles: ModelHandles, chat_model: ChatModelSpec, image_model: ImageModelSpec, video_model: VideoModelSpec
    ) -> None:
        self._handles = handles
        self.chat_model = chat_model
        self.image_model = image_model
        self.video_model = video_model

    async def chat(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        with self._handles.asked.one_of(self.chat_model.name):
            return await complete(self._handles.chat, self.chat_model.name, request, watcher)

    async def image(self, request: ImageRequest, watcher: Watcher) -> ImageResult:
        with self._handles.asked.one_of(self.image_model.name):
            result: ImageResult = await _patiently(self._handles.image, watcher, self.image_model.name, request)
        return result

    async def video(self, request: VideoRequest, watcher: Watcher) -> VideoResult:
        with self._handles.asked.one_of(self.video_model.name):
            result: VideoResult = await _patiently(self._handles.video, watcher, self.video_model.name, request)
        return result

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        scores: tuple[Score, ...] = await _patiently(self._handles.scorer, watcher, request, method="score")
        return scores


async def _patiently(handle: DeploymentHandle[Any], watcher: Watcher, *arguments: Any, method: str = "generate") -> Any:
    while True:
        try:
            return await call_replica(handle, method, watcher, *arguments)
        except QueueFull as full:
            await asyncio.sleep(full.retry_after)
        except NotReady as error:
            raise InferenceFailed(str(error)) from error
