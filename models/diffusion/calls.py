"""One call at a time through one set of weights: the lock, progress and clock of a call, and what calls cache.

A diffusers pipeline is mutable state (scheduler, adapter scales), so concurrent calls take turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch

from models.diffusion.memory import free_device_memory, is_out_of_memory, out_of_memory
from models.errors import InferenceFailed, ModelError
from models.interfaces import Watcher

POLL_SECONDS = 0.05
"""How often a waiting call asks whether it was cancelled."""


class CallLock:
    """Lets one call at a time through one model; a waiting call can be cancelled."""

    def __init__(self, model: str) -> None:
        """`model` is the name that errors give it."""
        self._model = model
        self._lock = Lock()

    @contextmanager
    def turn(self, watcher: Watcher, steps: int) -> Iterator[None]:
        """Wait for the lock, then hold it; `watcher` sees step 0 of `steps` while waiting and once before the start.

        What the libraries raise becomes InferenceFailed, a lack of memory OutOfMemory; what the call held is free then.
        """
        while not self._lock.acquire(timeout=POLL_SECONDS):
            watcher.step(0, steps)
        try:
            watcher.step(0, steps)
            with torch.inference_mode(), library_failures(self._model, f"this request to model {self._model!r}"):
                yield
        finally:
            self._lock.release()


@contextmanager
def library_failures(model: str, amount: str) -> Iterator[None]:
    """What torch, diffusers or transformers raise becomes InferenceFailed; a lack of memory for `amount` OutOfMemory.

    Errors of our own pass as they are, also those that a watcher raises to stop the call.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise InferenceFailed(f"model {model!r} failed: {type(error).__name__}: {error}") from error
        failure = out_of_memory(amount)
    else:
        return
    # Outside of the handler: the traceback held every tensor of the failed call.
    free_device_memory()
    raise failure


class Progress:
    """The `callback_on_step_end` of a diffusers call: tells the watcher, prepares the next step, and keeps the time.

    The callback raises what the watcher raises, which leaves the pipeline at once; its own `interrupt` flag would
    still decode the picture, and is reset when a call starts.
    """

    def __init__(self, watcher: Watcher, before_step: Callable[[int, int], None] | None = None) -> None:
        """`before_step` is called with the steps done and in all before every step but the first."""
        self._watcher = watcher
        self._before_step = before_step
        self._marks = [perf_counter()]
        self.tensors: dict[str, torch.Tensor] = {}
        """Latents of the last step by name: clean ones once the call is over."""

    def encoded(self) -> None:
        """Text and images are encoded; denoising starts."""
        self._marks = [self._marks[0], perf_counter(), perf_counter()]

    def __call__(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done, total = index + 1, pipeline.num_timesteps
        self._marks[2] = perf_counter()
        self.tensors = dict(tensors)
        self._watcher.step(done, total)
        if self._before_step and done < total:
            self._before_step(done, total)
        return {}

    def finish(self) -> tuple[float, dict[str, float]]:
        """Seconds of the whole call, and of its parts `encode`, `denoise` and `decode`."""
        start, encoded, denoised = self._marks
        end = perf_counter()
        return end - start, {
            "encode": encoded - start,
            "denoise": denoised - encoded,
            "decode": end - denoised,
        }


Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Keeps the last `size` values by key; the least recently used one goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._hits = self._misses = 0

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        """The value of `key`, made by `make` when it is not cached."""
        if key in self._values:
            self._hits += 1
            self._values.move_to_end(key)
            return self._values[key]
        self._misses += 1
        value = self._values[key] = make()
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Drop the values; the counters go on."""
        self._values.clear()

    def stats(self) -> dict[str, int]:
        """Hits and misses since the start, and the entries held now."""
        return {"hits": self._hits, "misses": self._misses, "entries": len(self._values)}
