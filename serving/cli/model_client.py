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

from configs.settings import Settings, load_model_specs, load_profile
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
from serving.model_names import ModelKind, nearest_name


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

    async def generate_video(self, request: VideoRequest, path: Path) -> tuple[str, ...]:
        """Make the clip and write it to `path` as MP4; gives what was not done as asked."""
        ...


class LocalModelClient:
    """The models of this process."""

    def __init__(self, models: LocalModels, scratch: Path, notes: tuple[str, ...]) -> None:
        """`scratch`: a temporary folder for artifacts; `notes`: what is to be said besides the models' own notes."""
        self._models = models
        self.notes = (*notes, *models.described.notes)
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

    async def generate_video(self, request: VideoRequest, path: Path) -> tuple[str, ...]:
        result = await self._models.video(request, StepLines(self.task))
        write_durably(path, encode_clip(result.frames, self.video_model.native_fps, result.audio))
        return result.notes


@asynccontextmanager
async def model_client(
    job: Job | None, profile: str | None, image: str | None = None, video: str | None = None, strict: bool = False
) -> AsyncIterator[ModelClient]:
    """Models of the server that `job` names, else of this machine's `profile`; `image` and `video` name other ones.

    The name of a model that runs elsewhere (`flux-pro`) is the nearest here, said in the notes; not if `strict`. Raises
    BadInput, WeightsError; for a server Unreachable, Unauthenticated, UnsafeCredentials.
    """
    if job is not None:
        async with remote_model_client(job, image, video, strict) as remote:
            yield remote
        return
    chosen = load_profile(profile or Settings().profile)
    image, of_image = _known_here(image, "image", chosen.image, strict)
    video, of_video = _known_here(video, "video", chosen.video, strict)
    models = local_models(chosen, image, video)
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        try:
            yield LocalModelClient(models, Path(scratch), (*of_image, *of_video))
        finally:
            models.close()


def _known_here(name: str | None, kind: ModelKind, own: str, strict: bool) -> tuple[str | None, tuple[str, ...]]:
    """`name`, or for a model of elsewhere the profile's `own`, with a note."""
    if name is None or name in load_model_specs():
        return name, ()
    return nearest_name(name, kind, [own], strict)


def size_of(sizes: Mapping[AspectRatio, Size], aspect_ratio: str) -> Size:
    """Width and height in pixels. Raises BadInput that lists the aspect ratios of the model."""
    for ratio, size in sizes.items():
        if ratio == aspect_ratio:
            return size
    raise BadInput(f"--aspect-ratio {aspect_ratio!r}: choose one of {', '.join(sizes)}")
