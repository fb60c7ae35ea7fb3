"""Out of memory: recognise it, give back what can be given, and try once more with less at once.

torch says it in several ways (its own error on an accelerator, plain RuntimeErrors of the CPU allocator and of cuBLAS).
Knows no model; what "less at once" means is the caller's.
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
"""In lower case: of CUDA, of the CPU allocator of torch on Linux and on Windows, of cuBLAS and cuDNN."""

SECOND_TRY = "the device ran out of memory and the picture was made again with less at once"
"""Note of a result that was made so."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def free_device_memory() -> None:
    """Give what no tensor uses back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def twice(
    attempt: Callable[[], Outcome], again: Callable[[], Outcome], forget: Callable[[], None], asked: str
) -> Outcome:
    """`attempt`; when memory runs out, `forget` what is only remembered, free it all and do `again`.

    Raises OutOfMemory that names what was `asked` for when memory runs out again; it is free then too.
    """
    for chance in (attempt, again):
        try:
            return chance()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: the traceback held every tensor of the failed call.
        forget()
        free_device_memory()
    raise out_of_memory(asked)


def out_of_memory(asked: str) -> OutOfMemory:
    return OutOfMemory(
        f"the device has no room for {asked}; ask for a smaller size or fewer frames, or set `acceleration.offload`"
        " or `acceleration.vae_tiling` in the model's YAML file"
    )


@contextmanager
def frugal(vae: Any) -> Iterator[None]:
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
