"""One call at a time through one set of weights: waiting, cancelling while waiting, progress, and the clock.

A diffusers pipeline is mutable state (scheduler, adapter scales), so concurrent calls take turns. Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter
from typing import Any

import torch

from models.errors import InferenceFailed
from models.interfaces import Watcher

POLL_SECONDS = 0.05
"""How often a waiting call asks whether it was cancelled."""


class Lane:
    """The queue of one length before one model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = Lock()

    @contextmanager
    def turn(self, watcher: Watcher, steps: int) -> Iterator[None]:
        """Wait for the lane, then hold it; `watcher` sees step 0 of `steps` while waiting and once before the start.

        Turns what torch raises (device out of memory and the like) into InferenceFailed.
        """
        while not self._lock.acquire(timeout=POLL_SECONDS):
            watcher.step(0, steps)
        try:
            watcher.step(0, steps)
            with torch.inference_mode():
                yield
        except RuntimeError as error:
            raise InferenceFailed(f"model {self._model!r} failed: {error}") from error
        finally:
            self._lock.release()


class Progress:
    """diffusers' `callback_on_step_end`: tells the watcher, prepares the next step, and keeps the time.

    The callback raises what the watcher raises, which leaves the pipeline at once; its own `interrupt` flag would
    still decode the picture, and is reset when a call starts.
    """

    def __init__(self, watcher: Watcher, before_step: Callable[[int, int], None] | None = None) -> None:
        self._watcher = watcher
        self._before_step = before_step
        self._marks = [perf_counter()]

    def encoded(self) -> None:
        """Text and images are encoded; denoising starts."""
        self._marks = [self._marks[0], perf_counter(), perf_counter()]

    def __call__(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done, total = index + 1, pipeline.num_timesteps
        self._marks[2] = perf_counter()
        self._watcher.step(done, total)
        if self._before_step and done < total:
            self._before_step(done, total)
        return {}

    def finish(self) -> tuple[float, dict[str, float]]:
        """Seconds of the whole call, and of its parts."""
        start, encoded, denoised = self._marks
        end = perf_counter()
        return end - start, {
            "encode": encoded - start,
            "denoise": denoised - encoded,
            "decode": end - denoised,
        }
