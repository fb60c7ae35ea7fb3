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
from models.memory import free_device_memory, is_out_of_memory, out_of_memory

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

        What torch raises becomes InferenceFailed, a lack of memory OutOfMemory; what the call held is free then.
        """
        while not self._lock.acquire(timeout=POLL_SECONDS):
            watcher.step(0, steps)
        try:
            watcher.step(0, steps)
            with torch.inference_mode(), failing_as_ours(self._model, f"this request to model {self._model!r}"):
                yield
        finally:
            self._lock.release()


@contextmanager
def failing_as_ours(model: str, asked: str) -> Iterator[None]:
    """What torch raises becomes InferenceFailed; a lack of memory for what was `asked` becomes OutOfMemory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise InferenceFailed(f"model {model!r} failed: {error}") from error
        failure = out_of_memory(asked)
    else:
        return
    # Outside of the handler: the traceback held every tensor of the failed call.
    free_device_memory()
    raise failure


class Progress:
    """diffusers' `callback_on_step_end`: tells the watcher, prepares the next step, and keeps the time.

    The callback raises what the watcher raises, which leaves the pipeline at once; its own `interrupt` flag would
    still decode the picture, and is reset when a call starts.
    """

    def __init__(self, watcher: Watcher, before_step: Callable[[int, int], None] | None = None) -> None:
        self._watcher = watcher
        self._before_step = before_step
        self._marks = [perf_counter()]
        self.latents: torch.Tensor | None = None
        """Of the last step: clean ones once the call is over."""

    def encoded(self) -> None:
        """Text and images are encoded; denoising starts."""
        self._marks = [self._marks[0], perf_counter(), perf_counter()]

    def __call__(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done, total = index + 1, pipeline.num_timesteps
        self._marks[2] = perf_counter()
        self.latents = tensors.get("latents")
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
