"""A desk for tools that call one model directly, without a generation: notices go to stderr, progress too.

The models are this machine's here, or a server's (`serving.client.desk`): the tools see no difference.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import typer

from configs.settings import Profile, Settings, load_profile
from models.interfaces import ChatRequest, ChatResult, ImageRequest, ImageResult, Unwatched, VideoRequest
from models.spec import AspectRatio, ImageModelSpec, Size, VideoModelSpec
from pipelines.agents.conversation import ChatDesk
from pipelines.errors import BadInput
from pipelines.media import encode_clip
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts, write_durably
from serving.client.desk import remote_desk
from serving.client.run import Job
from serving.console import StepLines
from serving.profile_models import LocalDeployment, deploy


def size_of(sizes: Mapping[AspectRatio, Size], aspect_ratio: str) -> Size:
    """Width and height in pixels. Raises BadInput naming the ratios there are."""
    for ratio, size in sizes.items():
        if ratio == aspect_ratio:
            return size
    raise BadInput(f"--aspect-ratio {aspect_ratio!r}: choose one of {', '.join(sizes)}")


class ToolDesk(ChatDesk, Protocol):
    """What the tools need."""

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
    async def image(self, request: ImageRequest) -> ImageResult: ...

    async def film(self, request: VideoRequest, path: Path) -> None:
        """Make the clip and write it to `path` as MP4."""
        ...


class LocalDesk:
    """The models of this process."""

    def __init__(self, deployment: LocalDeployment, scratch: Path) -> None:
        self._models = deployment.models
        self.notes = deployment.described.notes
        self.artifacts = LocalArtifacts(scratch)
        self.chat_model = deployment.models.chat_model
        self.image_model = deployment.models.image_model
        self.video_model = deployment.models.video_model
        self.task = ""

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", told: Json | None = None
    ) -> None:
        typer.echo(f"{severity}: {message}", err=True)

    async def chat(self, request: ChatRequest) -> ChatResult:
        return await self._models.chat(request, Unwatched())

    async def image(self, request: ImageRequest) -> ImageResult:
        return await self._models.image(request, StepLines(self.task))

    async def film(self, request: VideoRequest, path: Path) -> None:
        result = await self._models.video(request, StepLines(self.task))
        write_durably(path, encode_clip(result.frames, self.video_model.native_fps))


@asynccontextmanager
async def open_desk(
    job: Job | None, profile: str | None, image: str | None = None, video: str | None = None
) -> AsyncIterator[ToolDesk]:
    """Models of the server that `job` names, else of this machine's `profile`; the named ones instead of its own.

    Raises BadInput, WeightsError; for a server Unreachable, Unauthenticated, UnsafeCredentials.
    """
    if job is not None:
        async with remote_desk(job, image, video) as remote:
            yield remote
        return
    with _local_desk(load_profile(profile or Settings().profile), image, video) as local:
        yield local


@contextmanager
def _local_desk(profile: Profile, image: str | None, video: str | None) -> Iterator[LocalDesk]:
    deployment = deploy(profile, image=image, video=video)
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        try:
            yield LocalDesk(deployment, Path(scratch))
        finally:
            deployment.models.close()
