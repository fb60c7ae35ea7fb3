"""Bodies and answers of `/api/v1/interactive`: the contract's fields, and a few more that a page needs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import Plain, ReferenceRole, Seed
from models.spec import AspectRatio
from pipelines.direction import Modifications, Prompt, Wish
from pipelines.screenplay import Critique
from quality.score import Score
from serving.gateway.generations.schemas import Brand, QualityBody
from serving.gateway.interactive.stages import SessionStage, WorkStage
from serving.gateway.orders import OpenBody, ReferenceRoles
from serving.gateway.requests import FileField, OpenObject

SceneNumber = Annotated[int, Field(ge=1, le=99)]
MAX_WISHES = 1500
"""Characters of the fields of `modifications` that are wishes."""
MAX_MASK_TEXT = 16 * 1024 * 1024
"""Characters; the picture in it has the limit of an upload."""


class SessionStart(OpenBody):
    """Body of `POST /start`."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=5000)]
    """What the ad is for, 10 to 5,000 characters."""
    target_duration: Annotated[int, Field(ge=9, le=60)] = 15
    """Seconds."""
    mode: Literal["interactive", "auto"] = "interactive"
    """`auto` asks for no approval and runs to the end."""
    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    """A working title, at most 200 characters; null: none."""
    seed: Seed | None = None
    """None: a random one, which the session reports."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    quality: QualityBody | None = None
    """What is measured of the video, and what each of its scenes must reach."""
    number_of_reference_images: Annotated[int, Field(ge=1, le=3)] = 1
    """Drawn of the product, to select from when you approve them; your own take their place."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""


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


class Approval(Plain):
    """Body of `POST /{session_id}/approve`."""

    stage: SessionStage
    """Must be the current one."""
    notes: Wish | None = None
    """A remark that is kept in the conversation; it changes nothing."""
    selected_indices: Annotated[tuple[int, ...], Field(min_length=1, max_length=20)] | None = None
    """0-based, which of the stage's outputs are kept; null: as the stage has them."""


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


class SceneModifications(Modifications, OpenObject):
    """What is set outright. Any other field is a wish in words: `{"tone": "funny"}`, `{"setting": "on the beach"}`."""

    model_config = OpenObject.model_config

    scene_number: SceneNumber | None = None
    """Only this scene is regenerated; none: the whole stage."""

    @property
    def settings(self) -> Modifications:
        return Modifications(**{name: getattr(self, name) for name in Modifications.model_fields})

    @model_validator(mode="after")
    def _bounded(self) -> SceneModifications:
        if len(json.dumps(self.model_extra or {}, default=str)) > MAX_WISHES:
            raise ValueError(f"the wishes may have at most {MAX_WISHES} characters together")
        return self


class Regeneration(Plain):
    """Body of `POST /{session_id}/regenerate`."""

    stage: SessionStage
    """The current one, or an earlier one to go back to."""
    feedback: Wish | None = None
    """What should be otherwise, in words; at most 2,000 characters."""
    modifications: SceneModifications | None = None
    """What is set outright, and wishes by name."""


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


class ReferenceUpload(Plain):
    """Form of `POST /{session_id}/reference-images/upload`."""

    images: Annotated[tuple[FileField, ...], Field(min_length=1, max_length=3)]
    """JPEG, PNG or WebP. Files of a form count whatever their field is called."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What the pictures show, in their order; empty: by their files' names, else `product`."""


class ReferencesUploaded(Plain):
    """The session's own reference images."""

    session_id: str
    """Id of the session; it is also the id of its generation."""
    images: tuple[SessionImage, ...]
    """All that it has now."""
    message: str
    """One sentence for people."""


class InpaintOrder(Plain):
    """Body of `POST /{session_id}/inpaint`."""

    image_id: Annotated[int, Field(ge=0, le=99)]
    """The index of the image among those of the current stage, or of the storyboard when a later stage is current."""
    mask_data: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MASK_TEXT)]
    """A PNG, JPEG or WebP as base64, with or without `data:` before it; white = repaint. Limits as for uploads."""
    prompt: Prompt
    """What to paint there, at most 5,000 characters."""
    negative_prompt: Annotated[str, StringConstraints(max_length=5000)] | None = None
    """What the picture must not show, at most 5,000 characters; empty: nothing is excluded."""


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


class ChatMessage(Plain):
    """Body of `POST /{session_id}/chat`; with `"type": "chat"` a message on the WebSocket."""

    type: Literal["chat"] = "chat"
    """Distinguishes it on the WebSocket."""
    message: Wish
    """What the owner says, at most 2,000 characters."""
    scene_number: SceneNumber | None = None
    """The scene that is selected on the page, for a message that names none."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """The client's name for this message: sent again with it, it counts once."""


class Ping(Plain):
    """Asks on the WebSocket whether the connection stands; answered with `pong`."""

    type: Literal["ping"]
    """Distinguishes it from a chat message."""


SessionCommand = Annotated[ChatMessage | Ping, Field(discriminator="type")]
"""What the WebSocket of a session takes; a text that is no JSON object is the `message` of a chat."""
