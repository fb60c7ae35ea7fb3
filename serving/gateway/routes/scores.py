"""`POST /v1/scores`: quality dimensions of a video, measured while the caller waits."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request

from pipelines import scoring
from pipelines.errors import BadInput
from quality.errors import UnknownDimension
from quality.registry import check_dimension
from serving.gateway.bodies import FORM_TYPE, JSON_TYPE, body_schema, read_body
from serving.gateway.disconnects import while_connected
from serving.gateway.identity import owner
from serving.gateway.problems import refuse
from serving.gateway.schemas.scores import ScoreList, ScoreRequest
from serving.gateway.services import services
from serving.gateway.uploads import Pictures

router = APIRouter(prefix="/v1/scores", tags=["scores"])

BODY_TYPES = (FORM_TYPE, JSON_TYPE)


@router.post("", openapi_extra=body_schema(ScoreRequest, BODY_TYPES))
async def score(request: Request) -> ScoreList:
    """Scores of one video, a row per dimension."""
    body = await read_body(request, ScoreRequest, 1, services(request).limits.video_bytes, BODY_TYPES)
    for name in body.dimensions:
        try:
            check_dimension(name)
        except UnknownDimension as error:
            refuse("dimensions", str(error))
    video = await _video(request, body)
    order = scoring.ScoreRequest(data=video, dimensions=tuple(body.dimensions), prompt=body.prompt)
    scores = await while_connected(request, services(request).backend.score(order))
    return ScoreList(sha256=hashlib.sha256(video).hexdigest(), data=list(scores))


async def _video(request: Request, body: ScoreRequest) -> bytes:
    if body.file is None:
        pictures = Pictures(services(request), owner(request))
        return await pictures.artifact(body.artifact or "", "artifact", ("video/mp4",))
    try:
        await services(request).decoders.read("video", body.file.data, body.file.filename)
    except BadInput as error:
        refuse("file", str(error))
    return body.file.data
