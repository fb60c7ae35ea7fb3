"""Model calls that this process asked for and that have not ended: the queue before a deployment is at its callers.

A replica knows only what it was given, which for clips and chats is one call at a time. Knows neither Ray nor a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from serving.gateway.backends import ModelCounters


class AskedCalls:
    """Of one process, by model name."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    @contextmanager
    def one_of(self, model: str) -> Iterator[None]:
        """One call, from asking to its end, however it ends."""
        self._count[model] += 1
        try:
            yield
        finally:
            self._count[model] -= 1

    def snapshot(self) -> dict[str, int]:
        return dict(self._count)


def with_queues(counters: Mapping[str, ModelCounters], asked: Iterable[Mapping[str, int]]) -> dict[str, ModelCounters]:
    """`counters` in which everything that somebody `asked` for and that does not run is waiting."""
    total: Counter[str] = Counter()
    for each in asked:
        total.update(each)
    return {
        model: known.model_copy(update={"waiting": max(known.waiting, total[model] - known.running)})
        for model, known in counters.items()
    }
