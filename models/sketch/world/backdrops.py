"""The eight settings: each a function from coordinates and a seeded generator to a picture without the product.

Knows nothing of products or cameras. Palettes and structures are kept far apart, so that a setting is unmistakable
at 64 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.sketch.world.canvas import Array, Grid, edge, flat, gradient, paint

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
