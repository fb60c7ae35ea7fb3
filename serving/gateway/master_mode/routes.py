"""`/api/master-mode`: a story, its scenes and their video by the recipe `master`, awaited or not, with its progress.

The generation runs detached: a client that hangs up finds it again under its own id or the generation's.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import format_sse_event

from pipelines.brief import MAX_REFERENCES
from pipelines.errors import NotFound
from pipelines.orders.ad import AdRequest
from pipelines.recipe import StageName
from pipelines.records import Event, Generation
from pipelines.report.verdict import warnings
from pipelines.steps import Json
from serving.gateway.answers import while_connected
from serving.gateway.auth.gate import owner
from serving.gateway.events import ENDED, cursor, event_streams, sse_response, stream_content
from serving.gateway.generations.answers import Conversation
from serving.gateway.generations.views import MASTER, message_object
from serving.gateway.master_mode.answers import StoryAccepted, StoryResponse
from serving.gateway.master_mode.schemas import StoryRequest
from serving.gateway.master_mode.views import progress_updates, run_state, story_response
from serving.gateway.orders import AdIntake, Idempotent
from serving.gateway.problems import Problem
from serving.gateway.proxies import address
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, Id, body_schema, parse_body
from serving.gateway.services import Services, services

router = APIRouter(prefix="/api/master-mode", tags=["master mode"])
BODY_TYPES = (FORM_TYPE, JSON_TYPE)
EARLY_SECONDS = 3.0
"""A client may ask for the progress of a request that is still on its way: so long the stream waits for it."""
LOOK_SECONDS = 0.1
STORY: tuple[StageName, ...] = ("story",)
SCENES: tuple[StageName, ...] = ("story", "scenes")
OPTIONAL = (
    "scenes",
    "video_generation_params",
    "final_video_path",
    "video_generation_status",
    "scene_videos",
    "error_message",
)
"""Parts of a response that are absent unless they were made."""
ORDER_RESPONSES: dict[int | str, dict[str, object]] = {
    202: {"model": StoryAccepted, "description": "Accepted, with `Prefer: respond-async`"},
}
PROGRESS_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The steps, live until the end",
        "content": {"text/event-stream": stream_content("ProgressStreamItem")},
    },
    204: {"description": "The stream has ended and there is nothing past the cursor: do not reconnect"},
}
ClientIdPath = Annotated[str, Path(min_length=1, max_length=200)]


def _respond_async(
    prefer: Annotated[
        str | None, Header(max_length=1000, description="`respond-async`: do not wait for the end")
    ] = None,
) -> bool:
    return "respond-async" in (prefer or "").lower()


RespondAsync = Annotated[bool, Depends(_respond_async)]
"""Whether the client asks for an answer before the generation has ended."""


@router.post(
    "/generate-story",
    response_model=StoryResponse,
    responses=ORDER_RESPONSES,
    openapi_extra=body_schema(StoryRequest, BODY_TYPES),
)
async def generate_story(
    request: Request,
    idempotency: Idempotent,
    respond_async: RespondAsync,
) -> Response:
    """A story, and as asked its scenes and their video. Answers when all is made, or at once with `respond-async`."""
    used, user = services(request), owner(request)
    body = await parse_body(request, StoryRequest, MAX_REFERENCES, used.limits.upload_bytes, BODY_TYPES)
    keys = idempotency.keys(body, body.client_generation_id)
    accepted = await AdIntake(used, user).take(
        _request(body), body.reference_images, keys, roles=body.reference_roles, unused=body.unused
    )
    idempotency.mark(accepted.repeated)
    headers = dict(idempotency.headers)
    if respond_async:
        row = await used.store.get(user, accepted.id)
        later = StoryAccepted(
            generation_id=row.id,
            status=row.status,
            seed_value=row.brief.acting_seed,
            warnings=list(warnings(row.manifest)),
            progress_url=address(f"{router.prefix}/progress/{row.id}"),
            result_url=address(f"{router.prefix}/generate-story/{row.id}"),
        )
        headers |= {"Preference-Applied": "respond-async", "Location": later.result_url}
        return JSONResponse(later.model_dump(mode="json"), 202, headers)
    await while_connected(request, _ended(request, user, accepted.id))
    made = await _story(used, user, await used.store.get(user, accepted.id))
    return JSONResponse(_present(made), headers=headers)


@router.get("/generate-story/{generation_id}", response_model=StoryResponse)
async def get_story(request: Request, generation_id: Id) -> Response:
    """The response to a request that was not awaited. 409 before the generation has ended."""
    used, user = services(request), owner(request)
    generation = await used.store.get(user, generation_id)
    if generation.status not in ENDED:
        text = f"generation {generation_id!r} is {generation.status}: follow {router.prefix}/progress/{generation_id}"
        raise Problem("conflict", text)
    return JSONResponse(_present(await _story(used, user, generation)))


@router.get("/progress/{client_generation_id}", response_class=Response, responses=PROGRESS_RESPONSES)
async def get_progress(request: Request, client_generation_id: ClientIdPath) -> Response:
    """The steps of a request by its `client_generation_id` or its generation's id, from the first one on, as events.

    Any number of clients may listen, whenever they come; `Last-Event-ID` continues after what was seen.
    """
    used, user = services(request), owner(request)
    generation_id = await _generation_id(used, user, client_generation_id)
    start = cursor(request, None)
    generation = await used.store.get(user, generation_id)
    if generation.status in ENDED and not await used.ads.index.log(generation_id, start, 1):
        return Response(status_code=204)

    def frames(event: Event) -> list[bytes]:
        updates = progress_updates(generation_id, event)
        return [  # the id comes with the last frame of an event: who loses the connection before gets it whole again
            format_sse_event(data_str=update.model_dump_json(), id=str(event.seq) if number == len(updates) else None)
            for number, update in enumerate(updates, start=1)
        ]

    return sse_response(event_streams(request).follow(user, generation_id, start), frames)


@router.get("/conversation/{client_generation_id}")
async def get_conversation(request: Request, client_generation_id: ClientIdPath) -> Conversation:
    """What the agents said, by the same ids as the progress."""
    used, user = services(request), owner(request)
    generation_id = await _generation_id(used, user, client_generation_id)
    said = await used.store.messages(generation_id)
    return Conversation(generation_id=generation_id, messages=[message_object(message) for message in said])


async def _ended(request: Request, user: str, generation_id: str) -> None:
    """Wait until the generation has ended."""
    async with aclosing(event_streams(request).follow(user, generation_id)) as events:
        async for _ in events:
            pass


async def _story(used: Services, user: str, generation: Generation) -> StoryResponse:
    """The response of a generation that has ended.

    Raises Problem 500 with the reason, or 409 when it was cancelled, before there was a story.
    """
    made = await used.store.generation_outputs(generation.id)
    response = story_response(generation, run_state(made.outputs), made.messages, made.takes)
    if response is not None:
        return response
    details = {"generation_id": generation.id}
    if generation.status == "cancelled":
        raise Problem("conflict", f"generation {generation.id!r} was cancelled", details=details, final=True)
    text = generation.error_message or "the generation failed"
    raise Problem("inference_failed", text, details=details, final=True)


def _present(made: StoryResponse) -> Json:
    """The response without the parts that there are none of: the contract leaves them out."""
    absent = {name for name in OPTIONAL if getattr(made, name) is None}
    return made.model_dump(mode="json", exclude=absent)


async def _generation_id(used: Services, user: str, name: str) -> str:
    """The owner's generation of this name, which may come within EARLY_SECONDS. Raises NotFound."""
    until = time.monotonic() + EARLY_SECONDS
    while True:
        try:
            return await _found(used, user, name)
        except NotFound:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(LOOK_SECONDS)


async def _found(used: Services, user: str, name: str) -> str:
    try:
        return await used.ads.intake.find(user, f"client:{name}")
    except NotFound:
        return (await used.store.get(user, name)).id


def _request(body: StoryRequest) -> AdRequest:
    names = ("prompt", "title", "brand_name", "duration", "aspect_ratio", "num_scenes", "seed")
    stages = None if body.generate_videos else SCENES if body.generate_scenes else STORY
    return AdRequest(
        recipe=MASTER,
        brief={name: getattr(body, name) for name in names},
        stages=stages,
        quality_dimensions=body.quality.dimensions if body.quality else None,
        quality_gate=body.quality.gate if body.quality else None,
        candidates=body.quality.choice if body.quality else None,
        max_story_rounds=body.max_iterations,
        accept_out_of_domain=body.accept_out_of_domain,
    )
