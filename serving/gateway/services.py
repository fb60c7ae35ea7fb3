"""The services that routes use, and how a route gets them. `serving.server.services` puts them together.

Store, artifacts and planners are described as far as routes use them.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from pipelines.brief import Brief
from pipelines.decisions.service import Directions
from pipelines.orders.ad import AdPlanner
from pipelines.orders.clip import ClipOrder
from pipelines.recipe import Recipe, StageName
from pipelines.records import Event, Generation, GenerationOutputs, NewGeneration, QualityMetric, Take
from pipelines.steps import Artifacts, Json, Message, StoredArtifact
from pipelines.store.generation_index import GenerationIndex
from pipelines.store.intake import GroupStore, Intake
from pipelines.store.ownership import OwnedArtifact
from pipelines.store.sweep import Disposal
from quality.catalogue import Entry
from serving.backends.interface import ModelBackend, WorkerNotifier
from serving.errors import QueueFull
from serving.gateway.auth.login import Auth
from serving.gateway.decoding.decoders import Decoders
from serving.gateway.proxies import NO_PROXIES, Proxies


class ArtifactFolder(Artifacts, Protocol):
    """The artifact store, files of which are sent and deleted (`pipelines.store.artifacts`)."""

    def whole_file(self, sha256: str) -> Path: ...
    def remove(self, sha256: str, unused_since: datetime) -> bool: ...


@dataclass(frozen=True)
class Ads:
    """What there is to ask for ads, to find them and to decide on them."""

    planner: AdPlanner
    manifest: Callable[[], Json]
    """What a new ad says of the server's models; may read files, raises WeightsError."""
    intake: Intake
    index: GenerationIndex
    directions: Directions
    groups: GroupStore
    disposal: Disposal
    files: ArtifactFolder


MEGABYTE = 1024 * 1024
MESSAGES_PER_MINUTE = 60
"""Of one session."""
SESSIONS_COUNTED = 10_000
"""Those that were talked in last."""


class GenerationRows(Protocol):
    """Rows of generations, each call under its owner's id (`pipelines.store.generations`)."""

    async def create(self, user_id: str, brief: Brief, recipe: Recipe, given: Json, manifest: Json) -> str: ...
    async def get(self, user_id: str, generation_id: str) -> Generation: ...
    async def page(
        self, user_id: str, recipe: str | None, after: str | None, limit: int, newest_first: bool = True
    ) -> tuple[Generation, ...]: ...
    async def cancel(self, user_id: str, generation_id: str) -> Generation: ...
    async def delete(self, user_id: str, generation_id: str) -> None: ...
    async def queue_position(self, generation_id: str) -> int | None: ...
    async def count_waiting(self) -> int: ...
    async def generation_outputs(self, generation_id: str) -> GenerationOutputs: ...
    async def takes(self, generation_id: str) -> tuple[Take, ...]: ...
    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]: ...
    async def milestones(self, generation_id: str) -> tuple[Event, ...]: ...
    async def messages(self, generation_id: str) -> tuple[Message, ...]: ...
    async def outputs(self, generation_id: str) -> dict[StageName, Any]: ...
    async def quality_metrics(self, generation_id: str) -> tuple[QualityMetric, ...]: ...


class ArtifactOwners(Protocol):
    """Who owns which artifact (`pipelines.store.ownership`)."""

    async def check_room(self, user_id: str, size: int) -> None: ...
    async def record(self, user_id: str, *stored: StoredArtifact) -> None: ...
    async def page(self, user_id: str, after: str | None, limit: int) -> tuple[OwnedArtifact, ...]: ...
    async def find(self, user_id: str, sha256: str) -> StoredArtifact: ...


class ClipPlanner(Protocol):
    """Turns a checked order for one clip into a generation of the recipe `clip`."""

    def __call__(self, order: ClipOrder) -> NewGeneration:
        """Raises BadInput, WeightsError. May read files: called in a thread."""
        ...


class PictureSizes:
    """The bytes that pictures of one kind took so far, at most: whether there is room for the next one is asked before
    its model runs. Nothing is known of the first.
    """

    def __init__(self) -> None:
        self._largest: dict[Hashable, int] = {}

    def expected(self, kind: Hashable) -> int:
        """`kind`: all that decides how large a picture becomes (model, size, format)."""
        return self._largest.get(kind, 1)

    def note(self, kind: Hashable, size: int) -> None:
        self._largest[kind] = max(size, self._largest.get(kind, 1))


class TalkRate:
    """How fast may be talked in one session, over WebSockets and HTTP together: as fast as people do."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, session_id: str) -> None:
        """Count a message. Raises QueueFull for one too many within a minute."""
        now = time.monotonic()
        said = self._said.setdefault(session_id, deque())
        self._said.move_to_end(session_id)
        if len(self._said) > SESSIONS_COUNTED:
            self._said.popitem(last=False)
        while said and said[0] <= now - 60.0:
            said.popleft()
        if len(said) >= MESSAGES_PER_MINUTE:
            wait = math.ceil(said[0] + 60.0 - now)
            raise QueueFull(f"more than {MESSAGES_PER_MINUTE} messages in a minute: wait {wait} s", wait)
        said.append(now)


@dataclass(frozen=True)
class Limits:
    """Bounds on what one caller can make the server hold."""

    upload_bytes: int = 10 * MEGABYTE
    """One picture, as it comes."""
    json_bytes: int = 48 * MEGABYTE
    """A body that is not multipart: three pictures as base64, and text."""
    video_bytes: int = 100 * MEGABYTE
    """A video to be scored."""
    waiting_generations: int = 100
    """Generations of all owners that may wait for a worker."""
    retry_after_seconds: int = 30
    """Retry-After of an answer that meets a full queue of generations."""


@dataclass(frozen=True)
class Services:
    """Everything that a gateway's routes reach."""

    auth: Auth
    backend: ModelBackend
    store: GenerationRows
    owners: ArtifactOwners
    artifacts: ArtifactFolder
    notifier: WorkerNotifier
    plan_clip: ClipPlanner
    ads: Ads
    keyframe_model: str
    """The image model that draws the keyframe of a clip which is given none."""
    dimensions: Callable[[], tuple[Entry, ...]]
    """The quality dimensions, with what is missing here; reads files: called in a thread."""
    limits: Limits = Limits()
    proxies: Proxies = NO_PROXIES
    decoders: Decoders = field(default_factory=Decoders)
    """Closed with the application."""
    picture_sizes: PictureSizes = field(default_factory=PictureSizes)
    talk: TalkRate = field(default_factory=TalkRate)


def services(connection: HTTPConnection) -> Services:
    """The services of the application that serves a request or WebSocket."""
    found: Services = connection.app.state.services
    return found
