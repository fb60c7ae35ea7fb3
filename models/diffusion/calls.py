"""One call at a time through one set of weights: the lock, progress and clock of a call, and what calls cache.

A diffusers pipeline is mutable state (scheduler, adapter scales), so concurrent calls take turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
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
            # Not `inference_mode`: in it torchao's rounded weights cannot be moved between devices, as offload does.
            with torch.no_grad(), library_failures(self._model, f"this request to model {self._model!r}"):
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


NOISE_LEVELS = ("timestep", "timesteps", "t")
"""What diffusers' denoisers call the argument that says how noisy their input is: 77 of the 80 classes of 0.42.1."""


class Progress:
    """Follows a diffusers call: tells the watcher, prepares the next step, and keeps the time.

    A pipeline with a `callback_on_step_end` calls this after every step. For one without, a hook before each pass of
    its denoiser counts: passes with the same noise level are one step, however many guidance takes. Either raises what
    the watcher raises, which leaves the pipeline at once; its own `interrupt` flag would still decode the picture, and
    is reset when a call starts.
    """

    def __init__(self, watcher: Watcher, steps: int, before_step: Callable[[int, int], None] | None = None) -> None:
        """`steps` in all; `before_step` is called with those done and all before every step but the first."""
        self._watcher = watcher
        self._steps = steps
        self._before_step = before_step
        self._done = 0
        self._level: float | None = None
        self._marks = [perf_counter()]
        self.tensors: dict[str, torch.Tensor] = {}
        """Latents of the last step by name: clean ones once the call is over. None from a pipeline without callback."""

    def encoded(self) -> None:
        """Text and images are encoded; denoising starts."""
        self._marks = [self._marks[0], perf_counter(), perf_counter()]

    @contextmanager
    def follow(self, pipeline: Any, denoisers: Sequence[Any], tensors: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Within, one call of `pipeline` is followed. Gives what it has to be called with for that.

        `tensors`: the latents that it shows after every step, by name.
        """
        if _takes_callback(pipeline):
            yield {"callback_on_step_end": self, "callback_on_step_end_tensor_inputs": list(tensors)}
            return
        hooks = [each.register_forward_pre_hook(self._before_pass, with_kwargs=True) for each in denoisers]
        try:
            yield {}
            self._step_is_over(self._steps)
        finally:
            for hook in hooks:
                hook.remove()

    def __call__(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Counted here: pipelines that work on a clip piece by piece begin again at 0 with each piece.
        self.tensors = dict(tensors)
        self._steps = max(self._steps, pipeline.num_timesteps)
        self._step_is_over(self._done + 1)
        return {}

    def _before_pass(self, denoiser: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = signature(type(denoiser).forward).bind_partial(denoiser, *args, **kwargs).arguments
        level = next((given[name] for name in NOISE_LEVELS if name in given), None)
        if level is not None:
            # Tokens of given frames have a level of their own, zero.
            noise = float(torch.as_tensor(level).max())
            if self._level not in (None, noise):
                self._step_is_over(min(self._done + 1, self._steps - 1))
            self._level = noise
        self._watcher.step(self._done, self._steps)

    def _step_is_over(self, done: int) -> None:
        self._done = done
        self._marks[2] = perf_counter()
        self._watcher.step(done, self._steps)
        if self._before_step and done < self._steps:
            self._before_step(done, self._steps)

    def finish(self) -> tuple[float, dict[str, float]]:
        """Seconds of the whole call, and of its parts `encode`, `denoise` and `decode`."""
        start, encoded, denoised = self._marks
        end = perf_counter()
        return end - start, {
            "encode": encoded - start,
            "denoise": denoised - encoded,
            "decode": end - denoised,
        }


def _takes_callback(pipeline: Any) -> bool:
    """Whether a call of `pipeline` takes a callback, itself or handed on to the class that it extends."""
    for kind in type(pipeline).__mro__:
        if "__call__" in vars(kind):
            parameters = signature(kind.__call__).parameters
            if "callback_on_step_end" in parameters:
                return True
            if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
                return False
    return False


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
