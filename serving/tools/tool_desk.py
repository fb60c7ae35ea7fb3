"""A desk for tools that call one model directly, without a generation: notices go to stderr, progress too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import typer

from configs.settings import Profile
from models.interfaces import ChatRequest, ChatResult, ImageRequest, ImageResult, VideoRequest, VideoResult
from pipelines.scoring import ScoreRequest
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts
from quality.score import Score
from serving.local_models import LocalDeployment, deploy


class ToolDesk:
    """Satisfies `pipelines.steps.Desk`."""

    def __init__(self, deployment: LocalDeployment, scratch: Path) -> None:
        self._models = deployment.models
        self.notes = deployment.described.notes
        self.artifacts = LocalArtifacts(scratch)
        self.chat_model = deployment.models.chat_model
        self.image_model = deployment.models.image_model
        self.video_model = deployment.models.video_model
        self.task = ""
        """What the progress lines are about."""

    async def notice(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", told: Json | None = None
    ) -> None:
        typer.echo(f"{severity}: {message}", err=True)

    async def chat(self, request: ChatRequest) -> ChatResult:
        return await self._models.chat(request, _Silent())

    async def image(self, request: ImageRequest) -> ImageResult:
        return await self._models.image(request, _StepLines(self.task))

    async def video(self, request: VideoRequest) -> VideoResult:
        return await self._models.video(request, _StepLines(self.task))

    async def score(self, request: ScoreRequest) -> tuple[Score, ...]:
        return await self._models.score(request, _Silent())


class _Silent:
    def step(self, done: int, total: int) -> None:
        return None


class _StepLines:
    """One line a tenth of the way: enough to see that it moves, short enough for a log."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._shown = -1

    def step(self, done: int, total: int) -> None:
        tenth = 10 * done // total
        if tenth != self._shown:
            self._shown = tenth
            typer.echo(f"{self._task}: step {done} of {total}", err=True)


@contextmanager
def tool_desk(profile: Profile, image: str | None = None, video: str | None = None) -> Iterator[ToolDesk]:
    """Open the profile's models, or the named ones instead, for one tool. Raises BadInput, WeightsError."""
    deployment = deploy(profile, image=image, video=video)
    with tempfile.TemporaryDirectory(prefix="admint-") as scratch:
        try:
            yield ToolDesk(deployment, Path(scratch))
        finally:
            deployment.models.close()
