"""`/v1/scores`: quality dimensions of videos, measured while the caller waits, and the list of all dimensions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from models.errors import InferenceFailed
from models.interfaces import Reference, Unwatched
from pipelines.asked_fields import AskedFields
from pipelines.brief import MAX_REFERENCES, role_of
from pipelines.errors import BadInput
from pipelines.scoring import ScoreRequest
from pipelines.uploads import kind_of
from quality.protocols import AskedProtocol, in_protocol, numbered
from quality.registry import DIMENSIONS, UNAVAILABLE, check_dimension, measured_on
from quality.score import Score, UnknownDimension
from serving.errors import Undecodable
from serving.gateway.answers import while_connected
from serving.gateway.auth.gate import owner
from serving.gateway.forms import Upload
from serving.gateway.openai.answers import DimensionList, DimensionObject, ScoredFile, ScoreList, ScoreLists
from serving.gateway.orders import ReferenceRoles, check_roles
from serving.gateway.pictures import Pictures
from serving.gateway.problems import Problem, refuse
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, FileField, Id, PictureSource, body_schema, parse_body
from serving.gateway.services import services

MAX_FILES = 8
"""Videos in one request; together they have the bytes that one may have."""
Sha256 = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Several = Field(min_length=1, max_length=MAX_FILES)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class ScoreBody(AskedFields):
    """Body of `POST /v1/scores`: one file or artifact, or several of one kind."""

    file: FileField | Annotated[list[FileField], Several] | None = None
    """An MP4 or a picture (JPEG, PNG, WebP, AVIF, HEIC), in a multipart body; the field is repeated for several, or
    named `file[]`."""
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
    protocol: AskedProtocol = "auto"
    """How VBench's dimensions see a video: `auto` in pieces of 2 s where it has 5 s or more, `custom` as a whole,
    `long2s` in pieces; `standard`: it is of VBench's own prompts (the `prompt`, or the name `<prompt>-<k>.mp4`)."""
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
        except Undecodable as error:
            raise Problem("undecodable", str(error), "file") from None
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
    except (BadInput, Undecodable, InferenceFailed) as error:
        return ScoredFile(filename=video.name, sha256=sha256, data=[], reason=str(error))
    return ScoredFile(filename=video.name, sha256=sha256, data=scores)


async def _measured(request: Request, video: Video, body: ScoreBody, references: Sequence[Reference]) -> list[Score]:
    """A score per dimension; of a picture per one that sees pictures. Raises BadInput and Undecodable for a stranger's
    file that is no whole MP4 and no picture, ModelError, QueueFull."""
    data, times, names = video.data, None, tuple(body.dimensions)
    is_image = not video.is_own and kind_of(data) is not None
    if is_image:
        seeing = measured_on("keyframe", names)
        if not (names := tuple(name for name in names if name in seeing)):
            raise BadInput(f"picture {video.name!r}: no dimension that was named is measured on pictures: name others")
        data = await _picture(request, video)
    elif not video.is_own:
        check = services(request).decoders.check_video(data, video.name, owner(request))
        times = await while_connected(request, check)
    found = numbered(video.name) if body.protocol == "standard" and body.prompt is None and not is_image else None
    asked = ScoreRequest(
        data=data,
        media="image" if is_image else "video",
        times=times,
        dimensions=names if is_image else in_protocol(names, body.protocol),
        prompt=body.prompt if found is None else found[0],
        asked=body.as_asked(),
        references=tuple(references),
        protocol=body.protocol,
        series=body.series,
    )
    scores = await while_connected(request, services(request).backend.score(asked, Unwatched()))
    if is_image:  # it was written anew before it was measured: the hash is to be that of the file
        sha256 = hashlib.sha256(video.data).hexdigest()
        return [score.model_copy(update={"source_sha256": sha256}) for score in scores]
    return list(scores)


async def _picture(request: Request, file: Video) -> bytes:
    """A picture, decoded outside of this process as all uploads are. Raises BadInput, Undecodable, QueueFull."""
    used = services(request)
    if len(file.data) > used.limits.upload_bytes:
        most = used.limits.upload_bytes / 2**20
        raise BadInput(f"picture {file.name!r} has more than {most:.0f} MB: scale it down")
    read = used.decoders.read("reference", file.data, file.name, "image", owner(request))
    return await while_connected(request, read)
