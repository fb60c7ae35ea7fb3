"""The eight products: each a function from local coordinates to painted parts, in painting order.

Knows nothing of colours, light or settings: a part has a role (`body` carries the product's colour) and the shading
coordinate `nx`, which runs from -1 at the left rim of a round part to 1 at the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.sketch.world.canvas import Array, edge


@dataclass(frozen=True)
class Part:
    role: str
    """`body`, `accent` (a paler body), `dark`, `light` or `steel`."""
    cover: Array
    nx: Array
    gain: float = 1.0
    """Brightness of a face, for flat-sided shapes."""


Shape = Callable[[Array, Array, float], list[Part]]
Points = tuple[tuple[float, float], ...]


def _round(role: str, u: Array, v: Array, aa: float, points: Points) -> Part:
    """A solid of revolution: half widths at heights."""
    heights, halves = np.array(points, np.float32).T
    half = np.interp(v, heights, halves).astype(np.float32)
    ends = np.minimum(v - heights[0], heights[-1] - v)
    cover = edge(half - np.abs(u), aa) * edge(ends, aa)
    return Part(role, cover, np.clip(u / np.maximum(half, 1e-3), -1, 1))


def _ellipse(role: str, u: Array, v: Array, aa: float, at: tuple[float, float], radii: tuple[float, float]) -> Part:
    r = np.hypot((u - at[0]) / radii[0], (v - at[1]) / radii[1])
    nx = np.broadcast_to(np.clip((u - at[0]) / radii[0], -1, 1), r.shape)
    return Part(role, edge((1 - r) * min(radii), aa), nx)


def _bottle(u: Array, v: Array, aa: float) -> list[Part]:
    body = ((-0.5, 0.15), (-0.47, 0.18), (0.12, 0.18), (0.2, 0.15), (0.3, 0.075), (0.42, 0.07))
    return [
        _round("body", u, v, aa, body),
        _round("accent", u, v, aa, ((-0.3, 0.18), (-0.08, 0.18))),
        _round("dark", u, v, aa, ((0.39, 0.085), (0.5, 0.085))),
    ]


def _can(u: Array, v: Array, aa: float) -> list[Part]:
    return [
        _round("steel", u, v, aa, ((-0.5, 0.22), (-0.44, 0.27), (0.44, 0.27), (0.5, 0.22))),
        _round("body", u, v, aa, ((-0.44, 0.28), (0.42, 0.28))),
        _round("accent", u, v, aa, ((-0.06, 0.28), (0.08, 0.28))),
    ]


def _mug(u: Array, v: Array, aa: float) -> list[Part]:
    ring = np.hypot((u - 0.22) / 0.25, (v + 0.02) / 0.26)
    handle = Part("body", edge((0.3 - np.abs(ring - 0.78)) * 0.2, aa), np.clip((u - 0.22) / 0.25, -1, 1) + 0 * v)
    return [
        handle,
        _round("body", u, v, aa, ((-0.42, 0.26), (-0.38, 0.29), (0.38, 0.31))),
        _ellipse("accent", u, v, aa, (0, 0.38), (0.31, 0.08)),
        _ellipse("dark", u, v, aa, (0, 0.38), (0.26, 0.055)),
    ]


def _box(u: Array, v: Array, aa: float) -> list[Part]:
    flat = np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)
    front = np.minimum(np.minimum(u + 0.48, 0.2 - u), np.minimum(v + 0.44, 0.26 - v))
    skew = v - 0.6 * (u - 0.2)
    side = np.minimum(np.minimum(u - 0.2, 0.46 - u), np.minimum(skew + 0.44, 0.26 - skew))
    lean = u - (v - 0.26) * (0.26 / 0.156)
    top = np.minimum(np.minimum(v - 0.26, 0.416 - v), np.minimum(lean + 0.48, 0.2 - lean))
    tape = np.minimum(front, 0.06 - np.abs(u + 0.14) + 0 * v)
    return [
        Part("body", edge(side, aa), flat + 0.5, 0.62),
        Part("body", edge(top, aa), flat - 0.2, 1.12),
        Part("body", edge(front, aa), np.clip((u + 0.14) / 0.6, -1, 1) + flat, 0.95),
        Part("accent", edge(tape, aa), flat, 1.0),
    ]


def _jar(u: Array, v: Array, aa: float) -> list[Part]:
    body = ((-0.42, 0.2), (-0.38, 0.29), (-0.26, 0.37), (-0.06, 0.4), (0.1, 0.36), (0.2, 0.26), (0.24, 0.22))
    return [
        _round("body", u, v, aa, body),
        _ellipse("accent", u, v, aa, (0, -0.1), (0.2, 0.13)),
        _round("steel", u, v, aa, ((0.22, 0.28), (0.38, 0.28))),
    ]


def _shoe(u: Array, v: Array, aa: float) -> list[Part]:
    outline = (
        (-0.48, 0.16),
        (-0.44, 0.3),
        (-0.12, 0.24),
        (0.02, 0.1),
        (0.3, -0.02),
        (0.44, -0.1),
        (0.5, -0.24),
    )
    along, heights = np.array(outline, np.float32).T
    top = np.interp(u, along, heights).astype(np.float32)
    inside = np.minimum(top - v, np.minimum(v + 0.24, 0.49 - np.abs(u)))
    nx = np.clip(1 - 2 * (v + 0.24) / np.maximum(top + 0.24, 0.05), -1, 1) * 0.7
    stripe = np.minimum(inside - 0.03, 0.035 - np.abs(np.mod(u - 0.5 * v, 0.16) - 0.08))
    sole = np.minimum(0.5 - np.abs(u), 0.06 - np.abs(v + 0.27))
    return [
        Part("body", edge(inside, aa), nx),
        Part("light", edge(np.minimum(stripe, 0.14 - np.abs(u - 0.02)), aa), nx),
        Part("light", edge(sole, aa), np.clip(u / 0.5, -1, 1) + 0 * v),
    ]


def _watch(u: Array, v: Array, aa: float) -> list[Part]:
    hand = np.minimum(0.024 - np.abs(u), np.minimum(v + 0.02, 0.15 - v))
    hour = np.minimum(0.024 - np.abs(v), np.minimum(u + 0.02, 0.11 - u))
    return [
        _round("body", u, v, aa, ((-0.5, 0.1), (-0.2, 0.15), (0.2, 0.15), (0.5, 0.1))),
        _ellipse("steel", u, v, aa, (0, 0), (0.29, 0.29)),
        _ellipse("body", u, v, aa, (0, 0), (0.23, 0.23)),
        Part("light", edge(np.maximum(hand, hour), aa), np.zeros_like(hand)),
    ]


def _lamp(u: Array, v: Array, aa: float) -> list[Part]:
    return [
        _round("dark", u, v, aa, ((-0.44, 0.035), (0.1, 0.035))),
        _ellipse("body", u, v, aa, (0, -0.44), (0.25, 0.065)),
        _round("body", u, v, aa, ((0.0, 0.4), (0.5, 0.2))),
    ]


_DRAW: dict[str, Shape] = {
    "bottle": _bottle,
    "can": _can,
    "mug": _mug,
    "box": _box,
    "jar": _jar,
    "shoe": _shoe,
    "watch": _watch,
    "lamp": _lamp,
}

FOOT = {
    "bottle": -0.5,
    "can": -0.5,
    "mug": -0.42,
    "box": -0.44,
    "jar": -0.42,
    "shoe": -0.33,
    "watch": -0.5,
    "lamp": -0.5,
}
"""Lowest point of each shape in its own coordinates: where it touches the ground."""


def parts(shape: str, u: Array, v: Array, aa: float) -> list[Part]:
    """The painted parts of a product whose larger dimension spans -0.5 to 0.5; v is up."""
    return _DRAW[shape](u, v, aa)
