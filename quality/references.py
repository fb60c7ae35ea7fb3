"""What belongs to a reference picture alone, computed once and not anew for each still, scene and clip beside it.

An ad's pictures are compared with the same few references, one call after the other, by models that stay loaded. What a
model makes of a reference is kept with that model, for the last KEPT of its answers, and goes when the model does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from quality.stream import Reference

KEPT = 12
"""Answers that are kept of each model: one of a megapixel reference is 1 to 5 MB."""
Answer = TypeVar("Answer")

_answers: WeakKeyDictionary[Any, OrderedDict[object, Any]] = WeakKeyDictionary()
_lock = Lock()


def of_references(model: object, what: str, references: Sequence[Reference], compute: Callable[[], Answer]) -> Answer:
    """What `compute` makes of `references` with `model` (of a formula: its function), under the name `what`.

    Computed once for the same pixels in the same order. Whoever asks must not change the answer, nor keep `model` in
    it. Raises what `compute` raises, which is not kept.
    """
    key = (what, tuple(reference.sha256 for reference in references))
    with _lock:
        own = _answers.setdefault(model, OrderedDict())
        if key in own:
            own.move_to_end(key)
            found: Answer = own[key]
            return found
    made = compute()  # outside of the lock: another model need not wait
    with _lock:
        own[key] = made
        while len(own) > KEPT:
            own.popitem(last=False)
    return made
