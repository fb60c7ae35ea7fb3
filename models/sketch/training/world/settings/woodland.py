"""The settings with firs: a forest and snowy mountains, each painted in layers for any time of day.

Nothing here is painted in a product's colour at a product's size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.canvas import Canvas, Rgb
from models.sketch.training.world.settings.scenery import (
    SPAN,
    Backdrop,
    Layer,
    Place,
    fade,
    fir,
    hill,
    mix,
    points,
    ridge,
    sky,
    soften,
    speckle,
    spread,
)

_XS = np.linspace(-SPAN, SPAN, 121)


def forest(place: Place) -> Backdrop:
    """Firs in three distances, mist between them, moss, mushrooms; shafts in the morning, fireflies at night."""
    light, rng = place.light, place.rng(3)
    back = sky(place, 0.1, clouds=False)
    if place.time == "night":
        light = replace(light, tint=(0.26, 0.36, 0.48))
        place = replace(place, light=light)
    far = place.canvas()
    for distance, foot, size, step in ((1.0, 0.12, 0.75, 0.17), (0.62, 0.2, 1.05, 0.26)):
        green = light.lit((52, 104, 74), distance)
        for x in spread(-SPAN, SPAN, step):
            far.poly(fir(x + rng.uniform(-0.06, 0.06), foot + 0.04, size * rng.uniform(0.75, 1.2), rng, 4), green)
        far.gradient([(foot, green), (foot + 0.2, light.lit((86, 122, 76), distance))], foot + 0.02)
    soften(far, 0.011)
    near = place.canvas()
    for x in spread(-3.2, 3.3, 0.62):
        at = x + rng.uniform(-0.16, 0.16)
        if abs(at) < 0.42:
            continue
        height, foot = rng.uniform(1.5, 2.1), 0.32 + rng.uniform(-0.02, 0.05)
        near.line(points((at, foot), (at, foot - 0.4)), light.lit((84, 62, 46)), 0.1)
        outline = fir(at, foot - 0.14, height, rng, 6)
        near.poly(outline, light.lit((30, 78, 50)))
        near.poly(outline * [0.62, 1] + [0.38 * at + 0.07 * light.towards[0], 0], light.lit((48, 104, 62)))
    soften(near, 0.009)
    ground = place.canvas()
    hill(ground, 0.24 + 0.03 * ridge(_XS, rng, 3, 0.6), _XS, light.lit((92, 128, 62)))
    fade(ground, light.lit((58, 90, 44)), 0.35, 1.3, 0.85)
    speckle(ground, rng, 0.3, 160, 0.03, light.lit((112, 146, 72)))
    speckle(ground, rng, 0.3, 120, 0.026, light.lit((52, 82, 42)))
    _tufts(ground, rng, light.lit((74, 118, 54)), light.lit((120, 158, 76)))
    for _ in range(4):
        _mushroom(
            ground,
            float(rng.choice((-1, 1))) * rng.uniform(0.62, 1.5),
            rng.uniform(0.5, 0.85),
            rng.uniform(0.8, 1.2),
            place,
        )
    flying: list[Layer] = []
    if place.time == "morning":
        _shafts(near, rng)
    if place.time == "night":
        glow = place.canvas()
        for _ in range(26):
            x, y = rng.uniform(-2.4, 2.4), rng.uniform(-0.75, 0.24)
            glow.ellipse(x, y, 0.012, 0.012, (236, 250, 150))
        flying.append(Layer(glow, 0.8))
    return Backdrop([Layer(back, 0), Layer(far, 0.25), Layer(near, 0.6), *flying], ground)


def _tufts(canvas: Canvas, rng: np.random.Generator, dark: Rgb, pale: Rgb) -> None:
    """Blades of grass, taller in front."""
    n = 130
    depth = rng.uniform(0, 1, n)
    x, y = rng.uniform(-SPAN, SPAN, n), 0.32 + 1.4 * depth
    tall, lean = 0.05 + 0.08 * depth, rng.uniform(-0.04, 0.04, n)
    blades = np.stack([np.stack([x - 0.014, y], 1), np.stack([x + lean, y - tall], 1), np.stack([x + 0.014, y], 1)], 1)
    canvas.polys(blades[::2], dark)
    canvas.polys(blades[1::2], pale)


def _mushroom(canvas: Canvas, x: float, y: float, size: float, place: Place) -> None:
    """Small and brown-capped: red ones would be read as products."""
    lit = place.light.lit
    canvas.ellipse(x + 0.02, y + 0.005, 0.07 * size, 0.02, lit((44, 66, 36)))
    canvas.rect(x - 0.018 * size, y - 0.07 * size, x + 0.018 * size, y, lit((230, 218, 198)))
    angle = np.linspace(np.pi, 2 * np.pi, 12)
    cap = np.stack([x + 0.07 * size * np.cos(angle), y - 0.06 * size + 0.065 * size * np.sin(angle)], 1)
    canvas.poly(cap, lit((150, 96, 66)))
    for dx, dy in ((-0.03, -0.085), (0.012, -0.1), (0.035, -0.075)):
        canvas.ellipse(x + dx * size, y + dy * size, 0.011 * size, 0.009 * size, lit((240, 230, 212)))


def _shafts(canvas: Canvas, rng: np.random.Generator) -> None:
    """Morning light between the trunks, from the upper left."""
    rows = slice(0, canvas.row(0.34))
    slant = canvas.x + 0.62 * canvas.y[rows]
    cover = np.zeros(slant.shape, np.float32)
    for _ in range(4):
        at, width = rng.uniform(-1.6, 1.2), rng.uniform(0.05, 0.13)
        cover += np.exp(-(((slant - at) / width) ** 2))
    canvas.tone((255, 240, 190), np.asarray(np.clip(0.38 * cover, 0, 0.6), np.float32), rows)


_SNOW_TINT = {
    "morning": (1.0, 0.95, 0.95),
    "noon": (1.06, 1.06, 1.04),
    "evening": (0.99, 0.76, 0.8),
    "night": (0.3, 0.38, 0.62),
}
"""Snow takes its colour from the sky: with the hour's common tint it looked like sand in the evening."""


def snow(place: Place) -> Backdrop:
    """White mountains, firs under snow, a snowman some way off, flakes before and behind."""
    light, rng = place.light, place.rng(5)
    back = sky(place, 0.1, clouds=place.time != "noon")
    light = replace(light, tint=_SNOW_TINT[place.time])
    place = replace(place, light=light)
    far = place.canvas()
    for x in spread(-3.6, 3.7, 0.8):
        _mountain(far, x + rng.uniform(-0.25, 0.25), rng.uniform(-0.75, -0.38), rng, place)
    soften(far, 0.009)
    near = place.canvas()
    hill(near, 0.2 + 0.03 * ridge(_XS, rng, 2, 0.4), _XS, light.lit((226, 234, 248), 0.3))
    for x in spread(-3.2, 3.3, 0.42):
        at = x + rng.uniform(-0.14, 0.14)
        if abs(at) < 0.36:
            continue
        height = rng.uniform(0.5, 0.85)
        outline = fir(at, 0.27, height, rng, 4)
        near.poly(outline, light.lit((66, 96, 96)))
        near.poly(outline * [0.7, 0.84] + [0.3 * at - 0.02, 0.27 * 0.16 - 0.05 * height], light.lit((232, 240, 250)))
    _snowman(near, float(rng.choice((-1, 1))) * rng.uniform(0.62, 0.85), 0.36, place)
    soften(near, 0.008)
    ground = place.canvas()
    line = 0.3 + 0.03 * ridge(_XS, rng, 2, 0.5)
    hill(ground, line, _XS, light.lit((238, 244, 252)))
    fade(ground, light.lit((206, 220, 242)), 0.34, 1.3, 0.75)
    for _ in range(7):
        at, down = rng.uniform(-2.6, 2.6), rng.uniform(0.45, 1.6)
        ground.glow(at, down, rng.uniform(0.25, 0.5), light.lit((190, 208, 238)), 0.5, 0.16)
        ground.glow(at - 0.1, down - 0.06, rng.uniform(0.25, 0.5), light.lit((255, 255, 255)), 0.6, 0.12)
    flakes = place.canvas()
    discs = _flakes(rng, 70)
    white = mix(light.lit((255, 255, 255)), (255, 255, 255), 0.45)
    flakes.polys(discs[:55], white)
    front = place.canvas()
    front.polys(discs[55:] + np.array([0, 0.1]), white)
    layers = [Layer(back, 0), Layer(far, 0.15), Layer(near, 0.5), Layer(flakes, 0.7)]
    return Backdrop(layers, ground, [Layer(front, 1.0)])


def _flakes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Outlines of small discs in the air, count x 8 x 2."""
    x, y, r = rng.uniform(-SPAN, SPAN, count), rng.uniform(-2.2, 1.2, count), rng.uniform(0.008, 0.02, count)
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    return np.stack([x[:, None] + r[:, None] * np.cos(angle), y[:, None] + r[:, None] * np.sin(angle)], 2)


def _mountain(canvas: Canvas, x: float, top: float, rng: np.random.Generator, place: Place) -> None:
    """A peak whose side away from the sun is blue."""
    light = place.light
    half, foot = (0.22 - top) * rng.uniform(0.9, 1.2), 0.26
    bright, shade = light.lit((246, 250, 255), 0.35), light.lit((140, 166, 208), 0.45)
    sign = 1.0 if light.towards[0] > 0 else -1.0
    canvas.poly(points((x, top), (x + half, foot), (x - half, foot)), shade)
    inner = points(
        (x, top),
        (x - sign * 0.05, top + 0.2),
        (x + sign * 0.05, top + 0.3),
        (x - sign * 0.04, foot),
        (x + sign * half, foot),
    )
    canvas.poly(inner, bright)


def _snowman(canvas: Canvas, x: float, foot: float, place: Place) -> None:
    lit = place.light.lit
    for y, r in ((0.085, 0.1), (0.23, 0.075), (0.345, 0.055)):
        canvas.ellipse(x, foot - y, r, r, lit((188, 204, 230)))
        canvas.ellipse(
            x + 0.14 * r * (1 if place.light.towards[0] > 0 else -1),
            foot - y - 0.1 * r,
            r * 0.86,
            r * 0.86,
            lit((250, 252, 255)),
        )
    for dx in (-0.02, 0.02):
        canvas.ellipse(x + dx, foot - 0.36, 0.008, 0.008, lit((50, 54, 66)))
    canvas.rect(x - 0.065, foot - 0.395, x + 0.065, foot - 0.38, lit((70, 74, 88)))
    canvas.rect(x - 0.04, foot - 0.46, x + 0.04, foot - 0.39, lit((70, 74, 88)))
    canvas.poly(points((x, foot - 0.352), (x + 0.07, foot - 0.338), (x, foot - 0.334)), lit((226, 140, 74)))
