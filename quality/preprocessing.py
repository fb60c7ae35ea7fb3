"""What is done to frames before a backbone sees them: named, pure torch functions.

Each takes uint8 frames, shape (frames, 3, height, width), on the backbone's device, and treats every frame by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _as_they_are(frames: torch.Tensor) -> torch.Tensor:
    """For an encoder with a processor of its own."""
    return frames


def _vbench_clip224(frames: torch.Tensor) -> torch.Tensor:
    """Shorter side 224 bicubic without antialias, not clamped; the middle 224x224; CLIP's mean and deviation."""
    resized = _shorter_side(frames.float(), 224, "bicubic")
    top, left = (round((length - 224) / 2) for length in resized.shape[-2:])
    return _normalised(resized[..., top : top + 224, left : left + 224], CLIP_MEAN, CLIP_STD)


def _vbench_dino224(frames: torch.Tensor) -> torch.Tensor:
    """Shorter side 224 bilinear without antialias, not cropped; ImageNet's mean and deviation."""
    return _normalised(_shorter_side(frames.float(), 224, "bilinear"), IMAGENET_MEAN, IMAGENET_STD)


def _shorter_side(frames: torch.Tensor, length: int, mode: str) -> torch.Tensor:
    """Resized so that the shorter side has `length` pixels and the longer one int(length * longer / shorter)."""
    height, width = frames.shape[-2:]
    size = (length, int(length * width / height)) if height <= width else (int(length * height / width), length)
    return functional.interpolate(frames, size, mode=mode, align_corners=False, antialias=False)


def _normalised(frames: torch.Tensor, mean: Sequence[float], deviation: Sequence[float]) -> torch.Tensor:
    """(frames / 255 - mean) / deviation, by channel."""
    along = (1, 3, 1, 1)
    return (frames / 255 - frames.new_tensor(mean).view(along)) / frames.new_tensor(deviation).view(along)


PREPROCESSINGS: dict[str, Callable[[torch.Tensor], Any]] = {
    "hf.clip": _as_they_are,
    "vbench.clip224": _vbench_clip224,
    "vbench.dino224": _vbench_dino224,
}
"""By name, as `quality.stream.Stream` gives it."""


def preprocess(name: str, frames: torch.Tensor) -> Any:
    """`frames`, uint8 of shape (frames, 3, height, width), as a backbone takes them. Raises ValueError for a name."""
    if name not in PREPROCESSINGS:
        raise ValueError(f"preprocessing {name!r} is unknown: choose from {', '.join(sorted(PREPROCESSINGS))}")
    return PREPROCESSINGS[name](frames)
