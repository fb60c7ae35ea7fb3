"""Addresses of OpenAI's API that are not served here: each answers 404 with what to do instead.

Whoever calls one has a client for it, and learns more from a sentence than from a missing page.
"""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter

from serving.gateway.problems import Problem

EDIT = "send the image to /v1/images/edits with a prompt; strength says how much of it is redrawn"
CHAT = "ask /v1/chat/completions"
FILES = "files are sent in the request that uses them, as multipart, base64 or the id of an artifact"
ABSENT = {
    "/v1/images/variations": EDIT,
    "/v1/responses": CHAT,
    "/v1/responses/{unread_id}": CHAT,
    "/v1/completions": CHAT,
    "/v1/conversations": CHAT,
    "/v1/assistants": CHAT,
    "/v1/threads": CHAT,
    "/v1/videos/edits": "order a new clip from /v1/videos with the frame to start from as input_reference",
    "/v1/videos/extensions": "order a new clip from /v1/videos with the last frame as input_reference",
    "/v1/videos/{unread_id}/remix": "order a new clip from /v1/videos with the seed of the old one and another prompt",
    "/v1/videos/characters": "send reference images in ip_adapter with the role character",
    "/v1/videos/characters/{unread_id}": "send reference images in ip_adapter with the role character",
    "/v1/files": FILES,
    "/v1/uploads": FILES,
    "/v1/vector_stores": FILES,
    "/v1/embeddings": "no model here makes embeddings; similarity of pictures is measured by /v1/scores",
    "/v1/moderations": "no model here judges texts",
    "/v1/batches": "send the requests one by one: calls that fit together share a batch",
    "/v1/fine_tuning/jobs": "models are trained outside of the server (see models/sketch/training)",
    "/v1/audio/speech": "no model here makes sound",
    "/v1/audio/transcriptions": "no model here hears",
    "/v1/audio/translations": "no model here hears",
}
"""What to do instead, by address."""

router = APIRouter(include_in_schema=False)


def _refusal(address: str, instead: str) -> None:
    @router.api_route(address, methods=["GET", "POST", "DELETE"], response_model=None)
    async def absent() -> NoReturn:
        raise Problem("not_found", f"{address} is not served here: {instead}")


for _address, _instead in ABSENT.items():
    _refusal(_address, _instead)
