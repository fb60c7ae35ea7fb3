"""One call at a time through one set of weights: waiting, cancelling while waiting, progress, and the clock.

A diffusers pipeline is mutable state (scheduler, adapter scales), so concurrent calls take turns. Knows no family.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import lcm
from threading import Lock
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch
from PIL import Image, ImageOps

from models.diffusion.memory import free_device_memory, is_out_of_memory, out_of_memory
from models.errors import InferenceFailed, InvalidRequest
from models.interfaces import EncodedImage, Watcher


def tokens_of(tokenizer: Any, text: str) -> int:
    """Tokens of `text`, with the marks of its begin and end."""
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)


def unread_note(tokenizer: Any, text: str, limit: int | None = None) -> tuple[str, ...]:
    """One note when `text` is longer than the text encoder reads (`limit`, or what its tokenizer says), else none."""
    count, limit = tokens_of(tokenizer, text), limit or int(tokenizer.model_max_length)
    if count <= limit:
        return ()
    return (
        f"the prompt has {count} tokens, of which the text encoder reads the first {limit}: shorten {text[:40]!r}…",
    )


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


def decode(image: EncodedImage, name: str) -> Image.Image:
    """RGB pixels of `image`. Raises InvalidRequest that calls it `name`."""
    return _open(image, name).convert("RGB")


def decode_covering(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """RGB pixels at `width` x `height`: scaled to cover that size, centred, overhang cut off."""
    return ImageOps.fit(decode(image, name), (width, height), Image.Resampling.LANCZOS)


def decode_mask(image: EncodedImage, name: str, width: int, height: int) -> Image.Image:
    """Grey pixels at `width` x `height`, placed as `decode_covering` places an image of the same aspect."""
    return ImageOps.fit(_open(image, name).convert("L"), (width, height), Image.Resampling.NEAREST)


def check_size(model: str, width: int, height: int, *multiples: int) -> None:
    """Raises InvalidRequest unless both sides are multiples of all `multiples`."""
    step = lcm(*multiples)
    if width % step or height % step:
        near = f"{max(step, round(width / step) * step)}x{max(step, round(height / step) * step)}"
        raise InvalidRequest(
            f"size {width}x{height} does not suit model {model!r}: both sides must be multiples of {step};"
            f" the nearest such size is {near}"
        )


def _open(image: EncodedImage, name: str) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(image.data))
        opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"{name} cannot be decoded ({error}); give a whole PNG, JPEG or WebP file") from error
    return opened
