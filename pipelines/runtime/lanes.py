"""Lanes: one model call at a time per device, each in the lane's own thread, stopped by a flag.

A thread cannot be cancelled from outside; the flag is checked by the watcher after every denoising step or block of
tokens, so a cancelled call frees its lane within one step.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from models.errors import Cancelled
from models.interfaces import Watcher
from models.spec import ScorerModelSpec
from pipelines.scoring import ScoreRequest, score_file
from quality.score import Encoder, Score

Result = TypeVar("Result")


class Lane:
    """The queue of one device: calls wait for each other in order."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"lane-{name}")

    async def run(self, call: Callable[[Watcher], Result], watcher: Watcher) -> Result:
        """Run `call` in the lane's thread. When this task is cancelled, the call stops at its next step first."""
        stop = threading.Event()
        future = self._executor.submit(call, StoppableWatcher(stop, watcher))
        outcome = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            stop.set()
            if not future.cancel():
                await asyncio.wait({outcome})
                outcome.exception()  # `Cancelled` of the stopped call: expected, and looked at here
            raise

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class StoppableWatcher:
    """Passes progress on until `stop` is set; then the call ends at its next step."""

    def __init__(self, stop: threading.Event, watcher: Watcher) -> None:
        self._stop = stop
        self._watcher = watcher

    def step(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Cancelled(f"stopped after step {done} of {total}")
        self._watcher.step(done, total)


class ScorerLoader(Protocol):
    def scorer(self, spec: ScorerModelSpec) -> Encoder: ...


class Scorers:
    """The quality dimensions in a lane of their own, with an encoder loaded when first needed, if there is one."""

    def __init__(self, loader: ScorerLoader, model: ScorerModelSpec | None) -> None:
        self._loader = loader
        self._model = model
        self._lane = Lane("scorer")
        self._encoder: Encoder | None = None

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        """One score per dimension, in order. Raises UnknownDimension, ModelError."""

        def call(watcher: Watcher) -> tuple[Score, ...]:
            if self._encoder is None and self._model is not None:
                self._encoder = self._loader.scorer(self._model)
            return score_file(request, self._encoder, watcher)

        return await self._lane.run(call, watcher)

    def close(self) -> None:
        self._lane.close()
