"""A generation of the recipe `interactive` as the contract's session. Pure: rows in, objects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from models.interfaces import Plain
from pipelines.agents.prompting import story_lines
from pipelines.brief import BriefReference
from pipelines.decisions.service import edit_history
from pipelines.direction import Direction
from pipelines.recipe import Recipe, StageName
from pipelines.records import Event, EventKind, Generation, Severity, Take
from pipelines.report.verdict import approval_status, warnings
from pipelines.screenplay import Clip, FinalVideo, ScenesResult, StoryResult
from pipelines.stages.selection import shown_story
from pipelines.stages.storyboard import Keyframe
from pipelines.steps import Json, Message
from quality.score import Score
from serving.gateway.generations.views import texts, told
from serving.gateway.interactive.answers import (
    ConversationEntry,
    ReferenceOutput,
    Session,
    SessionClip,
    SessionImage,
    SessionStage,
    SessionStatus,
    StageOutput,
    StoryboardFrame,
    StoryboardOutput,
    StoryDraft,
    StoryOutput,
    VideoOutput,
    WorkStage,
)
from serving.gateway.interactive.stages import (
    WORK_STAGE,
    current_stage,
    finishes,
    is_awaited,
    session_status,
    stage_after,
    work_stage,
)
from serving.gateway.problems import ErrorBody
from serving.gateway.proxies import artifact_url

Outputs = Mapping[StageName, Any]
"""What each internal stage made, as JSON of its field of `RunState`."""
_KEYFRAMES = TypeAdapter(tuple[Keyframe, ...])
_CLIPS = TypeAdapter(tuple[Clip, ...])
_REFERENCES = TypeAdapter(tuple[BriefReference, ...])
_SCORES = TypeAdapter(tuple[Score, ...])


def session(
    generation: Generation,
    outputs: Outputs,
    takes: Sequence[Take],
    messages: Sequence[Message],
    updated_at: datetime,
    seq: int,
) -> Session:
    return Session(
        session_id=generation.id,
        user_id=generation.user_id,
        status=session_status(generation),
        current_stage=current_stage(generation),
        created_at=generation.created_at,
        updated_at=updated_at,
        outputs=stage_outputs(generation, outputs, takes),
        conversation_history=conversation(messages),
        awaiting_approval=is_awaited(generation),
        progress=generation.progress,
        error=_error(generation),
        seq=seq,
        seed=generation.brief.acting_seed,
        aspect_ratio=generation.brief.aspect_ratio,
        approval_status=approval_status(*texts(outputs)),
        warnings=warnings(generation.manifest, *texts(outputs)),
    )


def status(generation: Generation, outputs: Outputs, updated_at: datetime) -> SessionStatus:
    return SessionStatus(
        session_id=generation.id,
        status=session_status(generation),
        current_stage=current_stage(generation),
        updated_at=updated_at,
        has_output=work_stage(generation) in outputs,
        awaiting_approval=is_awaited(generation),
        progress=generation.progress,
        error=_error(generation),
        approval_status=approval_status(*texts(outputs)),
        warnings=warnings(generation.manifest, *texts(outputs)),
    )


def conversation(messages: Sequence[Message]) -> tuple[ConversationEntry, ...]:
    """What the owner said and was answered; the agents' own talk is another list."""
    return tuple(
        ConversationEntry(
            role=message.role,
            content=message.content,
            timestamp=message.timestamp,
            scene_number=message.scene_number,
        )
        for message in messages
        if message.role == "user" or message.role == "assistant"
    )


def stage_outputs(generation: Generation, outputs: Outputs, takes: Sequence[Take]) -> dict[WorkStage, StageOutput]:
    """By the contract's stages, of those that have made something."""
    shown: dict[WorkStage, StageOutput] = {}
    if (story := outputs.get("story")) is not None:
        shown["story"] = _story(StoryResult.model_validate(story), generation.direction)
    if (references := outputs.get("reference_image")) is not None:
        shown["reference_image"] = ReferenceOutput(images=reference_images(references, takes))
    if (keyframes := outputs.get("storyboard")) is not None:
        scenes = outputs.get("scenes") or generation.given["scenes"]
        shown["storyboard"] = StoryboardOutput(images=_storyboard(keyframes, scenes, takes))
    if (clips := outputs.get("video")) is not None:
        shown["video"] = _video(clips, outputs)
    return shown


def edit_urls(takes: Sequence[Take], take_id: str) -> tuple[str, ...]:
    """URLs of the pictures that led to a take by edits, oldest first, the take's own last."""
    return tuple(artifact_url(take.artifact) for take in edit_history(takes, take_id))


def reference_images(references: Any, takes: Sequence[Take]) -> tuple[SessionImage, ...]:
    """`references`: of `BriefReference`, or JSON of it."""
    return tuple(
        _image(index, reference.artifact, _take(takes, "reference", None, reference.artifact), takes).model_copy(
            update={"role": reference.role}
        )
        for index, reference in enumerate(_REFERENCES.validate_python(references))
    )


def _story(made: StoryResult, direction: Direction) -> StoryOutput:
    kept = shown_story(made, direction)
    drafts = tuple(
        StoryDraft(index=index, title=one.draft.title, story=story_lines(one.draft), critique=one.critique)
        for index, one in enumerate(made.rounds)
    )
    return StoryOutput(
        title=kept.story.title,
        story=kept.text,
        selected_index=[one.iteration for one in made.rounds].index(kept.chosen_iteration),
        approved=kept.approved,
        drafts=drafts,
    )


def _storyboard(keyframes: Any, scenes: Any, takes: Sequence[Take]) -> tuple[StoryboardFrame, ...]:
    words = {scene.scene_number: scene.content for scene in ScenesResult.model_validate(scenes).scenes}
    frames = []
    for index, keyframe in enumerate(_KEYFRAMES.validate_python(keyframes)):
        take = _take(takes, "keyframe", keyframe.scene_number, keyframe.artifact)
        image = _image(index, keyframe.artifact, take, takes)
        frames.append(
            StoryboardFrame(
                **image.model_dump(), scene_number=keyframe.scene_number, content=words[keyframe.scene_number]
            )
        )
    return tuple(frames)


def _video(clips: Any, outputs: Outputs) -> VideoOutput:
    final = None if outputs.get("stitch") is None else FinalVideo.model_validate(outputs["stitch"])
    return VideoOutput(
        clips=tuple(
            SessionClip(
                index=index,
                scene_number=clip.scene_number,
                path=clip.artifact,
                url=artifact_url(clip.artifact),
                num_frames=clip.num_frames,
                fps=clip.native_fps,
            )
            for index, clip in enumerate(_CLIPS.validate_python(clips))
        ),
        video_url=None if final is None else artifact_url(final.artifact),
        thumbnail_url=None if final is None else artifact_url(final.thumbnail),
        duration=None if final is None else final.seconds,
        has_sound=None if final is None else final.has_sound,
        scores=tuple(  # a session is sent after every change: its curves are in the quality report
            score.model_copy(update={"series": None}) for score in _SCORES.validate_python(outputs.get("quality") or ())
        ),
    )


def _image(index: int, artifact: str, take: Take | None, takes: Sequence[Take]) -> SessionImage:
    return SessionImage(
        index=index,
        path=artifact,
        url=artifact_url(artifact),
        prompt="" if take is None else _drawn_as(take, takes),
        quality_score=None,
        source="manual" if take is None else "generated",
        version=1 if take is None else take.provenance.get("version", 1),
        edit_history=(artifact_url(artifact),) if take is None else edit_urls(takes, take.id),
    )


def _drawn_as(take: Take, takes: Sequence[Take]) -> str:
    """The picture's own prompt, which the prompt of an inpainting does not replace."""
    drawn: str = edit_history(takes, take.id)[0].provenance["request"]["prompt"]
    return drawn


def _take(takes: Sequence[Take], kind: str, scene_number: int | None, artifact: str) -> Take | None:
    """The take with this picture; the current one where several drew the same."""
    same = [one for one in takes if (one.kind, one.scene_number, one.artifact) == (kind, scene_number, artifact)]
    return max(same, key=lambda one: one.current, default=None)


def _error(generation: Generation) -> str | None:
    if generation.status == "cancelled":
        return "cancelled on request"
    return generation.error_message if generation.status == "failed" else None


INTERNAL = ("stage", "stages", "next_stage", "progress")
"""Data of events that a frame has in fields of its own, in the contract's words, or not at all."""


class Frame(Plain):
    """One event as the contract's message, in what all four kinds of message share."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    seq: int
    """Counts from 1 without a gap; `?after=seq` continues behind it."""
    event: EventKind
    """What happened, by the log's own name."""
    stage: SessionStage | None
    """The stage that it is about; null: the session as a whole."""
    progress: int | None
    """Percent of the whole session when the event was made, where it says so. It falls only when the owner
    has something regenerated."""
    scene_number: int | None
    """The scene that it is about, counted from 1; null: none."""
    message: str
    """One sentence for people."""
    severity: Severity
    """`info`; `warning`: something was done otherwise than asked; `error`: it failed."""
    timestamp: datetime
    """When, UTC."""


class StageProgress(Frame):
    """A stage is at work."""

    type: Literal["stage_progress"] = "stage_progress"
    """Distinguishes it from other messages."""
    data: Json
    """The event's own details: `step`, and of a denoising step `done` and `total`."""


@with_config(ConfigDict(extra="allow", use_attribute_docstrings=True))
class Completion(TypedDict):
    """What a finished stage is followed by, beside the event's own details."""

    awaiting_approval: bool
    """Whether the session waits for its owner now."""
    next_stage: NotRequired[SessionStage]
    """What comes after it."""


class StageComplete(Frame):
    """A stage is finished: its owner is asked for approval, or the next stage begins."""

    type: Literal["stage_complete"] = "stage_complete"
    """Distinguishes it from other messages."""
    data: Completion
    """Whether the owner is asked, and what comes next."""


@with_config(ConfigDict(extra="allow", use_attribute_docstrings=True))
class Stop(TypedDict):
    """Where a session stopped, beside the event's own details."""

    stopped_at: NotRequired[WorkStage]
    """The stage in which it stopped."""


class StageError(Frame):
    """The session failed or was cancelled; `message` says why."""

    type: Literal["stage_error"] = "stage_error"
    """Distinguishes it from other messages."""
    data: Stop
    """Where it stopped."""


class ConversationUpdate(Frame):
    """The owner said something, or was answered."""

    type: Literal["conversation_update"] = "conversation_update"
    """Distinguishes it from other messages."""
    data: ConversationEntry
    """The entry, as `conversation_history` holds it."""


class Heartbeat(Plain):
    """Nothing happened for a while, and the connection is still open."""

    type: Literal["heartbeat"] = "heartbeat"
    """Distinguishes it from other messages."""
    session_id: str
    """Id of the session; it is also the id of its generation."""
    seq: int
    """Of the newest frame that was sent."""


class Pong(Plain):
    """The answer to a frame `ping`, or `{"type": "ping"}`: the connection stands, and nothing else happened."""

    type: Literal["pong"] = "pong"
    """Distinguishes it from other messages."""
    session_id: str
    """Id of the session; it is also the id of its generation."""
    seq: int
    """`seq` of the newest frame that was sent."""


class ErrorFrame(Plain):
    """What came from the client could not be used. Nothing has changed."""

    type: Literal["error"] = "error"
    """Distinguishes it from other messages."""
    session_id: str
    """Id of the session; it is also the id of its generation."""
    seq: int
    """Of the newest frame that was sent; an error is no event of its own."""
    error: ErrorBody
    """As in every error answer."""


SessionMessage = Annotated[
    StageProgress | StageComplete | StageError | ConversationUpdate | Heartbeat | Pong | ErrorFrame,
    Field(discriminator="type"),
]
"""What the WebSocket of a session sends."""
_FRAMES: Mapping[str, type[StageProgress | StageComplete | StageError | ConversationUpdate]] = {
    "stage_progress": StageProgress,
    "stage_complete": StageComplete,
    "stage_error": StageError,
    "conversation_update": ConversationUpdate,
}


def frame_of(session_id: str, event: Event, recipe: Recipe) -> Frame:
    kind = _type(event, recipe)
    fields = {
        "session_id": session_id,
        "seq": event.seq,
        "event": event.kind,
        "stage": _stage(event),
        "progress": 100 if event.kind == "generation_completed" else event.data.get("progress"),
        "scene_number": event.scene_number,
        "message": told(event),
        "severity": event.severity,
        "data": _data(kind, event),
        "timestamp": event.created_at,
    }
    return _FRAMES[kind].model_validate(fields)


def _type(event: Event, recipe: Recipe) -> str:
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


def _data(kind: str, event: Event) -> Json:
    if kind == "conversation_update":
        return {
            "role": event.data["role"],
            "content": event.message,
            "timestamp": event.created_at,
            "scene_number": event.scene_number,
        }
    own = {name: value for name, value in event.data.items() if name not in INTERNAL}
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
