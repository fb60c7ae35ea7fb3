"""Coordinates and small drawing helpers that backdrops and shapes share.

Knows nothing of scenes. Everything is a function of the coordinates alone, never of the array it is drawn into, so
that a larger canvas shows the same world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Coordinates in half short sides of the frame: x to the right as a row, y down as a column."""

    x: Array
    y: Array
    pixel: float
    """Width of one pixel: the width of an antialiased edge."""


def grid(height: int, width: int, margin_y: int, margin_x: int, oversample: int) -> Grid:
    """Pixel centres of a frame enlarged by margins, `oversample` samples per pixel."""
    unit = min(height, width) / 2
    step = 1 / oversample

    def axis(size: int, margin: int) -> Array:
        count = (size + 2 * margin) * oversample
        return (((np.arange(count) + 0.5) * step - margin - size / 2) / unit).astype(np.float32)

    return Grid(axis(width, margin_x)[None, :], axis(height, margin_y)[:, None], step / unit)


def edge(distance: Array, width: float) -> Array:
    """Coverage of what lies at positive distance, with an edge `width` wide."""
    return np.asarray(np.clip(distance / width + 0.5, 0, 1), np.float32)


def flat(g: Grid, rgb: Rgb) -> Array:
    out = np.empty((g.y.shape[0], g.x.shape[1], 3), np.float32)
    out[:] = rgb
    return out


def paint(image: Array, rgb: Array | Rgb, cover: Array) -> None:
    """Lay a colour over the picture where `cover` says, in place."""
    shape = image.shape[:2]
    image += (np.asarray(rgb, np.float32) - image) * np.broadcast_to(cover, shape)[..., None]


def gradient(g: Grid, top: Rgb, bottom: Rgb, y0: float, y1: float) -> Array:
    """A vertical gradient from `top` at y0 to `bottom` at y1."""
    t = np.clip((g.y - y0) / (y1 - y0), 0, 1)
    column = np.asarray(top, np.float32) + t[..., None] * (np.asarray(bottom, np.float32) - np.asarray(top, np.float32))
    return np.repeat(column, g.x.shape[1], axis=1).astype(np.float32)
