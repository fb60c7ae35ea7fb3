"""Several models on one device: those used last stay loaded as far as they fit a budget of bytes. Thread-safe.

A model in use is never evicted; who wants one that does not fit beside those in use waits for them. A model that does
not even fit alone is loaded all the same: the device says whether it has room.

What counts is the weights of all loaded models, and the activations of the one that needs most: a device runs one call
at a time. Activations are what a model's description (`vram_gb`) needs beyond its weights.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch

from models.diffusion.calls import POLL_SECONDS
from models.diffusion.memory import free_device_memory
from models.interfaces import Watcher
from models.spec import SpecBase

Spec = TypeVar("Spec", bound=SpecBase)


class _Place:
    """The share of the budget that one model takes from the moment that it is being loaded."""

    def __init__(self, weights: int, needed: int) -> None:
        """`weights` in bytes; `needed` at work, activations included, as the description says."""
        self.engine: Any = None
        self.weights = weights
        self.needed = needed
        self.users = 0

    @property
    def activations(self) -> int:
        """Bytes at work beyond the weights."""
        return max(0, self.needed - self.weights)


class ModelPool(Generic[Spec]):
    """The engines of one device, by the name of their description."""

    def __init__(self, load: Callable[[Spec], Any], budget_bytes: int | None) -> None:
        """`load` builds an engine; `budget_bytes` None keeps every engine."""
        self._load = load
        self._budget = budget_bytes
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._measured: dict[str, int] = {}
        self._changed = threading.Condition()

    @contextmanager
    def use(self, spec: Spec, watcher: Watcher) -> Iterator[Any]:
        """The engine of `spec`, loaded if it is not, and held until the context ends. Raises what `load` raises.

        Blocks while another thread loads it, and while models in use leave no room; `watcher` sees step 0 of 1
        meanwhile, and may stop the wait. Not to be nested: two contexts of one thread whose models do not fit together
        would wait for each other.
        """
        place = self._take(spec, watcher)
        try:
            yield place.engine
        finally:
            with self._changed:
                place.users -= 1
                self._changed.notify_all()

    def loaded(self) -> dict[str, int]:
        """Bytes of the weights of each loaded engine, least recently used first."""
        with self._changed:
            return {name: place.weights for name, place in self._places.items() if place.engine is not None}

    def engines(self) -> dict[str, Any]:
        """Each loaded engine by name, least recently used first; not held, so only to be read."""
        with self._changed:
            return {name: place.engine for name, place in self._places.items() if place.engine is not None}

    def _take(self, spec: Spec, watcher: Watcher) -> _Place:
        with self._changed:
            while True:
                place = self._places.get(spec.name)
                if place is not None and place.engine is not None:
                    self._places.move_to_end(spec.name)
                    place.users += 1
                    return place
                # Until it was loaded once, its description says what room it needs.
                needed = round(spec.vram_gb * 1e9)
                wanted = _Place(self._measured.get(spec.name, needed), needed)
                if place is None and self._make_room(wanted):
                    place = self._places[spec.name] = wanted
                    place.users = 1
                    break
                self._changed.wait(POLL_SECONDS)
                watcher.step(0, 1)
        return self._fill(place, spec)

    def _fill(self, place: _Place, spec: Spec) -> _Place:
        """Load outside of the lock: loaded models serve on meanwhile."""
        try:
            engine = self._load(spec)
        except BaseException:
            with self._changed:
                del self._places[spec.name]
                self._changed.notify_all()
            raise
        with self._changed:
            place.engine, place.weights = engine, size_bytes(engine)
            self._measured[spec.name] = place.weights
            self._make_room()
            self._changed.notify_all()
            return place

    def _make_room(self, wanted: _Place | None = None) -> bool:
        """Evict idle models, least recently used first, until `wanted` fits too; false while others are in use."""
        while self._budget is not None and self._total(wanted) > self._budget:
            idle = [name for name, place in self._places.items() if not place.users]
            if not idle:
                return not self._places
            del self._places[idle[0]]
            free_device_memory()
        return True

    def _total(self, wanted: _Place | None) -> int:
        places = [*self._places.values(), *([wanted] if wanted else [])]
        return sum(place.weights for place in places) + max((place.activations for place in places), default=0)


def size_bytes(engine: Any) -> int:
    """Bytes of the parameters and buffers that an engine's pipelines and modules hold, each counted once.

    Weights that offload keeps in host memory count too, except those that it took off every device.
    """
    tensors = {
        id(tensor): tensor for module in _modules(engine, 3) for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(_bytes(tensor) for tensor in tensors.values() if not tensor.is_meta)


def _bytes(tensor: Any) -> int:
    """Of a rounded weight, the bytes of its parts: `nbytes` says what it would take in the precision that it shows."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return int(tensor.nbytes)


def _modules(value: Any, depth: int) -> Iterator[torch.nn.Module]:
    """Modules among the attributes of an object, and in its pipelines."""
    if isinstance(value, torch.nn.Module):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _modules(each, depth)
    elif depth and hasattr(value, "__dict__"):
        for each in vars(value).values():
            yield from _modules(each, depth - 1)
