"""Matrix products in float8, by hand: what they would gain before the project takes a library for them.

Weights have one scale per output channel, activations one per token, drawn from the values at hand. The product is
torch's own (`_scaled_mm`: Ada, Hopper and later). Nothing of it is in the product: `acceleration.quantisation` is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
SMALLEST_SCALE = 1e-12


class Float8Linear(nn.Module):
    """Takes the place of a `Linear`; on a CPU, which rehearses only, it computes with the rounded weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _rounded(linear.weight.detach())
        self.weight: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.t().contiguous())
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        tokens = inputs.reshape(-1, inputs.shape[-1])
        if inputs.is_cuda:
            rounded, scale = _rounded(tokens)
            outputs = torch._scaled_mm(
                rounded, self.weight.t(), scale, self.scale, self.bias, out_dtype=inputs.dtype, use_fast_accum=True
            )
        else:
            outputs = nn.functional.linear(tokens, (self.weight.float() * self.scale.t()).to(inputs.dtype), self.bias)
        return outputs.reshape(*inputs.shape[:-1], -1)


def use_float8(denoiser: Any) -> None:
    """Replace the `Linear`s of the repeated blocks, where nearly all the work is; the others keep their precision."""
    for block in denoiser.modules():
        if type(block).__name__ in denoiser._repeated_blocks:
            _replace(block)


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Float8Linear(child))
        else:
            _replace(child)


def _rounded(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows in float8, and what each is to be multiplied by."""
    scale = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=SMALLEST_SCALE) / LARGEST
    return (rows / scale).to(FLOAT8), scale
