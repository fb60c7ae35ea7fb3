"""`/api/v1/generations`: ask for an ad by any recipe, follow it, decide on it. Other APIs view the same rows."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from pipelines.brief import MAX_REFERENCES
from pipelines.orders.ad import AdRequest
from pipelines.records import Generation, GenerationStatus
from pipelines.report.folder import POLICY, render_page
from pipelines.report.record import RunRecord
from serving.gateway import orders
from serving.gateway.auth.gate import owner
from serving.gateway.events import ENDED, MAX_SEQ, cursor, event_frame, event_streams, sse_response, stream_content
from serving.gateway.generations.answers import (
    Conversation,
    Deleted,
    EventList,
    GenerationDetail,
    GenerationObject,
    GenerationPage,
    TakeList,
)
from serving.gateway.generations.schemas import ApproveBody, CorrectBody, GenerationCreate, RegenerateBody, SelectBody
from serving.gateway.generations.views import (
    generation_detail,
    generation_object,
    message_object,
    run_record,
    take_object,
)
from serving.gateway.orders import AdIntake, Idempotent, nested_field, notify
from serving.gateway.problems import Problem
from serving.gateway.proxies import address
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, BodyRoute, Id, body_schema, parse_body
from serving.gateway.services import Services, services

router = APIRouter(prefix="/api/v1/generations", tags=["generations"], route_class=BodyRoute)

BODY_TYPES = (JSON_TYPE, FORM_TYPE)
MAX_PAGE, MAX_OFFSET, MAX_EVENTS = 100, 1_000_000, 1000
EVENT_STREAM = "text/event-stream"
STREAM_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The log; as a stream to who accepts one",
        "content": {EVENT_STREAM: stream_content("GenerationStreamItem")},
    },
    204: {"description": "The stream has ended and there is nothing past the cursor: do not reconnect"},
}
FRAME_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a page cannot say of itself in its own text, but a server in a header."""
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
PageOffset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]


@router.post("", status_code=202, openapi_extra=body_schema(GenerationCreate, BODY_TYPES))
async def create_generation(request: Request, response: Response, idempotency: Idempotent) -> GenerationDetail:
    """Ask for an ad. It is stored and made by a worker; follow its events, or poll it."""
    used, user = services(request), owner(request)
    body = await parse_body(request, GenerationCreate, MAX_REFERENCES, used.limits.upload_bytes, BODY_TYPES)
    accepted = await AdIntake(used, user, nested_field).take(
        _request(body), body.references, idempotency.keys(body), body.parent_generation_id, body.reference_roles
    )
    idempotency.mark(accepted.repeated)
    response.headers["Location"] = address(f"{router.prefix}/{accepted.id}")
    return await detail(used, user, accepted.id)


@router.get("")
async def list_generations(
    request: Request,
    limit: PageLimit = 20,
    offset: PageOffset = 0,
    status: Annotated[list[GenerationStatus] | None, Query(max_length=20)] = None,
    recipe: Annotated[list[Id] | None, Query(max_length=20)] = None,
    q: Annotated[str | None, Query(max_length=200, description="Text in the prompt")] = None,
) -> GenerationPage:
    """The caller's generations, newest first."""
    return await listed(request, limit, offset, tuple(status or ()), tuple(recipe or ()), q)


@router.get("/{generation_id}")
async def get_generation(request: Request, generation_id: Id) -> GenerationDetail:
    """One generation with what was made so far."""
    return await detail(services(request), owner(request), generation_id)


@router.get("/{generation_id}/events", response_model=EventList, responses=STREAM_RESPONSES)
async def get_events(
    request: Request,
    generation_id: Id,
    after: Annotated[int | None, Query(ge=0, le=MAX_SEQ)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = MAX_EVENTS,
) -> Response:
    """The event log past `after`: JSON, or live until the generation has ended for who accepts `text/event-stream`.

    A stream continues after `Last-Event-ID`. Any number of clients may follow; each gets every event once and in order.
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
async def get_takes(request: Request, generation_id: Id) -> TakeList:
    """Every take of a generation, oldest first, with its provenance."""
    used = services(request)
    await used.store.get(owner(request), generation_id)
    return TakeList(items=[take_object(take) for take in await used.store.takes(generation_id)])


@router.get("/{generation_id}/record")
async def get_record(request: Request, generation_id: Id) -> RunRecord:
    """Everything about a generation, complete or not, in one object: what `run.json` of the command line holds."""
    return await run_record(services(request), owner(request), generation_id)


@router.get("/{generation_id}/report", response_class=HTMLResponse)
async def get_report(request: Request, generation_id: Id) -> HTMLResponse:
    """The report as one page with all that it shows: what `report.html` of the command line is. Its scores have curves,
    and a click on one goes to that moment of the video."""
    used = services(request)
    record = await run_record(used, owner(request), generation_id)
    page = await asyncio.to_thread(render_page, record, used.artifacts)
    return HTMLResponse(page, headers={"Content-Security-Policy": f"{POLICY}; {FRAME_POLICY}"})


@router.get("/{generation_id}/conversation")
async def get_conversation(request: Request, generation_id: Id) -> Conversation:
    """What agents, owner and assistant said, in order."""
    used = services(request)
    await used.store.get(owner(request), generation_id)
    said = await used.store.messages(generation_id)
    return Conversation(generation_id=generation_id, messages=[message_object(message) for message in said])


@router.post("/{generation_id}/cancel")
async def cancel_generation(request: Request, generation_id: Id) -> GenerationObject:
    """Cancel a generation: at once while it waits, within one denoising step while it runs. One that ended is left."""
    return generation_object(await orders.cancel(services(request), owner(request), generation_id))


@router.post("/{generation_id}/approve")
async def approve(request: Request, generation_id: Id, body: ApproveBody) -> GenerationObject:
    """Approve a stage, so that the next stage runs. 400 for one that does not wait; twice is the same as once."""
    used, user = services(request), owner(request)
    directed = await used.ads.directions.approve(user, generation_id, body.stage, body.selected_indices, body.notes)
    return await _resumed(used, directed)


@router.post("/{generation_id}/regenerate")
async def regenerate(
    request: Request, generation_id: Id, body: RegenerateBody, idempotency: Idempotent
) -> GenerationObject:
    """Regenerate a stage, one scene of it or one take; what follows from it runs again."""
    used, user = services(request), owner(request)
    directions, keys = used.ads.directions, idempotency.keys(body)
    if await idempotency.is_repeated(keys):
        return generation_object(await used.store.get(user, generation_id))
    said = (body.feedback, body.modifications, keys)
    if body.take_id is not None:
        await _check_take(used, user, generation_id, body.take_id)
    if body.stage is not None:
        decided = directions.regenerate(user, generation_id, body.stage, body.scene_number, *said)
    else:
        decided = directions.regenerate_take(user, generation_id, body.take_id or "", *said)
    return await _resumed(used, await decided)


@router.patch("/{generation_id}")
async def correct(request: Request, generation_id: Id, body: CorrectBody) -> GenerationObject:
    """Correct what was read in the brief (`facts` of the detail). The story is told again, and what follows from it."""
    used, user = services(request), owner(request)
    return await _resumed(used, await used.ads.directions.correct_facts(user, generation_id, body.facts))


@router.post("/{generation_id}/select")
async def select(request: Request, generation_id: Id, body: SelectBody) -> GenerationObject:
    """Make an earlier take the current one (undo, redo); what follows from it runs again."""
    used, user = services(request), owner(request)
    await _check_take(used, user, generation_id, body.take_id)
    return await _resumed(used, await used.ads.directions.select(user, generation_id, body.take_id))


@router.post("/{generation_id}/resume")
async def resume(request: Request, generation_id: Id) -> GenerationObject:
    """Resume a failed or cancelled generation; its finished steps are reused."""
    used, user = services(request), owner(request)
    return await _resumed(used, await used.ads.directions.resume(user, generation_id))


@router.delete("/{generation_id}")
async def delete_generation(request: Request, generation_id: Id) -> Deleted:
    """Delete a generation with its files. One that runs is cancelled first."""
    await orders.remove(services(request), owner(request), generation_id)
    return Deleted(id=generation_id)


async def detail(used: Services, user: str, generation_id: str) -> GenerationDetail:
    """A generation with what was made so far. Raises NotFound."""
    generation = await used.store.get(user, generation_id)
    return generation_detail(generation, await used.store.generation_outputs(generation_id))


async def listed(
    request: Request,
    limit: int,
    offset: int,
    statuses: tuple[GenerationStatus, ...],
    recipes: tuple[str, ...],
    text: str | None,
) -> GenerationPage:
    """A page of the caller's generations."""
    index = services(request).ads.index
    rows, total = await index.page(owner(request), limit, offset, statuses, recipes, text)
    return GenerationPage(
        items=[generation_object(row) for row in rows],
        total=total,
        limit=limit,
        offset=offset,
        has_more=offset + len(rows) < total,
    )


async def _resumed(used: Services, directed: Generation) -> GenerationObject:
    """The generation after its owner decided, once the workers were notified."""
    await notify(used.notifier.wake())
    return generation_object(directed)


async def _check_take(used: Services, user: str, generation_id: str, take_id: str) -> None:
    """Raises NotFound for the generation, Problem 400 for a take of another one."""
    await used.store.get(user, generation_id)
    if take_id not in {take.id for take in await used.store.takes(generation_id)}:
        raise Problem("bad_request", f"no take {take_id!r} in this generation", "take_id")


def _request(body: GenerationCreate) -> AdRequest:
    """What a body asks for, references aside."""
    given = {name: getattr(body.brief, name) for name in body.brief.model_fields_set}
    return AdRequest(
        recipe=body.recipe,
        brief={name: value for name, value in given.items() if value is not None},
        coherence=body.coherence.given if body.coherence else {},
        approvals=body.approvals,
        quality_dimensions=body.quality.dimensions if body.quality else None,
        quality_gate=body.quality.gate if body.quality else None,
        candidates=body.quality.choice if body.quality else None,
        storyboard=body.storyboard,
        use_llm=body.use_llm,
        accept_out_of_domain=body.accept_out_of_domain,
    )
