"""Lanes: one model call at a time per device, each in the lane's own thread, stopped by a flag.

A thread cannot be cancelled from outside; the flag is checked by the watcher after every denoising step or block of
tokens, so a cancelled call frees its lane within one step.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Protocol, TypeVar

from models.errors import Cancelled, InvalidRequest, WeightsError
from models.interfaces import Unwatched, Watcher
from models.spec import ScorerModelSpec
from pipelines.runtime.questions import AskedChat, Look, SeenSteps, waited
from pipelines.scoring import ScoreRequest, backbones_of, score_file, score_files
from quality.score import Score
from quality.stream import Model

Result = TypeVar("Result")
CHAT = "chat"
"""The backbone that answers questions about pictures."""


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

    def call(self, call: Callable[[Watcher], Result], look: Look) -> Result:
        """As `run`, for the thread of another lane, which waits; when `look` raises, the call stops first."""
        stop = threading.Event()
        future = self._executor.submit(call, StoppableWatcher(stop, Unwatched()))
        try:
            return waited(future, look)
        except BaseException:
            stop.set()
            wait([future])
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
    def scorer(self, spec: ScorerModelSpec) -> Model: ...


class Scorers:
    """The quality dimensions in a lane of their own; each backbone is loaded when a dimension first needs it."""

    def __init__(
        self,
        loader: ScorerLoader,
        models: Mapping[str, ScorerModelSpec],
        chat: Callable[[], AskedChat] | None = None,
    ) -> None:
        """`models` by the backbone that each is (`quality.stream.Stream`).

        `chat` gives the backbone `chat`; it raises InvalidRequest or WeightsError with the reason why there is none.
        """
        self._loader = loader
        self._models = models
        self._chat = chat
        self._lane = Lane("scorer")
        self._loaded: dict[str, Model] = {}

    async def score(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        """One score per dimension, in order. Raises UnknownDimension, ModelError."""
        return await self._lane.run(lambda seen: self.measured(request, seen), watcher)

    async def load(self, dimensions: Iterable[str]) -> None:
        """Load what the dimensions need before a score is asked for. Raises UnknownDimension."""
        await self._lane.run(lambda seen: self._load(dimensions, SeenSteps(seen).look), Unwatched())

    def measured(self, request: ScoreRequest, watcher: Watcher) -> tuple[Score, ...]:
        """As `score`, in the caller's thread."""
        seen = SeenSteps(watcher)
        backbones, missing = self._backbones(request.dimensions, seen.look)
        return score_file(request, backbones, seen, missing)

    def measured_together(
        self, requests: Iterable[ScoreRequest | Exception], dimensions: Iterable[str], watcher: Watcher
    ) -> Iterator[tuple[Score, ...] | Exception]:
        """What each of many gives or raises (`pipelines.scoring.score_files`), in the caller's thread.

        `dimensions` are all that the requests ask for. Raises UnknownDimension.
        """
        seen = SeenSteps(watcher)
        backbones, missing = self._backbones(dimensions, seen.look)
        return score_files(requests, backbones, seen, missing)

    def _load(self, dimensions: Iterable[str], look: Look) -> None:
        chat = self._backbones(dimensions := tuple(dimensions), look)[0].get(CHAT)
        if isinstance(chat, AskedChat) and CHAT in backbones_of(dimensions):
            chat.warm_up()

    def _backbones(self, dimensions: Iterable[str], look: Look) -> tuple[Mapping[str, Model], Mapping[str, str]]:
        """What the dimensions need, and why a part of it is not here: weights that are not on this machine."""
        missing: dict[str, str] = {}
        for name in backbones_of(dimensions):
            if name in self._loaded:
                continue
            try:
                if name in self._models:
                    self._loaded[name] = self._loader.scorer(self._models[name])
                elif name == CHAT and self._chat is not None:
                    self._loaded[name] = self._chat()
            except (InvalidRequest, WeightsError) as error:
                missing[name] = str(error)
        chat = self._loaded.get(CHAT)
        if isinstance(chat, AskedChat):
            return {**self._loaded, CHAT: replace(chat, look=look)}, missing
        return self._loaded, missing

    def close(self) -> None:
        self._lane.close()
