"""Which of diffusers' attention backends a model runs on: the one that is named, or the best that a card has.

`attention_backend: auto` takes, for families whose attention has no mask, the first exact kernel of `KERNELS` that the
card and the installed packages allow, and torch's own choice otherwise. Kernels that round to 8 bits act only by name.
On an H200 with torch 2.11 cuDNN's gave equal bits and no gain over torch's own choice (docs/gpu.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

NATIVE = "native"
"""torch's own choice."""
MASKLESS = frozenset({"flux", "flux2-klein", "wan", "wan-text", "wan-vace"})
"""Families whose denoiser gives no mask to its attention: flash kernels take none."""


@dataclass(frozen=True)
class Kernel:
    """One attention kernel, and what it needs."""

    backend: str
    package: str | None
    """Module that holds it; None: torch itself."""
    least: tuple[int, int]
    """First compute capability that it runs on."""
    below: tuple[int, int] = (99, 0)
    """First that it no longer runs on."""
    cudnn: int = 0
    """Least version of cuDNN, as torch counts it: 90000 is 9.0.0."""
    exact: bool = True
    """Whether it rounds no more than its inputs are rounded."""


KERNELS = (
    Kernel("_flash_3", "flash_attn_interface", least=(9, 0), below=(10, 0)),
    Kernel("_native_cudnn", None, least=(9, 0), cudnn=90000),
    Kernel("flash", "flash_attn", least=(8, 0)),
    Kernel("sage", "sageattention", least=(8, 0), exact=False),
    Kernel("_sage_qk_int8_pv_fp8_cuda", "sageattention", least=(8, 9), exact=False),
    Kernel("_sage_qk_int8_pv_fp8_cuda_sm90", "sageattention", least=(9, 0), below=(10, 0), exact=False),
    Kernel("_sage_qk_int8_pv_fp16_cuda", "sageattention", least=(8, 0), exact=False),
    Kernel("_sage_qk_int8_pv_fp16_triton", "sageattention", least=(8, 0), exact=False),
)
"""The exact ones in the order in which `auto` prefers them."""


@dataclass(frozen=True)
class CardFacts:
    """What a device can run attention with."""

    capability: tuple[int, int] | None
    """Compute capability; None: not an NVIDIA card."""
    packages: frozenset[str]
    """Those of the kernels' modules that can be imported."""
    cudnn: int
    """Version of cuDNN, as torch counts it; 0: none."""


def card_facts(device: str) -> CardFacts:
    """The facts of `device` on this machine. Imports none of the packages."""
    known = {kernel.package for kernel in KERNELS if kernel.package is not None}
    packages = frozenset(name for name in known if find_spec(name) is not None)
    if torch.device(device).type != "cuda" or not torch.cuda.is_available() or torch.version.cuda is None:
        return CardFacts(None, packages, 0)
    cudnn: Any = torch.backends.cudnn
    return CardFacts(torch.cuda.get_device_capability(device), packages, cudnn.version() or 0)


def chosen_backend(family: str, dtype: str, head_dim: int, facts: CardFacts) -> str:
    """The backend that `auto` means for a model of `family` in `dtype` on a device with these facts.

    `head_dim` is the width of one attention head: the kernels take multiples of 8 only.
    """
    if family in MASKLESS and dtype != "float32" and head_dim % 8 == 0:
        for kernel in KERNELS:
            if kernel.exact and missing(kernel, facts) is None:
                return kernel.backend
    return NATIVE


def missing(kernel: Kernel, facts: CardFacts) -> str | None:
    """What a device lacks for `kernel`, in words; None when it runs there."""
    if facts.capability is None:
        return "it needs an NVIDIA card"
    if not kernel.least <= facts.capability < kernel.below:
        bounds = "{}.{}".format(*kernel.least) + (
            "" if kernel.below[0] == 99 else " to below {}.{}".format(*kernel.below)
        )
        return "it needs compute capability {} and this card has {}.{}".format(bounds, *facts.capability)
    if kernel.package is not None and kernel.package not in facts.packages:
        return f"the package with the module {kernel.package!r} is not installed"
    if facts.cudnn < kernel.cudnn:
        return f"it needs cuDNN {kernel.cudnn // 10000}"
    return None


def kernel_of(backend: str) -> Kernel | None:
    """The kernel behind a backend's name; None for those that need nothing that is known here."""
    return next((kernel for kernel in KERNELS if kernel.backend == backend), None)
