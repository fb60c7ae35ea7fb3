"""Weights in 8 bits by torchao (BSD-3-Clause), for pipelines whose 16-bit weights do not fit the card.

Only `Linear` layers are rounded, each row of a weight with a scale of its own; of a denoiser only those of its repeated
blocks, which hold nearly all of its weights: what leads in and out of them keeps its precision.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from models.spec import Quantisation

PRODUCTS_FROM = (8, 9)
"""Compute capability of the first cards that multiply in float8 (Ada); Hopper is 9.0."""


def quantise(component: nn.Module, settings: Quantisation, device: str) -> None:
    """Round the weights of one component of a pipeline in place, layer by layer on `device`, where it then lies.

    Before LoRAs would be a loss and after them none: their own layers are small and stay as they are. Raises
    LookupError with the reason when it cannot be done.
    """
    if find_spec("torchao") is None:
        raise LookupError("the package torchao is not installed: pip install 'admint[gpu]'")
    if settings.to == "float8_products" and not _multiplies_in_float8(device):
        raise LookupError(f"{device!r} does not multiply in float8: that takes an NVIDIA card of Ada, Hopper or later")
    from torchao.quantization import quantize_

    rounded = {id(layer) for layer in _layers(component)}
    if not rounded:
        raise LookupError(f"{type(component).__name__} has no linear layers to round")
    quantize_(component, _config(settings), filter_fn=lambda module, name: id(module) in rounded, device=device)


def _multiplies_in_float8(device: str) -> bool:
    return torch.device(device).type == "cuda" and torch.cuda.get_device_capability(device) >= PRODUCTS_FROM


def _layers(component: nn.Module) -> list[nn.Linear]:
    repeated = getattr(component, "_repeated_blocks", None)
    roots: list[nn.Module] = [component]
    if repeated:
        roots = [module for module in component.modules() if type(module).__name__ in repeated]
    # A language model's head is unused by encoders, and may be the embedding itself, which then could not be rounded.
    layers = [
        (name, module) for root in roots for name, module in root.named_modules() if isinstance(module, nn.Linear)
    ]
    return [module for name, module in layers if name != "lm_head" and ".lora_" not in name]


def _config(settings: Quantisation) -> Any:
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Float8WeightOnlyConfig,
        Int8WeightOnlyConfig,
        PerRow,
    )

    if settings.to == "int8_weights":
        return Int8WeightOnlyConfig()
    if settings.to == "float8_weights":
        return Float8WeightOnlyConfig()
    return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
