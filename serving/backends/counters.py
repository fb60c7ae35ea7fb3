"""Counts what the models of one process do, as `ModelCounters` that can be added up over replicas."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from models.errors import Cancelled, OutOfMemory
from models.interfaces import Watcher
from serving.backends.interface import ModelCounters

_ENDING = threading.Lock()
"""Calls end in the event loop, and those of scorers in the lane of the model."""


@dataclass
class Counters:
    """Totals of one model since the replica started."""

    running: int = 0
    calls: int = 0
    failures: int = 0
    cancellations: int = 0
    out_of_memory: int = 0
    denoising_steps: int = 0
    step_seconds: float = 0.0
    device_seconds: float = 0.0

    @contextmanager
    def on_device(self, count: int) -> Iterator[None]:
        """Count `count` calls that the device runs at once, and its seconds."""
        self.running += count
        started = time.monotonic()
        try:
            yield
        finally:
            self.running -= count
            self.device_seconds += time.monotonic() - started

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count one call, however it ends."""
        ended: BaseException | None = None
        try:
            yield
        except BaseException as error:
            ended = error
            raise
        finally:
            with _ENDING:
                self.calls += 1
                self.cancellations += isinstance(ended, Cancelled | asyncio.CancelledError)
                self.failures += isinstance(ended, Exception) and not isinstance(ended, Cancelled)
                self.out_of_memory += isinstance(ended, OutOfMemory)

    def snapshot(self, waiting: int, cache_hits: int, cache_misses: int) -> ModelCounters:
        """The totals now, with the numbers that the caller keeps."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return ModelCounters(
            **values,
            waiting=waiting,
            cache_hits=cache_hits,
            cache_misses=cache_misses,
            peak_memory_bytes=peak_device_memory(),
        )


class CountedSteps:
    """Counts denoising steps, and their time, on their way to another watcher."""

    def __init__(self, counters: Counters, watcher: Watcher) -> None:
        self._counters = counters
        self._watcher = watcher
        self._last: float | None = None

    def step(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done and self._last is not None:
            self._counters.denoising_steps += 1
            self._counters.step_seconds += now - self._last
        self._last = now
        self._watcher.step(done, total)


def summed(snapshots: Iterable[Mapping[str, ModelCounters]]) -> dict[str, ModelCounters]:
    """Counters of the same model on several replicas as one: sums, and the greatest peak."""
    total: dict[str, ModelCounters] = {}
    for snapshot in snapshots:
        for name, counters in snapshot.items():
            total[name] = _added(total[name], counters) if name in total else counters
    return total


def _added(one: ModelCounters, other: ModelCounters) -> ModelCounters:
    values = {name: getattr(one, name) + getattr(other, name) for name in ModelCounters.model_fields}
    return ModelCounters(**values | {"peak_memory_bytes": max(one.peak_memory_bytes, other.peak_memory_bytes)})


def peak_device_memory() -> int:
    """Most bytes that torch held on the CUDA device in this process; 0 without one."""
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_available() else 0
