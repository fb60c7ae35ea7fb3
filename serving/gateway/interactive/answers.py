"""Answers of `/api/v1/interactive`: the contract's fields, and a few more that a page needs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from models.interfaces import Plain, ReferenceRole
from models.spec import AspectRatio
from pipelines.screenplay import Critique
from quality.score import Score

WorkStage = Literal["story", "reference_image", "storyboard", "video"]
"""What an owner approves or regenerates; each is also the name of the internal stage whose result it shows."""
SessionStage = Literal["story", "reference_image", "storyboard", "video", "complete", "error"]


class ConversationEntry(Plain):
    """What the owner said, or was answered."""

    role: Literal["user", "assistant"]
    """`user`: the owner; `assistant`: the answer."""
    content: str
    """What was said."""
    timestamp: datetime
    """When, UTC."""
    scene_number: int | None = None
    """The scene that it is about; null: the whole ad."""


class StoryDraft(Plain):
    """One draft of the story."""

    index: int
    """For `selected_indices`."""
    title: str
    """Its title."""
    story: str
    """The story as text."""
    critique: Critique | None
    """The critic's judgement of it; null: no critic was asked."""


class StoryOutput(Plain):
    """What the stage `story` made."""

    title: str
    """Title of the story."""
    story: str
    """The story as text."""
    selected_index: int
    """Of the draft that is the story: the best one, or the one that was selected."""
    approved: bool
    """By the critic, not by the owner."""
    drafts: tuple[StoryDraft, ...]
    """All drafts, to select from when you approve the story."""


class SessionImage(Plain):
    """A picture of a session."""

    index: int
    """For `selected_indices`, and `image_id` of an edit."""
    path: str
    """The artifact's id."""
    url: str
    """Address of the file."""
    prompt: str
    """Empty for a picture that was uploaded."""
    quality_score: float | None
    """Null: single pictures are not scored."""
    source: Literal["manual", "generated"]
    """`manual`: uploaded by the owner; `generated`: drawn here."""
    version: int
    """1: as it was drawn; every edit counts one up."""
    edit_history: tuple[str, ...]
    """URLs of the pictures that led to this one by edits, oldest first, itself last."""
    role: ReferenceRole | None = None
    """What a reference shows."""


class ReferenceOutput(Plain):
    """What the stage `reference_image` made."""

    images: tuple[SessionImage, ...]
    """The reference images in use."""


class StoryboardFrame(SessionImage):
    """The picture of one scene."""

    scene_number: int
    """The scene, counted from 1."""
    content: str
    """The scene in words."""


class StoryboardOutput(Plain):
    """What the stage `storyboard` made."""

    images: tuple[StoryboardFrame, ...]
    """One picture for each scene."""


class SessionClip(Plain):
    """The clip of one scene."""

    index: int
    """For `selected_indices`."""
    scene_number: int
    """The scene, counted from 1."""
    path: str
    """The artifact's id."""
    url: str
    """Address of the MP4."""
    num_frames: int
    """Frames in that file."""
    fps: int
    """Frames per second in that file."""


class VideoOutput(Plain):
    """What the stage `video` made."""

    clips: tuple[SessionClip, ...]
    """One clip for each scene."""
    video_url: str | None
    """The finished ad; null until its clips are approved and joined."""
    thumbnail_url: str | None
    """A picture of the finished ad (JPEG)."""
    duration: float | None
    """Seconds."""
    has_sound: bool | None = None
    """Whether the finished ad has a sound track; null until there is one."""
    scores: tuple[Score, ...]
    """What was measured; empty before that."""


StageOutput = StoryOutput | ReferenceOutput | StoryboardOutput | VideoOutput


class SessionStatus(Plain):
    """Answer of `GET /{session_id}/status`."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    status: SessionStage
    """The stage at work or waiting, or `completed`, `error`."""
    current_stage: SessionStage
    """The stage at work or waiting; of a session in `error`, the stage in which it stopped."""
    updated_at: datetime
    """When something last happened, UTC."""
    has_output: bool
    """Whether the current stage has made something."""
    awaiting_approval: bool
    """Whether it waits for its owner."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent of the whole, 0 to 100."""
    error: str | None
    """Why it is in `error`."""
    approval_status: Literal["approved", "needs_revision"] | None = None
    """As of the session."""
    warnings: tuple[str, ...] = ()
    """As of the session."""


class Session(Plain):
    """A session with everything that it made."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    user_id: str
    """Id of the owner."""
    status: SessionStage
    """The stage at work or waiting, or `completed`, `error`."""
    current_stage: SessionStage
    """The stage at work or waiting; of a session in `error`, the stage in which it stopped."""
    created_at: datetime
    """When it was made, UTC."""
    updated_at: datetime
    """When something last happened, UTC."""
    outputs: dict[WorkStage, StageOutput]
    """Of the stages that have made something."""
    conversation_history: tuple[ConversationEntry, ...]
    """What the owner said and was answered, oldest first."""
    awaiting_approval: bool
    """Whether it waits for its owner."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent of the whole, 0 to 100."""
    error: str | None
    """Why it is in `error`; null: it is not."""
    seq: int
    """The newest event that this answer knows of: follow from here with `/ws/{session_id}?after=seq`."""
    approval_status: Literal["approved", "needs_revision"] | None = None
    """Whether the facts of the brief hold in story and scenes and their critics agree; null before there are any."""
    seed: int
    """The seed that it is made with."""
    aspect_ratio: AspectRatio
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    warnings: tuple[str, ...] = ()
    """What is to be known of it: what is not approved and why, what is drawn otherwise, what the models are."""


class Approved(Plain):
    """What an approval did."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    approved_stage: WorkStage
    """The stage that was approved."""
    next_stage: SessionStage
    """The stage that comes now."""
    message: str
    """One sentence for people."""


class Regenerated(Plain):
    """What a request to regenerate did."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    stage: WorkStage
    """The stage that is made again."""
    message: str
    """One sentence for people."""
    regenerated: bool
    """Whether it is being regenerated; `stage_complete` says when it is finished."""


class ReferencesUploaded(Plain):
    """The session's own reference images."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    images: tuple[SessionImage, ...]
    """All that it has now."""
    message: str
    """One sentence for people."""


class Inpainted(Plain):
    """What an edit of a picture made."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    edited_image_url: str | None
    """Null when the edit is still at work (202): the session shows it once `stage_complete` has come."""
    original_image_url: str
    """The picture that was repainted; it stays."""
    version: int
    """1: as it was drawn; every edit counts one up."""
    edit_history: tuple[str, ...]
    """URLs, oldest first; the edited one last."""
    message: str
    """One sentence for people."""
