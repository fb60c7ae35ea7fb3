"""Out of memory: recognise it, give back what can be given, and try once more with less at once.

torch says it in several ways (its own error on an accelerator, plain RuntimeErrors of the CPU allocator and of cuBLAS).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from models.errors import OutOfMemory

Outcome = TypeVar("Outcome")

SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""What such errors say, in lower case: CUDA, torch's CPU allocator on Linux and Windows, cuBLAS and cuDNN."""

SECOND_TRY = "the device ran out of memory and the picture was made again with less at once"
"""Note of a result that only the second try gave."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, in one of its ways, says with `error` that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def free_device_memory() -> None:
    """Give what no tensor uses back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def retry_with_less_memory(
    attempt: Callable[[], Outcome], with_less: Callable[[], Outcome], drop_caches: Callable[[], None], amount: str
) -> Outcome:
    """`attempt`; when memory runs out, drop what is only cached, free all that can be freed and run `with_less`.

    Raises OutOfMemory naming the `amount` that was asked for when memory runs out again; it is free then too.
    """
    for run in (attempt, with_less):
        try:
            return run()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: the traceback held every tensor of the failed call.
        drop_caches()
        free_device_memory()
    raise out_of_memory(amount)


def out_of_memory(amount: str) -> OutOfMemory:
    """The error that says that `amount`, as `2 images of 512x512`, did not fit, and what to change."""
    return OutOfMemory(
        f"the device has no room for {amount}; ask for a smaller size or fewer frames, or set `acceleration.offload`"
        " or `acceleration.vae_tiling` in the model's YAML file"
    )


@contextmanager
def low_memory_vae(vae: Any) -> Iterator[None]:
    """Within, `vae` works on one picture at a time and in tiles: less memory, faint differences at their seams."""
    switches = [
        (off, on)
        for on, off, state in (
            ("enable_tiling", "disable_tiling", "use_tiling"),
            ("enable_slicing", "disable_slicing", "use_slicing"),
        )
        if hasattr(vae, on) and not getattr(vae, state, False)
    ]
    for _, on in switches:
        getattr(vae, on)()
    try:
        yield
    finally:
        for off, _ in switches:
            getattr(vae, off)()
