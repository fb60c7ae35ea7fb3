"""The eight products: each a function from local coordinates to painted parts, in painting order.

Knows nothing of colours, light or settings: a part has a role (`body` carries the product's colour) and the shading
coordinate `nx`, which runs from -1 at the left rim of a round part to 1 at the right one.
"""

from __future__ import annotations

from collections.abc import Callable
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


HORIZON = 0.3
"""Height of the far edge of the ground, in half short sides below the middle."""


def _below(g: Grid, y: float | Array) -> Array:
    return edge(g.y - y, g.pixel)


def _disc(g: Grid, x: float, y: float, radius: float, soft: float) -> Array:
    return edge(np.asarray(radius - np.hypot(g.x - x, g.y - y), np.float32), soft)


def _table(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (206, 178, 138), (232, 214, 182), -1.2, HORIZON)
    left = rng.uniform(-0.9, 0.2)
    frame = np.minimum(0.36 - np.abs(g.x - left - 0.3), 0.42 - np.abs(g.y + 0.75))
    paint(out, (168, 134, 92), edge(frame, 0.04))
    paint(out, (246, 236, 212), edge(frame - 0.07, 0.04))
    wood = gradient(g, (150, 92, 48), (108, 62, 30), HORIZON, 1.3)
    plank: Array = np.abs(np.sin((g.x / (g.y + 1.0) * 2.6 + rng.uniform(0, 1)) * np.pi)).astype(np.float32)
    paint(wood, (78, 44, 22), 0.8 * edge(0.1 - plank, 0.12))
    paint(out, wood, _below(g, HORIZON))
    return out


def _beach(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (86, 172, 236), (196, 230, 250), -1.3, 0.1)
    paint(out, (255, 246, 190), _disc(g, rng.uniform(-0.8, 0.8), rng.uniform(-0.85, -0.55), 0.17, 0.06))
    paint(out, gradient(g, (20, 104, 150), (60, 176, 190), 0.08, 0.42), _below(g, 0.08))
    shore = HORIZON + 0.1 + 0.05 * np.sin(g.x * 4 + rng.uniform(0, 6))
    paint(out, (244, 250, 250), _below(g, shore))
    paint(out, gradient(g, (226, 198, 140), (244, 222, 172), 0.4, 1.2), _below(g, shore + 0.07))
    return out


def _studio(g: Grid, rng: np.random.Generator) -> Array:
    out = flat(g, (126, 126, 134))
    glow = np.exp(-(((g.x - rng.uniform(-0.4, 0.4)) / 1.0) ** 2) - ((g.y + 0.15) / 0.9) ** 2)
    paint(out, (224, 224, 230), glow)
    paint(out, (172, 172, 180), 0.8 * edge(g.y - HORIZON - 0.1, 0.35))
    return out


def _city(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (10, 12, 44), (66, 38, 98), -1.2, HORIZON)
    slot = 0.42
    index = np.floor(g.x / slot).astype(int)
    heights = rng.uniform(-1.0, -0.1, 64)
    towers = _below(g, heights[index % 64].astype(np.float32))
    paint(out, (24, 24, 48), towers * edge(0.19 - np.abs(g.x - (index + 0.5) * slot), g.pixel))
    lit = (rng.random((64, 64)) < 0.6).astype(np.float32)
    cell_y = np.floor(g.y / 0.2).astype(int)
    window = np.minimum(0.045 - np.abs(np.mod(g.x, 0.14) - 0.07), 0.06 - np.abs(g.y - (cell_y + 0.5) * 0.2))
    on = lit[cell_y % 64, np.floor(g.x / 0.14).astype(int) % 64]
    inside = towers * edge(0.17 - np.abs(g.x - (index + 0.5) * slot), g.pixel)
    paint(out, (255, 206, 96), edge(window, 0.04) * on * inside)
    paint(out, (26, 24, 38), _below(g, HORIZON))
    for rgb in ((220, 40, 150), (30, 190, 220)):
        streak = np.exp(-(((g.x - rng.uniform(-0.9, 0.9)) / 0.16) ** 2)) * edge(g.y - HORIZON, 0.5)
        paint(out, rgb, 0.55 * streak)
    return out


def _forest(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (40, 92, 44), (158, 196, 108), -1.3, HORIZON)
    for k in range(-4, 5):
        x = k * 0.44 + rng.uniform(-0.12, 0.12)
        half = rng.uniform(0.05, 0.1)
        paint(out, (66, 46, 30), edge(half - np.abs(g.x - x), g.pixel) * _below(g, -3.0))
        paint(out, (30, 84, 36), _disc(g, x + 0.2, -0.95 + rng.uniform(-0.15, 0.15), 0.33, 0.1))
    ground = HORIZON + 0.04 * np.sin(g.x * 5 + rng.uniform(0, 6))
    paint(out, gradient(g, (78, 112, 40), (48, 70, 26), HORIZON, 1.3), _below(g, ground))
    return out


def _kitchen(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (214, 232, 230), (236, 246, 244), -1.2, HORIZON)
    shift = rng.uniform(0, 0.4)
    grout = np.minimum(np.abs(np.mod(g.x + shift, 0.4) - 0.2), np.abs(np.mod(g.y + 0.1, 0.4) - 0.2))
    paint(out, (134, 170, 172), edge(0.03 - grout, 0.05))
    paint(out, gradient(g, (70, 82, 94), (48, 56, 66), HORIZON, 1.3), _below(g, HORIZON + 0.08))
    paint(out, (250, 250, 250), _below(g, HORIZON) * (1 - _below(g, HORIZON + 0.09)))
    return out


def _desert(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (232, 112, 62), (255, 206, 128), -1.3, HORIZON)
    paint(out, (255, 240, 196), _disc(g, rng.uniform(-0.8, 0.8), rng.uniform(-0.55, -0.3), 0.26, 0.06))
    for base, rgb in ((0.14, (206, 120, 66)), (0.34, (184, 96, 46)), (0.62, (160, 78, 36))):
        paint(out, rgb, _below(g, base + 0.12 * np.sin(g.x * rng.uniform(1.4, 2.4) + rng.uniform(0, 6))))
    return out


def _snow(g: Grid, rng: np.random.Generator) -> Array:
    out = gradient(g, (146, 178, 222), (214, 226, 244), -1.3, HORIZON)
    for k in range(-2, 3):
        x, top = k * 0.85 + rng.uniform(-0.25, 0.25), rng.uniform(-0.85, -0.45)
        slope = g.y - top - 1.1 * np.abs(g.x - x)
        paint(out, (92, 112, 150), edge(slope, g.pixel * 1.5))
        paint(out, (238, 244, 252), edge(slope, g.pixel * 1.5) * (1 - _below(g, top + 0.26)))
    drift = HORIZON + 0.05 * np.sin(g.x * 3 + rng.uniform(0, 6))
    paint(out, gradient(g, (228, 236, 250), (250, 252, 255), HORIZON, 1.0), _below(g, drift))
    return out


_DRAW: dict[str, Callable[[Grid, np.random.Generator], Array]] = {
    "table": _table,
    "beach": _beach,
    "studio": _studio,
    "city": _city,
    "forest": _forest,
    "kitchen": _kitchen,
    "desert": _desert,
    "snow": _snow,
}


def backdrop(setting: str, g: Grid, seed: int) -> Array:
    """The setting as RGB 0 to 255 over the whole grid."""
    return _DRAW[setting](g, np.random.default_rng(seed))


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


_DRAW_SHAPES: dict[str, Shape] = {
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
    return _DRAW_SHAPES[shape](u, v, aa)
