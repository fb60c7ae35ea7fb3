"""Steps: the smallest checkpointed pieces of work, as data, and what a step may use while it runs.

A step is named (`storyboard/scene-003`) and keyed by the hash of its inputs: same key, same output, not run again. That
one mechanism is resume, retry, reuse between compared generations, and sweeps.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from models.interfaces import (
    ChatRequest,
    ChatResult,
    ImageRequest,
    ImageResult,
    Plain,
    VideoRequest,
    VideoResult,
    Watcher,
)
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from quality.score import Score

if TYPE_CHECKING:
    from pipelines.scoring import ScoreRequest

Json = dict[str, Any]
TakeKind = Literal["reference", "keyframe", "clip", "video"]
AgentRole = Literal[
    "vision",
    "director",
    "critic",
    "writer",
    "scene_critic",
    "cohesor",
    "image_enhancer",
    "video_enhancer",
    "user",
    "assistant",
]
"""Who speaks in a conversation: the agents, the owner of the generation, and the assistant that answers the owner."""


class StoredArtifact(Plain):
    """A file in the artifact store."""

    sha256: str
    media_type: str
    size: int


class NewTake(Plain):
    """An immutable result for a scene (or for the whole generation, `scene_number` None), with its provenance."""

    kind: TakeKind
    scene_number: int | None
    artifact: str
    provenance: Json


class Message(Plain):
    """One utterance of an agent, of the owner, or of the assistant that answers the owner."""

    role: AgentRole
    """Who speaks: an agent, the owner (`user`) or the assistant that answers the owner."""
    iteration: int
    """The draft that it is about, counted from 1."""
    content: str
    """What is said."""
    scene_number: int | None = None
    """The scene that it is about; null: the whole ad."""
    score: float | None = None
    """A critic's score, 0 to 100; null: nothing was scored."""
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When, UTC."""


class StepOutput(Plain):
    """What a finished step leaves behind; all of it is committed in one transaction."""

    value: Json
    artifacts: tuple[StoredArtifact, ...] = ()
    takes: tuple[NewTake, ...] = ()
    messages: tuple[Message, ...] = ()
    scores: tuple[Score, ...] = ()


class Artifacts(Protocol):
    """Content-addressed files."""

    def put(self, data: bytes, media_type: str) -> StoredArtifact: ...

    def read(self, sha256: str) -> bytes: ...


class Notice(Protocol):
    async def __call__(
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", details: Json | None = None
    ) -> None:
        """Append an event about the running step: a fallback, a retry, a re-timed clip; `details` is for programs."""


class Models(Protocol):
    """The models of a deployment: in this process or behind handles of a server.

    `watcher` hears of every denoising step or block of tokens; None: nobody does.
    """

    @property
    def chat_model(self) -> ChatModelSpec: ...
    @property
    def image_model(self) -> ImageModelSpec: ...
    @property
    def video_model(self) -> VideoModelSpec: ...
    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> ChatResult: ...
    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> ImageResult: ...
    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> VideoResult: ...
    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> tuple[Score, ...]: ...


class StepContext(Models, Protocol):
    """Everything that a running step may use. Its model calls count the step's progress unless told another watcher."""

    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def notice(self) -> Notice: ...


StepWork = Callable[[StepContext], Awaitable[StepOutput]]


_TITLES: tuple[tuple[str, str], ...] = (
    (r"story/facts", "the facts of the brief"),
    (r"story/product-\d+", "the product of the brief"),
    (r"(?:story/reference|reference_image/look)-(\d+)", "what reference image {} shows"),
    (r"story/reference-check|reference_image/look-check", "the reference images against the brief"),
    (r"story/director-(\d+)", "draft {} of the story"),
    (r"story/critic-(\d+)", "critique of draft {} of the story"),
    (r"scenes/scene-0*(\d+)/(?:writer|rewrite|revision)-\d+", "draft of scene {}"),
    (r"scenes/scene-0*(\d+)/(?:rewrite-|revision-)?critic-\d+", "critique of scene {}"),
    (r"scenes/scene-0*(\d+)/enhance-image", "words for the picture of scene {}"),
    (r"scenes/scene-0*(\d+)/enhance-video", "words for the clip of scene {}"),
    (r"scenes/cohesor-\d+/pair-(\d+)-(\d+)", "transition from scene {} to scene {}"),
    (r"scenes/cohesor-\d+/overview", "the scenes as a whole"),
    (r"reference_image/edit-\d+", "edit of the reference image"),
    (r"reference_image/[^/]+", "the reference image"),
    (r"storyboard/attention-bank", "what the pictures of all scenes look at"),
    (r"storyboard/scene-0*(\d+)", "picture of scene {}"),
    (r"storyboard/scene-0*(\d+)/retake-\d+", "retake of the picture of scene {}"),
    (r"storyboard/scene-0*(\d+)/(?:retake-\d+/)?candidate-\d+", "another picture of scene {}"),
    (r"storyboard/scene-0*(\d+)/edit-\d+", "edit of the picture of scene {}"),
    (r"video/scene-0*(\d+)", "clip of scene {}"),
    (r"video/scene-0*(\d+)/start", "first frame of the clip of scene {}"),
    (r"video/scene-0*(\d+)/retake-\d+", "retake of the clip of scene {}"),
    (r"stitch/final", "the finished video"),
    (r"quality/keyframe-0*(\d+)", "score of the picture of scene {}"),
    (r"quality/scene-0*(\d+)", "score of the clip of scene {}"),
    (r"quality/(?:keyframe|scene)-0*(\d+)/gate-\w+", "verdict on scene {}"),
    (r"quality/across", "the scenes against one another"),
    (r"quality/keyframe-0*(\d+)/candidates-\d+", "choice of the picture of scene {}"),
    (r"quality/summary", "the scores together"),
    (r"quality/\w+", "score of the finished video"),
)


def step_title(name: str) -> str:
    """What a step makes, in words for people: `scenes/scene-002/critic-1` is `critique of scene 2`.

    A step that has no words yet is called by its name.
    """
    for pattern, words in _TITLES:
        if found := re.fullmatch(pattern, name):
            return words.format(*found.groups())
    return name


@dataclass(frozen=True)
class Step:
    """One piece of work. `inputs` must hold everything that the output depends on, and nothing else."""

    name: str
    inputs: Json
    work: StepWork
    scene_number: int | None = None

    @property
    def key(self) -> str:
        text = json.dumps(self.inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(f"{self.name}\n{text}".encode()).hexdigest()


class Finish(Protocol):
    async def __call__(self, step: Step) -> Json:
        """The value of `step`: from its checkpoint when the key is known, else by running it once."""
