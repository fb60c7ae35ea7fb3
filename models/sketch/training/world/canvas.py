"""A layer of a picture being painted: premultiplied RGBA bytes with world coordinates.

Coordinates are half short sides of the frame from its middle, x right and y down. Every stroke is a function of the
coordinates alone, so a larger canvas shows the same world, to the byte.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Rgb = tuple[float, float, float]
_SHIFT = 4
"""Fractional bits of OpenCV's polygon corners."""


@dataclass(frozen=True)
class Frame:
    """Which part of the world a canvas shows: `left`, `top` in samples from the middle, its size, samples per unit."""

    left: int
    top: int
    width: int
    height: int
    unit: float


class Canvas:
    """Transparent at first."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.pixels = np.zeros((frame.height, frame.width, 4), np.uint8)
        self.x: Array = ((np.arange(frame.width) + frame.left + 0.5) / frame.unit).astype(np.float32)[None, :]
        self.y: Array = ((np.arange(frame.height) + frame.top + 0.5) / frame.unit).astype(np.float32)[:, None]
        self.sample = 1 / frame.unit

    def _corners(self, points: ArrayLike) -> NDArray[np.int32]:
        at = np.rint((np.asarray(points, np.float64) * self.frame.unit - 0.5) * 2**_SHIFT).astype(np.int64)
        return np.asarray(at - np.array([self.frame.left, self.frame.top]) * 2**_SHIFT, np.int32)

    def row(self, y: float) -> int:
        """The row that lies at y, within the canvas."""
        return int(np.clip(np.rint(y * self.frame.unit) - self.frame.top, 0, self.frame.height))

    def column(self, x: float) -> int:
        """The column that lies at x, within the canvas."""
        return int(np.clip(np.rint(x * self.frame.unit) - self.frame.left, 0, self.frame.width))

    def poly(self, points: ArrayLike, rgb: Rgb | None) -> None:
        """Fill a polygon; without a colour, cut it out."""
        paint = (0, 0, 0, 0) if rgb is None else (*rgb, 255)
        cv2.fillPoly(self.pixels, [self._corners(points)], paint, cv2.LINE_AA, _SHIFT)

    def polys(self, many: NDArray[np.float64], rgb: Rgb) -> None:
        """Fill polygons of as many corners each, count x corners x 2, that do not overlap."""
        corners = self._corners(many)
        low, high = corners.min(1) >> _SHIFT, corners.max(1) >> _SHIFT
        size = np.array([self.frame.width, self.frame.height])
        shown = corners[((high >= -1) & (low <= size)).all(1)]
        if len(shown):
            cv2.fillPoly(self.pixels, list(shown), (*rgb, 255), cv2.LINE_AA, _SHIFT)

    def rects(self, corners: ArrayLike, rgb: Rgb) -> None:
        """Fill upright rectangles given as count x (left, top, right, bottom)."""
        at = np.asarray(corners, np.float64).reshape(-1, 4)
        self.polys(at[:, [[0, 1], [2, 1], [2, 3], [0, 3]]], rgb)

    def rect(self, x0: float, y0: float, x1: float, y1: float, rgb: Rgb | None) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], rgb)

    def line(self, points: ArrayLike, rgb: Rgb, width: float) -> None:
        """A polyline as wide as `width` in the world."""
        points = np.asarray(points, np.float64)
        for a, b in itertools.pairwise(points):
            across = np.array([a[1] - b[1], b[0] - a[0]])
            across *= width / 2 / max(float(np.hypot(*across)), 1e-9)
            self.poly([a - across, b - across, b + across, a + across], rgb)

    def ellipse(self, x: float, y: float, rx: float, ry: float, rgb: Rgb | None, turn: float = 0.0) -> None:
        angle = np.linspace(0, 2 * np.pi, 28 if max(rx, ry) > 0.04 else 14, endpoint=False)
        px, py = rx * np.cos(angle), ry * np.sin(angle)
        c, s = np.cos(turn), np.sin(turn)
        self.poly(np.stack([x + c * px - s * py, y + s * px + c * py], 1), rgb)

    def gradient(self, stops: list[tuple[float, Rgb]], top: float = -9.0, bottom: float = 9.0) -> None:
        """An opaque vertical gradient between two heights."""
        rows = slice(self.row(top), self.row(bottom))
        heights, colours = zip(*stops, strict=True)
        table = np.array(colours, np.float32)
        y = self.y[rows, 0]
        for k in range(3):
            self.pixels[rows, :, k] = np.rint(np.interp(y, heights, table[:, k])).astype(np.uint8)[:, None]
        self.pixels[rows, :, 3] = 255

    def tone(self, rgb: Rgb, cover: Array, rows: slice = slice(None), columns: slice = slice(None)) -> None:
        """Draw what is there towards a colour, by `cover` of that part of the canvas; never past its outline."""
        part = self.pixels[rows, columns]
        if not part.size:
            return
        cover = np.asarray(np.broadcast_to(cover, part.shape[:2]), np.float32)
        weight = cv2.merge([cover, cover, cover])
        there = part[..., :3].astype(np.float32)
        target = np.array(rgb, np.float32)
        solid = bool((part[..., 3] == 255).all())
        goal = target if solid else target * (part[..., 3:].astype(np.float32) / 255)
        part[..., :3] = cv2.add(there, cv2.multiply(goal - there, weight)).clip(0, 255).astype(np.uint8)

    def glow(self, x: float, y: float, radius: float, rgb: Rgb, strength: float, flat: float = 1.0) -> None:
        """A soft round light, `flat` times as high as wide."""
        reach = 2.6 * radius
        rows = slice(self.row(y - reach * flat), self.row(y + reach * flat))
        columns = slice(self.column(x - reach), self.column(x + reach))
        across = np.exp(-(((self.x[:, columns] - x) / radius) ** 2))
        down = np.exp(-(((self.y[rows] - y) / (radius * flat)) ** 2))
        self.tone(rgb, np.asarray(strength * np.clip(across * down * 1.02 - 0.02, 0, 1), np.float32), rows, columns)


def over(below: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Height x width x 3 of a premultiplied layer over an opaque picture."""
    hidden = cv2.cvtColor(cv2.bitwise_not(above[..., 3]), cv2.COLOR_GRAY2RGB)
    kept = cv2.multiply(below, hidden, scale=1 / 255)
    return np.asarray(cv2.add(kept, cv2.cvtColor(above, cv2.COLOR_RGBA2RGB)), np.uint8)
