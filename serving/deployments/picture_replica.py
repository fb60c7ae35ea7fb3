"""What image and video replicas share: one lane, a pool of loaded models, and counters by model.

A replica holds one device. Knows no generation and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from models.errors import InvalidRequest
from models.interfaces import ImageRequest, Watcher
from models.pool import ModelPool
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.lanes import Lane
from serving.deployments.counters import Counters
from serving.gateway.backends import ModelCounters

Spec = TypeVar("Spec", ImageModelSpec, VideoModelSpec)
Result = TypeVar("Result")


class PictureReplica(Generic[Spec]):
    """One device with the models that `specs` describe by name, loaded by `load` when first needed.

    Of the loaded ones those that fit `memory_gb` stay; None keeps all.
    """

    def __init__(
        self, specs: Mapping[str, Spec], load: Callable[[Spec], Any], device: str, memory_gb: float | None
    ) -> None:
        self._specs: Mapping[str, Spec] = specs
        self._pool: ModelPool[Spec] = ModelPool(load, None if memory_gb is None else round(memory_gb * 2**30))
        self._lane = Lane(device)
        self.counters = {name: Counters() for name in specs}
        self._waiting = dict.fromkeys(specs, 0)

    def spec(self, model: str) -> Spec:
        """Raises InvalidRequest for a model that this replica does not offer."""
        if model not in self._specs:
            raise InvalidRequest(f"no model {model!r} here: choose one of {', '.join(self._specs)}")
        return self._specs[model]

    async def on_lane(
        self, model: str, watcher: Watcher, call: Callable[[Any, Watcher], Result], count: int = 1
    ) -> Result:
        """Run `call` with the loaded engine of `model` and a watcher, alone on the device. It serves `count` requests.

        Cancelling the task makes the watcher stop the call at its next step.
        """
        counters, started = self.counters[model], False

        def work(watcher: Watcher) -> Result:
            nonlocal started
            started = True
            self._waiting[model] -= count
            with counters.on_device(count), self._pool.use(self._specs[model]) as engine:
                return call(engine, watcher)

        self._waiting[model] += count
        try:
            return await self._lane.run(work, watcher)
        finally:
            if not started:
                self._waiting[model] -= count

    def batch_key(self, model: str, request: ImageRequest) -> str | None:
        """What requests must share to share a batch. Runs beside the lane; waits while a model loads."""
        with self._pool.use(self._specs[model]) as engine:
            key: str | None = engine.batch_key(request)
            return key

    def snapshot(self) -> dict[str, ModelCounters]:
        engines = self._pool.engines()
        return {
            name: counters.snapshot(self._waiting[name], *_embeddings(engines.get(name)))
            for name, counters in self.counters.items()
        }


def _embeddings(engine: Any) -> tuple[int, int]:
    """Hits and misses of the prompt and reference embeddings that an engine remembers."""
    stats = engine.stats().values() if hasattr(engine, "stats") else ()
    return sum(each["hits"] for each in stats), sum(each["misses"] for each in stats)
