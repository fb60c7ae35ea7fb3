"""The interfaces that routes call: models by name, and the workers that are to look at the store.

Implemented by `serving.deployments.handles` (Ray Serve) and, in one process, by `serving.backends.in_process` and
`serving.server.worker`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from pydantic import Field

from models.interfaces import ImageRequest, ImageResult, Plain, VideoRequest, VideoResult, Watcher
from models.spec import ChatModelSpec, ImageModelSpec, VideoModelSpec
from pipelines.scoring import ScoreRequest
from quality.score import Score

Json = dict[str, Any]
Spec = ChatModelSpec | ImageModelSpec | VideoModelSpec


class ModelBackend(Protocol):
    """The models that this server offers, by name."""

    @property
    def specs(self) -> Mapping[str, Spec]: ...

    def chat(self, model: str, body: Json) -> AsyncGenerator[Json, None]:
        """An OpenAI chat completion request: its chunks when `body["stream"]`, else one completion.

        Raises InvalidRequest, BudgetExceeded, InferenceFailed, QueueFull; closing the iterator cancels the call.
        """
        ...

    async def image(self, model: str, request: ImageRequest, watcher: Watcher) -> ImageResult:
        """Cancelling the caller's task stops the call at its next denoising step. Raises ModelError, QueueFull."""
        ...

    async def video(self, model: str, request: VideoRequest, watcher: Watcher) -> VideoResult:
        """As `image`."""
        ...

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        """One score per dimension. Raises UnknownDimension, ModelError, QueueFull."""
        ...

    async def ready(self) -> Mapping[str, str]:
        """Deployment name to `ready` or, in plain words, what it is waiting for."""
        ...

    async def counters(self) -> Mapping[str, ModelCounters]:
        """By model name; a model whose replicas do not answer is left out. Never waits long: `/metrics` polls it."""
        ...


class WorkerNotifier(Protocol):
    """Tells the workers what rows of generations say already: a lost call delays, and loses nothing."""

    async def wake(self) -> None:
        """A new row is waiting."""
        ...

    async def cancel(self, generation_id: str) -> None:
        """A row was marked as cancelled: its worker stops it within one denoising step."""
        ...


class ModelCounters(Plain):
    """What one model did since its process started; over several replicas the sums, and the greatest peak."""

    running: int = Field(default=0, ge=0)
    waiting: int = Field(default=0, ge=0)
    calls: int = Field(default=0, ge=0)
    """Calls that ended, however."""
    failures: int = Field(default=0, ge=0)
    cancellations: int = Field(default=0, ge=0)
    out_of_memory: int = Field(default=0, ge=0)
    denoising_steps: int = Field(default=0, ge=0)
    step_seconds: float = Field(default=0.0, ge=0.0)
    """Sum over the denoising steps."""
    device_seconds: float = Field(default=0.0, ge=0.0)
    """Time in which the model held its lane."""
    peak_memory_bytes: int = Field(default=0, ge=0)
    """Greatest device memory at once; 0 on a CPU."""
    cache_hits: int = Field(default=0, ge=0)
    """Prompt and reference embeddings that were not computed again."""
    cache_misses: int = Field(default=0, ge=0)
