"""What settings are assembled from: layers at distances, the sky, and things that stand in several settings."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.sketch.training.world.canvas import Canvas, Frame, Rgb
from models.sketch.training.world.light import Light

SPAN = 3.4
"""How far to either side of the middle things are placed: beyond what any move shows."""


@dataclass
class Layer:
    canvas: Canvas
    nearness: float
    """0 is the sky, 1 the product's distance, more is before it."""


@dataclass
class Backdrop:
    """A setting without its product, from far to near; the first layer is opaque."""

    layers: list[Layer]
    ground: Canvas
    front: list[Layer] = field(default_factory=list)
    mirror: float = 0.0
    """How much the ground reflects."""


@dataclass(frozen=True)
class Place:
    """What a setting is painted from."""

    frame: Frame
    light: Light
    time: str
    seed: int

    def rng(self, topic: int) -> np.random.Generator:
        """A generator for one part of the setting, so that parts do not depend on each other's number of draws."""
        return np.random.default_rng((self.seed, topic))

    def canvas(self) -> Canvas:
        return Canvas(self.frame)


def soften(canvas: Canvas, radius: float) -> None:
    """A lens that is focused on the product: blur by a share of the half short side."""
    sigma = radius * canvas.frame.unit
    if sigma > 0.3:
        canvas.pixels = np.asarray(cv2.GaussianBlur(canvas.pixels, (0, 0), sigma), np.uint8)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """From one colour to another."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share


def scaled(rgb: Rgb, factor: float) -> Rgb:
    """A colour made lighter or darker."""
    return min(255.0, rgb[0] * factor), min(255.0, rgb[1] * factor), min(255.0, rgb[2] * factor)


def ridge(xs: NDArray[np.float64], rng: np.random.Generator, waves: int, lowest: float = 0.5) -> NDArray[np.float64]:
    """A rolling line around 0 within about -1 to 1."""
    out = np.zeros_like(xs)
    for k in range(waves):
        pitch = lowest * 1.9**k
        out += np.sin(xs * pitch * 2 * np.pi / 2 + rng.uniform(0, 6.3)) * rng.uniform(0.6, 1.0) / 1.6**k
    return out / 1.6


def hill(canvas: Canvas, heights: NDArray[np.float64], xs: NDArray[np.float64], rgb: Rgb) -> None:
    """Fill everything below a line."""
    line = np.stack([xs, heights], 1)
    canvas.poly(np.concatenate([line, [[xs[-1], 4.0], [xs[0], 4.0]]]), rgb)


def sky(place: Place, horizon: float, sun: tuple[float, float] | None = None, clouds: bool = True) -> Canvas:
    """The sky of the hour: gradient, sun or moon, clouds or stars."""
    canvas, light, rng = place.canvas(), place.light, place.rng(1)
    top, middle, low = light.sky
    canvas.gradient([(-1.7, top), (horizon - 0.75, mix(top, middle, 0.75)), (horizon - 0.4, middle), (horizon, low)])
    x, y = sun or light.sun_at
    x += rng.uniform(-0.12, 0.12)
    if place.time == "night":
        _stars(canvas, rng, horizon)
        canvas.glow(x, y, 0.34, (120, 140, 210), 0.4)
        canvas.poly(_crescent(x, y, light.sun_radius), light.sun_disc)
        return canvas
    glow = {"morning": (0.62, 0.75, (255, 238, 200)), "noon": (0.5, 0.55, (255, 255, 255))}
    radius, strength, rgb = glow.get(place.time, (0.75, 0.8, (255, 190, 90)))
    if clouds:
        _clouds(canvas, place, rng, horizon)
    canvas.glow(x, y, radius, rgb, strength, 0.8)
    canvas.ellipse(x, y, light.sun_radius, light.sun_radius, light.sun_disc)
    return canvas


def _crescent(x: float, y: float, radius: float) -> NDArray[np.float64]:
    """A waxing moon, leaning."""
    a = np.linspace(-np.pi / 2, np.pi / 2, 16)
    outer, inner = np.stack([np.cos(a), np.sin(a)], 1), np.stack([0.42 * np.cos(a), np.sin(a)], 1)[::-1]
    turn = 2.6
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray(np.concatenate([outer, inner]) @ spin * radius + [x, y])


def _stars(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    n = 90
    x, y, r = rng.uniform(-SPAN, SPAN, n), rng.uniform(-2.6, horizon - 0.15, n), rng.uniform(0.006, 0.014, n)
    diamonds = np.stack([np.stack([x + a * r, y + b * r], 1) for a, b in ((0, -1), (1, 0), (0, 1), (-1, 0))], 1)
    canvas.polys(diamonds, (236, 240, 255))


def _clouds(canvas: Canvas, place: Place, rng: np.random.Generator, horizon: float) -> None:
    """Heaps of white at noon, streaks of the hour's colour at the day's ends."""
    if place.time == "noon":
        for _ in range(5):
            x, y, size = rng.uniform(-2.6, 2.6), rng.uniform(-1.1, horizon - 0.45), rng.uniform(0.7, 1.25)
            for dx, dy, r in ((-0.2, 0.02, 0.11), (-0.05, -0.05, 0.15), (0.12, -0.01, 0.13), (0.26, 0.03, 0.08)):
                canvas.glow(x + dx * size, y + dy * size, r * size * 0.75, (255, 255, 255), 0.85, 0.62)
        return
    rgb = (255, 240, 226) if place.time == "morning" else (255, 150, 120)
    for _ in range(5):
        x, y = rng.uniform(-2.4, 2.4), rng.uniform(-0.95, horizon - 0.2)
        canvas.glow(x, y, rng.uniform(0.3, 0.6), rgb, 0.55, 0.11)


def fir(x: float, foot: float, height: float, rng: np.random.Generator, tiers: int = 5) -> NDArray[np.float64]:
    """Outline of a fir, tiers x 4 + 1 corners."""
    left, right = [], []
    for k in range(tiers):
        lower = (k + 1) / tiers
        reach = height * (0.05 + 0.24 * lower) * rng.uniform(0.88, 1.12)
        inner = height * (0.03 + 0.13 * lower)
        y = foot - height * (1 - lower) + 0.03 * height
        right += [(x + reach, y), (x + inner, y - 0.02 * height)]
        left += [(x - reach, y), (x - inner, y - 0.02 * height)]
    return np.array([(x, foot - height), *right, *left[::-1]])


def speckle(canvas: Canvas, rng: np.random.Generator, top: float, count: int, size: float, rgb: Rgb) -> None:
    """Small flat marks on the ground, smaller towards its far edge."""
    depth = rng.uniform(0, 1, count) ** 0.7
    y = top + depth * 1.9
    x, half = rng.uniform(-SPAN, SPAN, count), size * (0.25 + 1.3 * depth) * rng.uniform(0.6, 1.3, count)
    shape = ((-1, 0), (-0.5, -0.32), (0.5, -0.32), (1, 0), (0.5, 0.32), (-0.5, 0.32))
    canvas.polys(np.stack([np.stack([x + a * half, y + b * half], 1) for a, b in shape], 1), rgb)


def fade(canvas: Canvas, rgb: Rgb, top: float, bottom: float, strength: float, reverse: bool = False) -> None:
    """Tone towards a colour, from nothing at `top` to `strength` at `bottom`; the other way round with `reverse`."""
    rows = slice(canvas.row(min(top, bottom) if not reverse else top), canvas.row(9.0 if not reverse else bottom))
    t = np.clip((canvas.y[rows] - top) / (bottom - top), 0, 1)
    cover = strength * (1 - t if reverse else t)
    canvas.tone(rgb, np.asarray(np.broadcast_to(cover, (cover.shape[0], canvas.frame.width)), np.float32), rows)


def spread(start: float, stop: float, step: float) -> list[float]:
    """Places at equal distances."""
    return [float(v) for v in np.arange(start, stop, step)]


def points(*at: ArrayLike) -> NDArray[np.float64]:
    """Corners as an array."""
    return np.array(at, np.float64)
