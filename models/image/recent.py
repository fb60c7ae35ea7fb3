"""A small memory of recent results, so that the same text or image is not encoded twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Keeps the last `size` values by key; the least recently used one goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._hits = self._misses = 0

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        """The value of `key`, made by `make` when it is not remembered."""
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
        """Forget the values; the counters go on."""
        self._values.clear()

    def stats(self) -> dict[str, int]:
        """Calls answered from memory and not, since the start, and the values held now."""
        return {"hits": self._hits, "misses": self._misses, "entries": len(self._values)}
