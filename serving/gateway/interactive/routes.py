"""`/api/v1/interactive`: the contract's sessions, as views of generations of the recipe `interactive`.

Every call answers at once, with the row as it is then; a worker does the work. `/ws/{session_id}` shows it.
"""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from models.interfaces import ReferenceRole
from pipelines.brief import MAX_REFERENCES, BriefReference, role_of
from pipelines.orders.ad import AdRequest
from serving.gateway.auth.gate import owner
from serving.gateway.events import event_streams
from serving.gateway.forms import Upload
from serving.gateway.interactive.answers import (
    Approved,
    Inpainted,
    ReferencesUploaded,
    Regenerated,
    Session,
    SessionStatus,
)
from serving.gateway.interactive.edits import SessionEdits
from serving.gateway.interactive.reader import read_message
from serving.gateway.interactive.schemas import (
    Approval,
    ChatMessage,
    InpaintOrder,
    ReferenceUpload,
    Regeneration,
    SceneModifications,
    SessionStart,
)
from serving.gateway.interactive.sessions import RECIPE, Sessions, work_stage_of
from serving.gateway.interactive.stages import stage_after
from serving.gateway.interactive.views import reference_images
from serving.gateway.interactive.wishes import wishes_of
from serving.gateway.orders import AdIntake, Idempotent, ReferenceRoles, check_roles, flat_field
from serving.gateway.pictures import Pictures, kept_files
from serving.gateway.problems import Problem
from serving.gateway.requests import FORM_TYPE, BodyRoute, Id, body_schema, read_form
from serving.gateway.services import services

_ROLES: TypeAdapter[list[ReferenceRole]] = TypeAdapter(ReferenceRoles)

router = APIRouter(prefix="/api/v1/interactive", tags=["interactive"], route_class=BodyRoute)


@router.post("/start", status_code=201)
async def start(request: Request, body: SessionStart, idempotency: Idempotent) -> Session:
    """A new session. It begins with the story, and waits for approval there unless its mode is `auto`."""
    used, user = services(request), owner(request)
    brief = {
        "prompt": body.prompt,
        "title": body.title,
        "brand_name": body.brand_name,
        "duration": body.target_duration,
        "aspect_ratio": body.aspect_ratio,
        "seed": body.seed,
    }
    asked = AdRequest(
        recipe=RECIPE,
        brief=brief,
        approvals=() if body.mode == "auto" else None,
        quality_dimensions=body.quality.dimensions if body.quality else None,
        quality_gate=body.quality.gate if body.quality else None,
        candidates=body.quality.choice if body.quality else None,
        drawn_references=body.number_of_reference_images,
        accept_out_of_domain=body.accept_out_of_domain,
    )
    intake = AdIntake(used, user, _field)
    accepted = await intake.take(asked, (), idempotency.keys(body), unused=body.unused)
    idempotency.mark(accepted.repeated)
    return await Sessions(used, user).show(accepted.id)


@router.get("/{session_id}/status")
async def get_status(request: Request, session_id: Id) -> SessionStatus:
    """The state of a session, for polling."""
    return await _sessions(request).status(session_id)


@router.get("/{session_id}")
async def get_session(request: Request, session_id: Id) -> Session:
    """The session with everything that it made and everything that was said."""
    return await _sessions(request).show(session_id)


@router.post("/{session_id}/approve")
async def approve(request: Request, session_id: Id, body: Approval) -> Approved:
    """Approve a stage, so that the next one runs. 400 unless `stage` waits; the same approval twice counts once."""
    sessions, directions = _sessions(request), services(request).ads.directions
    await sessions.row(session_id)
    stage = work_stage_of(body.stage)
    await sessions.decide(directions.approve(owner(request), session_id, stage, body.selected_indices, body.notes))
    following = stage_after(stage)
    message = f"The {stage.replace('_', ' ')} is approved. Next: {following.replace('_', ' ')}."
    return Approved(session_id=session_id, approved_stage=stage, next_stage=following, message=message)


@router.post("/{session_id}/regenerate")
async def regenerate(request: Request, session_id: Id, body: Regeneration, idempotency: Idempotent) -> Regenerated:
    """Regenerate a stage, or one scene of it (`modifications.scene_number`); what follows from it runs again.

    409 while a worker runs it. The earlier takes stay, and can be made current again.
    """
    sessions, directions = _sessions(request), services(request).ads.directions
    changes = body.modifications or SceneModifications()
    generation = await sessions.row(session_id)
    stage = work_stage_of(body.stage)
    wanted = wishes_of(stage, body)
    if not await idempotency.is_repeated(keys := idempotency.keys(body)):
        number = changes.scene_number
        reading = None
        if body.feedback is not None and body.feedback == wanted.words:
            used = services(request)
            reading = await read_message(used, generation, stage, body.feedback, number, whole=number is None)
        asked = (stage, number, wanted.words, wanted.modifications, keys, wanted.changes, reading)
        await sessions.decide(directions.regenerate(owner(request), session_id, *asked))
    named = stage.replace("_", " ")
    what = named if changes.scene_number is None else f"scene {changes.scene_number} of the {named}"
    unused = f" Not used here: {', '.join(wanted.unused)}." if wanted.unused else ""
    message = f"Being made anew: {what}.{unused}"
    return Regenerated(session_id=session_id, stage=stage, message=message, regenerated=True)


@router.post("/{session_id}/reference-images/upload", openapi_extra=body_schema(ReferenceUpload, (FORM_TYPE,)))
async def upload_references(request: Request, session_id: Id) -> ReferencesUploaded:
    """Bring up to three images of your own, in place of a drawn reference; until the story is approved."""
    return await take_references(request, _sessions(request), session_id)


@router.post("/{session_id}/inpaint", responses={202: {"model": Inpainted, "description": "The edit is still at work"}})
async def inpaint(
    request: Request, response: Response, session_id: Id, body: InpaintOrder, idempotency: Idempotent
) -> Inpainted:
    """Repaint the white part of a mask in one image. The old image stays; the edited one is its next version."""
    edits = SessionEdits(services(request), owner(request), _sessions(request), event_streams(request))
    edited, repeated = await edits.inpaint(session_id, body, idempotency.keys(body))
    idempotency.mark(repeated)
    if edited.edited_image_url is None:
        response.status_code = 202
    return edited


@router.post("/{session_id}/chat")
async def chat(request: Request, session_id: Id, body: ChatMessage) -> Session:
    """Say something about what waits for approval. The answer is the last entry of the conversation.

    A message that names no scene is answered with a question, and nothing is regenerated.
    """
    sessions = _sessions(request)
    await sessions.say(session_id, body)
    return await sessions.show(session_id)


def _field(name: str) -> str:
    """The name that a field of `AdRequest` has in the body of a session."""
    return flat_field(name).replace("duration", "target_duration")


def _sessions(request: Request) -> Sessions:
    return Sessions(services(request), owner(request))


async def take_references(request: Request, sessions: Sessions, session_id: str) -> ReferencesUploaded:
    """Store the files of a form as the session's references.

    Raises NotFound, DecisionRefused, Problem 413, 415, 422, QuotaExceeded.
    """
    used, user = services(request), owner(request)
    generation = await sessions.row(session_id)
    uploads, roles = await _uploads(request, used.limits.upload_bytes)
    _check_model(generation.manifest["models"]["image"], len(uploads))
    pictures = Pictures(used, user)
    read = [(await pictures.picture(upload, f"images.{index}")).data for index, upload in enumerate(uploads)]
    async with kept_files(used, user, read, "image/png") as stored:
        references = tuple(
            BriefReference(artifact=one.sha256, role=role, filename=upload.filename[:200] or f"reference-{index}")
            for index, (one, upload, role) in enumerate(zip(stored, uploads, roles, strict=True), start=1)
        )
        await sessions.decide(used.ads.directions.upload_references(user, session_id, references, stored))
    return ReferencesUploaded(
        session_id=session_id,
        images=reference_images(references, ()),
        message=f"{len(references)} reference images: they take the place of a drawn one.",
    )


async def _uploads(request: Request, max_bytes: int) -> tuple[tuple[Upload, ...], tuple[ReferenceRole, ...]]:
    """The files of the form, whatever their fields are called, since the contract names none; and their roles."""
    pairs = await read_form(request, MAX_REFERENCES, max_bytes)
    uploads = tuple(value for _, value in pairs if isinstance(value, Upload))
    if not uploads:
        raise Problem("invalid_request", f"images: send 1 to {MAX_REFERENCES} files", "images")
    said = [value for name, value in pairs if isinstance(value, str) and name.startswith("reference_roles")]
    if not said:
        return uploads, tuple(role_of(upload.filename) for upload in uploads)
    try:
        roles = _ROLES.validate_python(said[0] if len(said) == 1 else said)
    except ValidationError:
        known = ", ".join(get_args(ReferenceRole))
        raise Problem("invalid_request", f"reference_roles: each is one of {known}", "reference_roles") from None
    check_roles(roles, len(uploads))
    return uploads, tuple(roles)


def _check_model(image_model: dict[str, object], count: int) -> None:
    takes = image_model["references"]
    if isinstance(takes, int) and count > takes:
        text = (
            f"images: image model {image_model['name']!r} takes {takes} reference images, not {count}: leave some out"
        )
        raise Problem("limit_exceeded", text, "images", {"max_files": takes})
