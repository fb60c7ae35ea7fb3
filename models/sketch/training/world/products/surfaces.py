"""What products are painted with: shares of their own colour and fixed materials, laid over each other.

Painters work in a solid's own coordinates, at every pixel of a view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.products.solids import Array

_FIXED: dict[str, tuple[float, float, float]] = {
    "dark": (46, 46, 52),
    "cream": (240, 234, 222),
    "rubber": (232, 232, 228),
    "steel": (182, 186, 194),
    "slate": (112, 118, 130),
    "coffee": (58, 34, 22),
    "inside": (214, 206, 194),
}


@dataclass
class Surface:
    """What each pixel of a view is made of: shares of the product's colours, and fixed colours times their share."""

    body: Array
    accent: Array
    fixed: Array
    metal: Array
    glow: Array
    """How much light shines through here when the product is lit: the lamp's shade."""

    @classmethod
    def of_body(cls, shape: tuple[int, int]) -> Surface:
        zero = [np.zeros(shape, np.float32) for _ in range(3)]
        return cls(np.ones(shape, np.float32), zero[0], np.zeros((*shape, 3), np.float32), zero[1], zero[2])

    def paint(self, role: str, cover: NDArray[np.floating[Any]]) -> None:
        """Lay a role over what is there."""
        keep = 1 - cover
        self.body = np.asarray(self.body * keep + (cover if role == "body" else 0), np.float32)
        self.accent = np.asarray(self.accent * keep + (cover if role == "accent" else 0), np.float32)
        rgb = np.array(_FIXED.get(role, (0, 0, 0)), np.float32)
        self.fixed = np.asarray(self.fixed * keep[..., None] + rgb * cover[..., None], np.float32)
        self.metal = np.asarray(self.metal * keep + (cover if role == "steel" else 0), np.float32)


Painter = Callable[[Array, Array, Array, str], Surface]
"""From coordinates and the role that decoration is drawn in."""


def soft(distance: NDArray[np.floating[Any]], width: float = 0.008) -> Array:
    """Coverage of what lies at positive distance, its edge `width` of the product wide."""
    return np.asarray(np.clip(distance / width + 0.5, 0, 1), np.float32)


def blank(x: Array) -> Surface:
    return Surface.of_body((x.shape[0], x.shape[1]))


def around(x: Array, z: Array) -> Array:
    """Angle about the axis, 0 towards the viewer."""
    return np.asarray(np.arctan2(x, z), np.float32)
