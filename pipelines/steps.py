"""Steps: the smallest checkpointed pieces of work, as data, and the desk at which a step does its work.

A step is named (`storyboard/scene-003`) and keyed by the hash of its inputs: same key, same output, not run again. That
one mechanism is resume, retry, reuse between compared generations, and sweeps. Knows no stage and no database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from pydantic import Field

from models.interfaces import ChatRequest, ChatResult, ImageRequest, ImageResult, Plain, VideoRequest, VideoResult
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.scoring import ScoreRequest
from quality.score import Score

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
"""Who speaks in a conversation: the agents, and the owner of the generation with whom answers them."""


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
    iteration: int
    content: str
    scene_number: int | None = None
    score: float | None = None
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))


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
        self, kind: str, message: str, severity: Literal["info", "warning"] = "info", told: Json | None = None
    ) -> None:
        """Append an event about the running step: a fallback, a retry, a re-timed clip; `told` is for programs."""


class Desk(Protocol):
    """Everything that a running step may use."""

    @property
    def chat_model(self) -> ChatModelSpec: ...
    @property
    def image_model(self) -> ImageModelSpec: ...
    @property
    def video_model(self) -> VideoModelSpec: ...
    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def notice(self) -> Notice: ...

    async def chat(self, request: ChatRequest) -> ChatResult: ...
    async def image(self, request: ImageRequest) -> ImageResult: ...
    async def video(self, request: VideoRequest) -> VideoResult: ...
    async def score(self, request: ScoreRequest) -> tuple[Score, ...]: ...


StepWork = Callable[[Desk], Awaitable[StepOutput]]


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
