"""`/api/v1/interactive`: the contract's sessions, as views of generations of the recipe `interactive`.

Every call answers at once, with the row as it is then; a worker does the work. `/ws/{session_id}` shows it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.ad_order import AdOrder
from serving.gateway.ad_orders import AdDesk
from serving.gateway.bodies import FORM_TYPE, body_schema
from serving.gateway.event_stream import event_streams
from serving.gateway.idempotency import REPLAYED, IdempotencyKey, is_repeated, request_key
from serving.gateway.identity import owner
from serving.gateway.schemas.interactive import (
    Approval,
    Approved,
    ChatMessage,
    Inpainted,
    InpaintOrder,
    ReferencesUploaded,
    ReferenceUpload,
    Regenerated,
    Regeneration,
    SceneModifications,
    Session,
    SessionStart,
    SessionStatus,
)
from serving.gateway.services import services
from serving.gateway.session_edits import SessionEdits
from serving.gateway.session_references import take_references
from serving.gateway.session_stages import stage_after
from serving.gateway.sessions import RECIPE, Sessions, work_stage_of

router = APIRouter(prefix="/api/v1/interactive", tags=["interactive"])


@router.post("/start", status_code=201)
async def start(request: Request, response: Response, body: SessionStart, key: IdempotencyKey = None) -> Session:
    """A new session. It begins with the story, and waits for approval there unless its mode is `auto`."""
    used, user = services(request), owner(request)
    brief = {"prompt": body.prompt, "title": body.title, "duration": body.target_duration}
    order = AdOrder(recipe=RECIPE, brief=brief, approvals=() if body.mode == "auto" else None)
    accepted = await AdDesk(used, user).take(order, (), request_key(request, key, body))
    if accepted.repeated:
        response.headers[REPLAYED] = "true"
    return await Sessions(used, user).show(accepted.id)


@router.get("/{session_id}/status")
async def get_status(request: Request, session_id: str) -> SessionStatus:
    """Where the session stands, for polling."""
    return await _sessions(request).status(session_id)


@router.get("/{session_id}")
async def get_session(request: Request, session_id: str) -> Session:
    """The session with everything that it made and everything that was said."""
    return await _sessions(request).show(session_id)


@router.post("/{session_id}/approve")
async def approve(request: Request, session_id: str, body: Approval) -> Approved:
    """Go on to the next stage. 400 unless `stage` is the one that waits; the same approval twice counts once."""
    sessions, directions = _sessions(request), services(request).ads.directions
    await sessions.row(session_id)
    stage = work_stage_of(body.stage)
    await sessions.direct(directions.approve(owner(request), session_id, stage, body.selected_indices, body.notes))
    following = stage_after(stage)
    message = f"The {stage} is approved. Next: {following}."
    return Approved(session_id=session_id, approved_stage=stage, next_stage=following, message=message)


@router.post("/{session_id}/regenerate")
async def regenerate(
    request: Request, response: Response, session_id: str, body: Regeneration, key: IdempotencyKey = None
) -> Regenerated:
    """Make a stage anew, or one scene of it (`modifications.scene_number`); what follows from it follows again.

    409 while a worker is at it. The takes of before stay, and can be made current again.
    """
    sessions, directions = _sessions(request), services(request).ads.directions
    changes = body.modifications or SceneModifications()
    await sessions.row(session_id)
    stage = work_stage_of(body.stage)
    if not await is_repeated(request, response, keys := request_key(request, key, body)):
        wanted = (stage, changes.scene_number, body.feedback, changes.settings)
        await sessions.direct(directions.regenerate(owner(request), session_id, *wanted, keys))
    what = stage if changes.scene_number is None else f"scene {changes.scene_number} of the {stage}"
    return Regenerated(session_id=session_id, stage=stage, message=f"Being made anew: {what}.", regenerated=True)


@router.post("/{session_id}/reference-images/upload", openapi_extra=body_schema(ReferenceUpload, (FORM_TYPE,)))
async def upload_references(request: Request, session_id: str) -> ReferencesUploaded:
    """Bring up to three images of your own, in place of a drawn reference; until the story is approved."""
    return await take_references(request, _sessions(request), session_id)


@router.post("/{session_id}/inpaint", responses={202: {"model": Inpainted, "description": "The edit is still at work"}})
async def inpaint(
    request: Request, response: Response, session_id: str, body: InpaintOrder, key: IdempotencyKey = None
) -> Inpainted:
    """Repaint the white part of a mask in one image. The old image stays; the edited one is its next version."""
    edits = SessionEdits(services(request), owner(request), _sessions(request), event_streams(request))
    edited, repeated = await edits.inpaint(session_id, body, request_key(request, key, body))
    if repeated:
        response.headers[REPLAYED] = "true"
    if edited.edited_image_url is None:
        response.status_code = 202
    return edited


@router.post("/{session_id}/chat")
async def chat(request: Request, session_id: str, body: ChatMessage) -> Session:
    """Say something about what waits for approval. The answer is the last entry of the conversation.

    A message that names no scene is answered with a question, and makes nothing anew.
    """
    sessions = _sessions(request)
    await sessions.say(session_id, body)
    return await sessions.show(session_id)


def _sessions(request: Request) -> Sessions:
    return Sessions(services(request), owner(request))
