"""What a session's WebSocket sends, each frame from one event of the log and nothing else.

The same event gives the same frame to every observer and at every replay. Knows no socket.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from models.interfaces import Plain
from pipelines.recipe import Recipe, StageName
from pipelines.steps import Json
from pipelines.store.records import Event, EventKind, Severity
from serving.gateway.problems import ErrorBody
from serving.gateway.session_stages import WORK_STAGE, SessionStage, finishes, stage_after

FrameType = Literal["stage_progress", "stage_complete", "stage_error", "conversation_update"]


class Frame(Plain):
    """One event as the contract's message."""

    type: FrameType
    session_id: str
    seq: int
    """Counts from 1 without a gap; `?after=seq` continues behind it."""
    event: EventKind
    """What happened, by the log's own name."""
    stage: SessionStage | None
    progress: int | None
    """Percent of the whole session when the event was made, where it says so. It falls only when the owner has
    something made anew."""
    scene_number: int | None
    message: str
    severity: Severity
    data: Json
    """`stage_complete`: `awaiting_approval`, `next_stage`. `conversation_update`: an entry of the conversation. Else
    the event's own: `step`, and of a denoising step `done` and `total`."""
    timestamp: datetime


class Heartbeat(Plain):
    """Nothing happened for a while, and the connection stands."""

    type: Literal["heartbeat"] = "heartbeat"
    session_id: str
    seq: int
    """Of the newest frame that was sent."""


class ErrorFrame(Plain):
    """What came from the client could not be used. Nothing has changed."""

    type: Literal["error"] = "error"
    session_id: str
    seq: int
    """Of the newest frame that was sent; an error is no event of its own."""
    error: ErrorBody


def frame_of(session_id: str, event: Event, recipe: Recipe) -> Frame:
    kind = _type(event, recipe)
    return Frame(
        type=kind,
        session_id=session_id,
        seq=event.seq,
        event=event.kind,
        stage=_stage(event),
        progress=100 if event.kind == "generation_completed" else event.data.get("progress"),
        scene_number=event.scene_number,
        message=event.message,
        severity=event.severity,
        data=_data(kind, event),
        timestamp=event.created_at,
    )


def _type(event: Event, recipe: Recipe) -> FrameType:
    """A stage is complete when its owner is asked for it, not a moment earlier: an approval would be refused then."""
    if event.kind == "conversation":
        return "conversation_update"
    if event.kind in ("generation_failed", "generation_cancelled"):
        return "stage_error"
    if event.kind in ("approval_needed", "generation_completed"):
        return "stage_complete"
    stage = _internal_stage(event)
    done = event.kind == "stage_completed" and stage is not None and finishes(recipe, stage)
    return "stage_complete" if done else "stage_progress"


def _stage(event: Event) -> SessionStage | None:
    if event.kind == "generation_completed":
        return "complete"
    if event.kind in ("generation_failed", "generation_cancelled"):
        return "error"
    stage = _internal_stage(event)
    return None if stage is None else WORK_STAGE[stage]


def _internal_stage(event: Event) -> StageName | None:
    named = event.data.get("stage") or (event.step or "").partition("/")[0]
    return named if named in WORK_STAGE else None


def _data(kind: FrameType, event: Event) -> Json:
    if kind == "conversation_update":
        return {
            "role": event.data["role"],
            "content": event.message,
            "timestamp": event.created_at.isoformat(),
            "scene_number": event.scene_number,
        }
    own = {name: value for name, value in event.data.items() if name not in ("stage", "next_stage", "progress")}
    if event.step is not None:
        own["step"] = event.step
    stage = _internal_stage(event)
    if kind == "stage_complete":
        own["awaiting_approval"] = event.kind == "approval_needed"
    if stage is not None and (kind == "stage_complete" or event.kind == "stage_approved"):
        own["next_stage"] = stage_after(WORK_STAGE[stage])
    if stage is not None and kind == "stage_error":
        own["stopped_at"] = WORK_STAGE[stage]
    return own
