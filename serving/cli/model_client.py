"""What a command asks of one model, without a generation: a chat answer, a picture, a clip.

The model is one of this machine (`LocalModelClient`) or of a server (`serving.client.model_client.RemoteModelClient`).
Progress and notices go to stderr.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Protocol

import typer

from configs.settings import Settings, load_profile
from models.interfaces import ChatRequest, ChatResult, ImageRequest, ImageResult, Unwatched, VideoRequest
from models.spec import AspectRatio, ImageModelSpec, Size, VideoModelSpec
from pipelines.agents.conversation import ChatContext
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts, write_durably
from serving.backends.in_process import LocalModels, local_models
from serving.client.model_client import remote_model_client
from serving.client.run import Job
from serving.console import StepLines


class ModelClient(ChatContext, Protocol):
    """Models that a command calls one by one."""

    task: str
    """What the progress lines are about."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know of these models."""
        ...

    @property
    def image_model(self) -> ImageModelSpec: ...
    @property
    def video_model(self) -> VideoModelSpec: ...
    async def generate_image(self, request: ImageRequest) -> ImageResult: ...

    async def generate_video(self, request: VideoRequest, path: Path) -> None:
        """Make the clip and write it to `path` as MP4."""
        ...


class LocalModelClient:
    """The models of this process."""

    def __init__(self, models: LocalModels, scratch: Path) -> None:
        """`scratch`: a temporary folder for artifacts."""
        self._models = models
        self.notes = models.described.notes
        self.artifacts = LocalArtifacts(scratch)
        self.chat_model = models.chat_model
        self.image_model = models.image_model
        self.video_model = models.video_model
        self.task = ""

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", details: Json | None = None
    ) -> None:
        typer.echo(f"{severity}: {message}", err=True)

    async def chat(self, request: ChatRequest) -> ChatResult:
        return await self._models.chat(request, Unwatched())

    async def generate_image(self, request: ImageRequest) -> ImageResult:
        return await self._models.image(request, StepLines(self.task))

    async def generate_video(self, request: VideoRequest, path: Path) -> None:
        result = await self._models.video(request, StepLines(self.task))
        write_durably(path, encode_clip(result.frames, self.video_model.native_fps))


@asynccontextmanager
async def model_client(
    job: Job | None, profile: str | None, image: str | None = None, video: str | None = None
) -> AsyncIterator[ModelClient]:
    """Models of the server that `job` names, else of this machine's `profile`; `image` and `video` name other ones.

    Raises BadInput, WeightsError; for a server Unreachable, Unauthenticated, UnsafeCredentials.
    """
    if job is not None:
        async with remote_model_client(job, image, video) as remote:
            yield remote
        return
    models = local_models(load_profile(profile or Settings().profile), image, video)
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        try:
            yield LocalModelClient(models, Path(scratch))
        finally:
            models.close()


def size_of(sizes: Mapping[AspectRatio, Size], aspect_ratio: str) -> Size:
    """Width and height in pixels. Raises BadInput that lists the aspect ratios of the model."""
    for ratio, size in sizes.items():
        if ratio == aspect_ratio:
            return size
    raise BadInput(f"--aspect-ratio {aspect_ratio!r}: choose one of {', '.join(sizes)}")
