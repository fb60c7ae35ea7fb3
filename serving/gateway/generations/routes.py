"""`/api/v1/generations`: ask for an ad by any recipe, follow it, direct it. Other routes are views of the same rows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pipelines.errors import BadInput
from pipelines.records import Generation, GenerationStatus
from pipelines.report.record import RunRecord
from serving.gateway import queue as removal
from serving.gateway.auth.identity import owner
from serving.gateway.events import ENDED, MAX_SEQ, cursor, event_frame, event_streams, sse_response
from serving.gateway.generations.schemas import (
    ApproveBody,
    Conversation,
    Deleted,
    EventList,
    GenerationCreate,
    GenerationDetail,
    GenerationObject,
    Page,
    RegenerateBody,
    SelectBody,
    TakeList,
)
from serving.gateway.generations.views import (
    generation_detail,
    generation_object,
    message_object,
    run_record,
    take_object,
)
from serving.gateway.openai.sampling import MAX_PICTURES
from serving.gateway.orders import REPLAYED, AdDesk, IdempotencyKey, ad_request, is_repeated, request_key, unified_field
from serving.gateway.problems import Problem
from serving.gateway.queue import notify
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, body_schema, read_body
from serving.gateway.services import Services, services

router = APIRouter(prefix="/api/v1/generations", tags=["generations"])

BODY_TYPES = (JSON_TYPE, FORM_TYPE)
MAX_PAGE, MAX_OFFSET, MAX_EVENTS = 100, 1_000_000, 1000
EVENT_STREAM = "text/event-stream"
STREAM_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The log; as a stream to who accepts one", "content": {EVENT_STREAM: {}}},
    204: {"description": "The stream has ended and there is nothing past the cursor: do not reconnect"},
}
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
PageOffset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]


@router.post("", status_code=202, openapi_extra=body_schema(GenerationCreate, BODY_TYPES))
async def create_generation(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> GenerationDetail:
    """Ask for an ad. It is stored and made by a worker; follow its events, or poll it."""
    used, user = services(request), owner(request)
    body = await read_body(request, GenerationCreate, MAX_PICTURES, used.limits.upload_bytes, BODY_TYPES)
    keys = request_key(request, idempotency_key, body)
    desk = AdDesk(used, user, unified_field)
    accepted = await desk.take(ad_request(body), body.references, keys, body.parent_generation_id)
    response.headers["Location"] = f"{router.prefix}/{accepted.id}"
    if accepted.repeated:
        response.headers[REPLAYED] = "true"
    return await detail(used, user, accepted.id)


@router.get("")
async def list_generations(
    request: Request,
    limit: PageLimit = 20,
    offset: PageOffset = 0,
    status: Annotated[list[GenerationStatus] | None, Query()] = None,
    recipe: Annotated[list[str] | None, Query(max_length=20)] = None,
    q: Annotated[str | None, Query(max_length=200, description="Text in the prompt")] = None,
) -> Page[GenerationObject]:
    """The caller's generations, newest first."""
    return await listed(request, limit, offset, tuple(status or ()), tuple(recipe or ()), q)


@router.get("/{generation_id}")
async def get_generation(request: Request, generation_id: str) -> GenerationDetail:
    """One generation with what was made so far."""
    return await detail(services(request), owner(request), generation_id)


@router.get("/{generation_id}/events", response_model=EventList, responses=STREAM_RESPONSES)
async def get_events(
    request: Request,
    generation_id: str,
    after: Annotated[int | None, Query(ge=0, le=MAX_SEQ)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = MAX_EVENTS,
) -> Response:
    """The log past `after`: as JSON, or to whoever accepts `text/event-stream` live until the generation has ended.

    A stream goes on after `Last-Event-ID`; any number may follow, and all see every event once and in order.
    """
    used, user = services(request), owner(request)
    generation, start = await used.store.get(user, generation_id), cursor(request, after)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        items = await used.ads.index.log(generation_id, start, limit + 1)
        found = EventList(items=list(items[:limit]), has_more=len(items) > limit)
        return JSONResponse(found.model_dump(mode="json"))
    if generation.status in ENDED and not await used.ads.index.log(generation_id, start, 1):
        return Response(status_code=204)
    return sse_response(event_streams(request).follow(user, generation_id, start), event_frame)


@router.get("/{generation_id}/takes")
async def get_takes(request: Request, generation_id: str) -> TakeList:
    """Every take there is, oldest first, with its provenance."""
    used = services(request)
    await used.store.get(owner(request), generation_id)
    return TakeList(items=[take_object(take) for take in await used.store.takes(generation_id)])


@router.get("/{generation_id}/record")
async def get_record(request: Request, generation_id: str) -> RunRecord:
    """Everything about it in one object, as far as it is made: what `run.json` of the command line holds."""
    return await run_record(services(request), owner(request), generation_id)


@router.get("/{generation_id}/conversation")
async def get_conversation(request: Request, generation_id: str) -> Conversation:
    """What agents, owner and assistant said, in order."""
    used = services(request)
    await used.store.get(owner(request), generation_id)
    said = await used.store.messages(generation_id)
    return Conversation(generation_id=generation_id, messages=[message_object(message) for message in said])


@router.post("/{generation_id}/cancel")
async def cancel_generation(request: Request, generation_id: str) -> GenerationObject:
    """Stop it: at once while it waits, within one denoising step while it runs. Nothing happens to one that ended."""
    return generation_object(await removal.cancel(services(request), owner(request), generation_id))


@router.post("/{generation_id}/approve")
async def approve(request: Request, generation_id: str, body: ApproveBody) -> GenerationObject:
    """Let it go on. 400 for a stage that does not wait; approving once more what was just approved changes nothing."""
    used, user = services(request), owner(request)
    try:
        directed = await used.ads.directions.approve(user, generation_id, body.stage, body.selected_indices, body.notes)
    except BadInput as error:
        raise undecidable(error) from None
    return await _on(used, directed)


@router.post("/{generation_id}/regenerate")
async def regenerate(
    request: Request,
    response: Response,
    generation_id: str,
    body: RegenerateBody,
    idempotency_key: IdempotencyKey = None,
) -> GenerationObject:
    """Make a stage, one scene of it or one take anew; what follows from it runs again."""
    used, user = services(request), owner(request)
    directions, keys = used.ads.directions, request_key(request, idempotency_key, body)
    if await is_repeated(request, response, keys):
        return generation_object(await used.store.get(user, generation_id))
    said = (body.feedback, body.modifications, keys)
    if body.take_id is not None:
        await _check_take(used, user, generation_id, body.take_id)
    try:
        if body.stage is not None:
            asked = directions.regenerate(user, generation_id, body.stage, body.scene_number, *said)
        else:
            asked = directions.regenerate_take(user, generation_id, body.take_id or "", *said)
        return await _on(used, await asked)
    except BadInput as error:
        raise undecidable(error) from None


@router.post("/{generation_id}/select")
async def select(request: Request, generation_id: str, body: SelectBody) -> GenerationObject:
    """Make an earlier take the current one (undo, redo); what follows from it runs again."""
    used, user = services(request), owner(request)
    await _check_take(used, user, generation_id, body.take_id)
    try:
        directed = await used.ads.directions.select(user, generation_id, body.take_id)
    except BadInput as error:
        raise undecidable(error) from None
    return await _on(used, directed)


@router.post("/{generation_id}/resume")
async def resume(request: Request, generation_id: str) -> GenerationObject:
    """Try a failed or cancelled generation again; its finished steps are reused."""
    used, user = services(request), owner(request)
    try:
        directed = await used.ads.directions.resume(user, generation_id)
    except BadInput as error:
        raise undecidable(error) from None
    return await _on(used, directed)


@router.delete("/{generation_id}")
async def delete_generation(request: Request, generation_id: str) -> Deleted:
    """Delete it with its files, also while it runs: then it is cancelled first."""
    await removal.remove(services(request), owner(request), generation_id)
    return Deleted(id=generation_id)


async def detail(used: Services, user: str, generation_id: str) -> GenerationDetail:
    """Raises NotFound."""
    generation = await used.store.get(user, generation_id)
    return generation_detail(generation, await used.store.generation_outputs(generation_id))


async def listed(
    request: Request,
    limit: int,
    offset: int,
    statuses: tuple[GenerationStatus, ...],
    recipes: tuple[str, ...],
    text: str | None,
) -> Page[GenerationObject]:
    """A page of the caller's generations."""
    index = services(request).ads.index
    rows, total = await index.page(owner(request), limit, offset, statuses, recipes, text)
    return Page(
        items=[generation_object(row) for row in rows],
        total=total,
        limit=limit,
        offset=offset,
        has_more=offset + len(rows) < total,
    )


def undecidable(error: BadInput) -> Problem:
    """400: what is asked cannot be done with the generation as it stands, and nothing has changed."""
    return Problem("bad_request", str(error))


async def _on(used: Services, directed: Generation) -> GenerationObject:
    await notify(used.notifier.wake())
    return generation_object(directed)


async def _check_take(used: Services, user: str, generation_id: str, take_id: str) -> None:
    """Raises NotFound for the generation, Problem 400 for a take that is none of its."""
    await used.store.get(user, generation_id)
    if take_id not in {take.id for take in await used.store.takes(generation_id)}:
        raise Problem("bad_request", f"no take {take_id!r} in this generation", "take_id")
