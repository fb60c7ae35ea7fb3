"""`/v1/scores`: quality dimensions of videos, measured while the caller waits, and the list of all dimensions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from models.errors import InferenceFailed
from models.interfaces import Plain, Reference, Unwatched
from pipelines.brief import MAX_REFERENCES, role_of
from pipelines.errors import BadInput
from pipelines.scoring import ScoreRequest
from quality.registry import DIMENSIONS, UNAVAILABLE, check_dimension
from quality.score import Score, UnknownDimension
from serving.gateway.answers import while_connected
from serving.gateway.auth.gate import owner
from serving.gateway.forms import Upload
from serving.gateway.openai.answers import DimensionList, DimensionObject, ScoredFile, ScoreList, ScoreLists
from serving.gateway.orders import ReferenceRoles, check_roles
from serving.gateway.pictures import Pictures
from serving.gateway.problems import refuse
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, FileField, Id, PictureSource, body_schema, parse_body
from serving.gateway.services import services

MAX_FILES = 8
"""Videos in one request; together they have the bytes that one may have."""
Sha256 = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Several = Field(min_length=1, max_length=MAX_FILES)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class ScoreBody(Plain):
    """Body of `POST /v1/scores`: one file or artifact, or several of one kind."""

    file: FileField | Annotated[list[FileField], Several] | None = None
    """An MP4, in a multipart body; the field is repeated for several, or named `file[]`."""
    artifact: Sha256 | Annotated[list[Sha256], Several] | None = None
    """An MP4 of this server, instead of a file; or a list of several."""
    reference: Annotated[list[PictureSource], BeforeValidator(_as_list), Field(max_length=MAX_REFERENCES)] = Field(
        default_factory=list
    )
    """Pictures that the videos were to look like: files, base64 or artifact ids; the field is repeated for several."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What the references show, in their order; empty: by their files' names, else `product`."""
    dimensions: Annotated[list[Id], Field(min_length=1, max_length=128)] = sorted({*DIMENSIONS, *UNAVAILABLE})
    """Names of quality dimensions; none: all that are known, those without weights here with the reason."""
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)] | None = None
    """What the videos were asked to show: the alignment dimensions need it."""
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


class Video(NamedTuple):
    """One video of a request."""

    name: str
    data: bytes
    is_own: bool
    """Whether this server wrote it; else it is a stranger's."""


router = APIRouter(prefix="/v1/scores", tags=["scores"])

BODY_TYPES = (FORM_TYPE, JSON_TYPE)


@router.get("/dimensions")
async def list_dimensions(request: Request) -> DimensionList:
    """Every dimension: what it gives, needs and costs, and what is missing here to measure it."""
    found = await asyncio.to_thread(services(request).dimensions)
    return DimensionList(data=[DimensionObject(**entry.model_dump()) for entry in found])


@router.post("", openapi_extra=body_schema(ScoreBody, BODY_TYPES))
async def score(request: Request) -> ScoreList | ScoreLists:
    """Measure a video, or several: a score per dimension. Several are measured one after the other; one that cannot be
    measured has the reason in its place."""
    limit = services(request).limits.video_bytes
    body = await parse_body(request, ScoreBody, MAX_FILES + MAX_REFERENCES, limit, BODY_TYPES)
    for name in body.dimensions:
        try:
            check_dimension(name)
        except UnknownDimension as error:
            refuse("dimensions", str(error))
    references = await _references(request, body)
    videos = await _videos(request, body)
    if not isinstance(body.file, list) and not isinstance(body.artifact, list):
        (video,) = videos
        try:
            scores = await _measured(request, video, body, references)
        except BadInput as error:
            refuse("file", str(error))
        return ScoreList(sha256=hashlib.sha256(video.data).hexdigest(), data=scores)
    return ScoreLists(data=[await _scored(request, video, body, references) for video in videos])


async def _references(request: Request, body: ScoreBody) -> tuple[Reference, ...]:
    """The references, decoded outside of this process as all uploads are. Raises Problem 404, 413, 422."""
    check_roles(body.reference_roles, len(body.reference))
    pictures = Pictures(services(request), owner(request))
    found = []
    for place, source in enumerate(body.reference):
        named = role_of(source.filename) if isinstance(source, Upload) else "product"
        role = body.reference_roles[place] if body.reference_roles else named
        found.append(Reference(image=await pictures.picture(source, "reference"), role=role))
    return tuple(found)


async def _videos(request: Request, body: ScoreBody) -> list[Video]:
    if body.artifact is None:
        uploads = body.file if isinstance(body.file, list) else [body.file]
        return [Video(upload.filename, upload.data, False) for upload in uploads if upload is not None]
    pictures = Pictures(services(request), owner(request))
    wanted = body.artifact if isinstance(body.artifact, list) else [body.artifact]
    return [Video(each, await pictures.artifact(each, "artifact", ("video/mp4",)), True) for each in wanted]


async def _scored(request: Request, video: Video, body: ScoreBody, references: Sequence[Reference]) -> ScoredFile:
    """The row of one of several videos."""
    sha256 = hashlib.sha256(video.data).hexdigest()
    try:
        scores = await _measured(request, video, body, references)
    except (BadInput, InferenceFailed) as error:
        return ScoredFile(filename=video.name, sha256=sha256, data=[], reason=str(error))
    return ScoredFile(filename=video.name, sha256=sha256, data=scores)


async def _measured(request: Request, video: Video, body: ScoreBody, references: Sequence[Reference]) -> list[Score]:
    """A score per dimension. Raises BadInput for a stranger's file that is no whole MP4, ModelError, QueueFull."""
    times = None
    if not video.is_own:
        check = services(request).decoders.check_video(video.data, video.name, owner(request))
        times = await while_connected(request, check)
    asked = ScoreRequest(
        data=video.data,
        times=times,
        dimensions=tuple(body.dimensions),
        prompt=body.prompt,
        references=tuple(references),
        series=body.series,
    )
    return list(await while_connected(request, services(request).backend.score(asked, Unwatched())))
