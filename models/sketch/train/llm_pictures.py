"""What the sketch LLM sees: the family's own CLIP vision tower, frozen, and its features of the training pictures.

The tower already tells products, colours and settings apart, in held-out combinations too, so the language model only
learns to say what it finds. Features are computed once, as `LlavaForConditionalGeneration` takes them: the last layer's
states of the class token and of all patches. Knows no word and no language model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPVisionModel

from models.sketch.train import data
from models.sketch.train.paths import WEIGHTS, as_tensor, squash

PATCHES = 64
TOKENS = PATCHES + 1
"""Class token and 8 x 8 patches."""
CHUNK = 200

Features = NDArray[np.float16]


def tower() -> CLIPVisionModel:
    """The packaged CLIP's vision tower in float32, in evaluation mode."""
    return CLIPVisionModel.from_pretrained(WEIGHTS / "clip", dtype=torch.float32).eval()


def features(aspect: str, count: int, folder: Path) -> Features:
    """Features of the first `count` training pictures of one bucket: n x TOKENS x width, mapped from disk."""
    path = folder / f"features-{aspect.replace(':', 'x')}-{count}.npy"
    if not path.exists():
        np.save(path, _computed(aspect, count))
    array: Features = np.load(path, mmap_mode="r")
    return array


@torch.no_grad()
def _computed(aspect: str, count: int) -> Features:
    eyes, pixels = tower(), data.pictures("train", aspect)[:count]
    found = []
    for start in range(0, len(pixels), CHUNK):
        seen = squash(as_tensor(pixels[start : start + CHUNK]))
        found.append(eyes(pixel_values=seen, output_hidden_states=True).hidden_states[-1].half().numpy())
    return np.concatenate(found)
