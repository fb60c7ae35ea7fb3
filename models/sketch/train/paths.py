"""Where finished weights go, and how pictures become tensors. Knows nothing of any stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from models.sketch.train.data import CACHE

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
"""What ships with the project; `release` fills it."""
EXPORTS = CACHE / "exports"
"""Finished stages in the same layout, whether they meet their bars or not."""


def as_tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """n x height x width x 3 bytes as n x 3 x height x width in -1 to 1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pictures(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """The way back."""
    pixels = ((tensor.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def squash(pixels: torch.Tensor) -> torch.Tensor:
    """What the CLIP image processor does, for batches that are already -1 to 1."""
    if pixels.shape[-2:] == (64, 64):
        return pixels
    return F.interpolate(pixels, size=(64, 64), mode="bilinear", antialias=True)
