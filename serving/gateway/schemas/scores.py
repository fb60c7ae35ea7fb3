"""Body and answer of `POST /v1/scores`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from models.interfaces import Plain
from quality.registry import DIMENSIONS, UNAVAILABLE
from quality.score import Score
from serving.gateway.bodies import FileField


class ScoreRequest(Plain):
    file: FileField | None = None
    """An MP4, in a multipart body."""
    artifact: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """An MP4 of this server, instead of a file."""
    dimensions: Annotated[list[str], Field(min_length=1, max_length=64)] = sorted({*DIMENSIONS, *UNAVAILABLE})
    """Names of quality dimensions; none: all that are known, those without weights here with the reason."""
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)] | None = None
    """What the video was asked to show: the alignment dimensions need it."""

    @field_validator("dimensions", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> ScoreRequest:
        if (self.file is None) == (self.artifact is None):
            raise ValueError("give either a file or an artifact")
        return self


class ScoreList(Plain):
    object: Literal["list"] = "list"
    sha256: str
    """Of the video that was scored."""
    data: list[Score]
    """One per dimension, in the order asked for; a score without a value says why."""
