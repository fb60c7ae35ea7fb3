"""`POST /v1/scores`: quality dimensions of a video, measured while the caller waits."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints, field_validator, model_validator

from models.interfaces import Plain, Unwatched
from pipelines import scoring
from pipelines.errors import BadInput
from quality.registry import DIMENSIONS, UNAVAILABLE, check_dimension
from quality.score import UnknownDimension
from serving.gateway.answers import while_connected
from serving.gateway.auth.gate import owner
from serving.gateway.openai.answers import ScoreList
from serving.gateway.pictures import Pictures
from serving.gateway.problems import refuse
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, FileField, Id, body_schema, parse_body
from serving.gateway.services import services


class ScoreBody(Plain):
    """Body of `POST /v1/scores`."""

    file: FileField | None = None
    """An MP4, in a multipart body."""
    artifact: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None = None
    """An MP4 of this server, instead of a file."""
    dimensions: Annotated[list[Id], Field(min_length=1, max_length=64)] = sorted({*DIMENSIONS, *UNAVAILABLE})
    """Names of quality dimensions; none: all that are known, those without weights here with the reason."""
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)] | None = None
    """What the video was asked to show: the alignment dimensions need it."""
    series: bool = False
    """Whether each score says, frame by frame, what it is the mean of."""

    @field_validator("dimensions", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> ScoreBody:
        if (self.file is None) == (self.artifact is None):
            raise ValueError("give either a file or an artifact")
        return self


router = APIRouter(prefix="/v1/scores", tags=["scores"])

BODY_TYPES = (FORM_TYPE, JSON_TYPE)


@router.post("", openapi_extra=body_schema(ScoreBody, BODY_TYPES))
async def score(request: Request) -> ScoreList:
    """Measure one video: a score per dimension."""
    body = await parse_body(request, ScoreBody, 1, services(request).limits.video_bytes, BODY_TYPES)
    for name in body.dimensions:
        try:
            check_dimension(name)
        except UnknownDimension as error:
            refuse("dimensions", str(error))
    video, times = await _video(request, body)
    asked = scoring.ScoreRequest(
        data=video, times=times, dimensions=tuple(body.dimensions), prompt=body.prompt, series=body.series
    )
    scores = await while_connected(request, services(request).backend.score(asked, Unwatched()))
    return ScoreList(sha256=hashlib.sha256(video).hexdigest(), data=list(scores))


async def _video(request: Request, body: ScoreBody) -> tuple[bytes, tuple[float, ...] | None]:
    """The MP4, and when its frames are shown; None for one of this server's own."""
    if body.file is None:
        pictures = Pictures(services(request), owner(request))
        return await pictures.artifact(body.artifact or "", "artifact", ("video/mp4",)), None
    try:
        times = await while_connected(
            request, services(request).decoders.check_video(body.file.data, body.file.filename, owner(request))
        )
    except BadInput as error:
        refuse("file", str(error))
    return body.file.data, times
