"""The open settings: beach, desert and city, each painted in layers for any time of day.

Nothing here is painted in a product's colour at a product's size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.sketch.training.world.canvas import Canvas, Rgb
from models.sketch.training.world.settings.scenery import (
    SPAN,
    Backdrop,
    Layer,
    Place,
    fade,
    hill,
    mix,
    points,
    ridge,
    scaled,
    sky,
    soften,
    speckle,
    spread,
)

_XS = np.linspace(-SPAN, SPAN, 121)


def beach(place: Place) -> Backdrop:
    """Sea to the horizon, foam, a sail, a palm leaning in."""
    light, rng = place.light, place.rng(2)
    level = 0.0
    back = sky(place, level)
    sea = place.canvas()
    sea.gradient(
        [(level, light.lit((70, 150, 190), 0.8)), (0.14, light.lit((30, 140, 176))), (0.36, light.lit((96, 206, 204)))],
        level,
    )
    x = light.sun_at[0]
    glint = mix(light.sun_disc, light.sky[2], 0.2)
    n = 46
    depth = rng.uniform(0, 1, n)
    gx, gy = x + rng.normal(0, 1, n) * (0.06 + 0.22 * depth), level + 0.015 + 0.3 * depth**1.5
    half = 0.03 + 0.07 * depth
    if place.time != "noon":
        sea.polys(_dashes(gx, gy, half, 0.006 + 0.006 * depth), glint)
    n = 60
    depth = rng.uniform(0, 1, n)
    wx, wy, half = rng.uniform(-SPAN, SPAN, n), level + 0.03 + 0.3 * depth**1.3, 0.03 + 0.12 * depth
    sea.polys(_dashes(wx, wy, half, 0.005 + 0.007 * depth), light.lit((176, 226, 232)))
    _sail(
        sea,
        rng.uniform(0.25, 0.8) * (-1 if x > 0 else 1),
        level + 0.035,
        light.lit((250, 246, 236), 0.2),
        light.lit((110, 84, 70)),
    )
    soften(sea, 0.008)
    ground = place.canvas()
    shore = 0.31 + 0.035 * ridge(_XS, rng, 2, 0.5)
    hill(ground, shore, _XS, light.lit((246, 252, 250)))
    hill(ground, shore + 0.035 + 0.008 * np.sin(_XS * 9), _XS, light.lit((176, 146, 104)))
    hill(ground, shore + 0.1 + 0.012 * np.sin(_XS * 5), _XS, light.lit((232, 204, 150)))
    fade(ground, light.lit((250, 228, 182)), 0.45, 1.2, 0.7)
    speckle(ground, rng, 0.5, 110, 0.016, light.lit((206, 176, 124)))
    speckle(ground, rng, 0.5, 80, 0.014, light.lit((252, 238, 204)))
    for _ in range(5):
        _shell(
            ground,
            rng.uniform(-1.6, 1.6),
            rng.uniform(0.78, 1.7),
            light.lit((250, 236, 226)),
            light.lit((196, 160, 140)),
        )
    palm = place.canvas()
    side = -1.0 if rng.random() < 0.5 else 1.0
    _palm(palm, side * rng.uniform(0.98, 1.12), side, rng, light.lit((104, 82, 60)), light.lit((62, 112, 62)))
    soften(palm, 0.009)
    return Backdrop([Layer(back, 0), Layer(sea, 0.2), Layer(palm, 0.6)], ground)


def _dashes(x: np.ndarray, y: np.ndarray, half: np.ndarray, thick: np.ndarray) -> np.ndarray:
    """Flat lens shapes, count x 4 x 2."""
    return np.stack([np.stack([x + a * half, y + b * thick], 1) for a, b in ((-1, 0), (0, -1), (1, 0), (0, 1))], 1)


def _sail(canvas: Canvas, x: float, y: float, cloth: Rgb, hull: Rgb) -> None:
    canvas.poly(points((x - 0.01, y - 0.2), (x - 0.01, y - 0.025), (x - 0.1, y - 0.025)), cloth)
    canvas.poly(points((x + 0.01, y - 0.23), (x + 0.01, y - 0.025), (x + 0.12, y - 0.025)), cloth)
    canvas.poly(
        points((x - 0.12, y - 0.012), (x + 0.14, y - 0.012), (x + 0.09, y + 0.025), (x - 0.08, y + 0.025)), hull
    )


def _shell(canvas: Canvas, x: float, y: float, rgb: Rgb, dark: Rgb) -> None:
    canvas.ellipse(x + 0.006, y + 0.01, 0.045, 0.022, dark)
    canvas.ellipse(x, y, 0.04, 0.024, rgb)


def _palm(canvas: Canvas, x: float, side: float, rng: np.random.Generator, bark: Rgb, leaf: Rgb) -> None:
    """A trunk that leans into the picture, and fronds."""
    t = np.linspace(0, 1, 9)
    px, py = x + side * 0.25 * (1 - t) ** 2 - side * 0.1 * t, 0.34 - 1.12 * t
    canvas.line(np.stack([px, py], 1), bark, 0.075)
    top = (float(px[-1]), float(py[-1]))
    for k, angle in enumerate(np.linspace(-0.35, np.pi + 0.35, 8)):
        reach = 0.55 * rng.uniform(0.85, 1.1)
        s = np.linspace(0, 1, 8)
        fx = top[0] + np.cos(angle) * reach * s
        fy = top[1] - np.sin(angle) * reach * s * 0.75 + 0.34 * s * s
        width = 0.055 * np.sin(np.pi * np.clip(s * 0.93 + 0.07, 0, 1)) ** 0.7
        edge = np.concatenate([np.stack([fx, fy - width], 1), np.stack([fx, fy + width * 0.9], 1)[::-1]])
        canvas.poly(edge, scaled(leaf, 0.82 if k % 2 else 1.1))


_SAND_AT_NIGHT = (0.28, 0.33, 0.62)
"""Bluer than the hour's common tint, which leaves orange sand grey."""


def desert(place: Place) -> Backdrop:
    """Table mountains far off, dunes with a bright and a shaded side, a saguaro that greets."""
    rng = place.rng(4)
    back = sky(place, 0.14, clouds=place.time != "noon")
    if place.time == "night":
        place = replace(place, light=replace(place.light, tint=_SAND_AT_NIGHT))
    light = place.light
    far = place.canvas()
    for _ in range(6):
        x, half, top = rng.uniform(-SPAN, SPAN), rng.uniform(0.2, 0.5), rng.uniform(-0.22, 0.0)
        rock = light.lit((188, 108, 76), 0.75)
        far.poly(points((x - half - 0.08, 0.2), (x - half, top), (x + half, top), (x + half + 0.08, 0.2)), rock)
        far.poly(
            points((x + half * 0.3, top), (x + half, top), (x + half + 0.08, 0.2), (x + half * 0.45, 0.2)),
            scaled(rock, 0.88),
        )
    hill(far, 0.15 + 0.03 * ridge(_XS, rng, 2, 0.4), _XS, light.lit((226, 164, 104), 0.5))
    soften(far, 0.009)
    dunes = place.canvas()
    _dune(dunes, rng, place, 0.2, 0.1, 0.25)
    _saguaro(dunes, float(rng.choice((-1, 1))) * rng.uniform(0.72, 0.92), 0.32, rng.uniform(0.9, 1.15), place)
    soften(dunes, 0.007)
    ground = place.canvas()
    line = 0.32 + 0.045 * ridge(_XS, rng, 2, 0.4)
    hill(ground, line, _XS, light.lit((232, 168, 100)))
    fade(ground, light.lit((206, 136, 76)), 0.5, 1.5, 0.8)
    _ripples(ground, rng, light.lit((186, 118, 66)), light.lit((248, 194, 128)))
    for _ in range(5):
        x, y, r = rng.uniform(-1.7, 1.7), rng.uniform(0.85, 1.7), rng.uniform(0.025, 0.05)
        ground.ellipse(x, y, r, r * 0.6, light.lit((140, 92, 66)))
        ground.ellipse(x - 0.1 * r, y - 0.2 * r, r * 0.8, r * 0.4, light.lit((178, 126, 92)))
    return Backdrop([Layer(back, 0), Layer(far, 0.2), Layer(dunes, 0.5)], ground)


def _dune(canvas: Canvas, rng: np.random.Generator, place: Place, y: float, size: float, far: float) -> None:
    """A crest with its lee side in shade."""
    light = place.light
    line = y + size * ridge(_XS, rng, 2, 0.45)
    hill(canvas, line, _XS, light.lit((240, 180, 112), far))
    shade = light.lit((190, 116, 76), far)
    slope = np.gradient(line, _XS) * (1 if light.towards[0] > 0 else -1)
    lee = np.where(slope < 0, line + 0.9 * size * np.clip(-slope * 4, 0, 1), line)
    canvas.poly(np.concatenate([np.stack([_XS, line], 1), np.stack([_XS, lee], 1)[::-1]]), shade)


def _saguaro(canvas: Canvas, x: float, foot: float, size: float, place: Place) -> None:
    lit = place.light.lit
    green, pale, dark = lit((74, 110, 74)), lit((104, 142, 92)), lit((50, 80, 58))
    for rgb, shift, thin in ((dark, 0.012, 1.0), (green, 0.0, 0.86), (pale, -0.02, 0.3)):
        for path, width in (
            (((0, 0), (0, -0.62)), 0.13),
            (((0, -0.26), (-0.17, -0.26), (-0.17, -0.48)), 0.085),
            (((0, -0.18), (0.17, -0.18), (0.17, -0.38)), 0.085),
        ):
            at = np.array(path) * size + [x + shift * size, foot]
            canvas.line(at, rgb, width * size * thin)
            for px, py in at[1:]:
                canvas.ellipse(px, py, width * size * thin / 2, width * size * thin / 2, rgb)


def _ripples(canvas: Canvas, rng: np.random.Generator, dark: Rgb, pale: Rgb) -> None:
    """Wind's lines in the sand, closer together further off."""
    rows = slice(canvas.row(0.42), None)
    y = canvas.y[rows]
    depth = np.log(np.maximum(y - 0.2, 0.05))
    swing = 0.22 * np.sin(canvas.x * 2.1 + rng.uniform(0, 6)) + 0.12 * np.sin(canvas.x * 4.7 + rng.uniform(0, 6))
    bands = np.sin(depth * 17 + swing * 9).astype(np.float32)
    canvas.tone(dark, np.asarray(0.38 * np.clip(bands - 0.25, 0, 1), np.float32), rows)
    canvas.tone(pale, np.asarray(0.4 * np.clip(-bands - 0.45, 0, 1), np.float32), rows)


def city(place: Place) -> Backdrop:
    """Towers in two distances above a square of stone; windows and blurred lamps come on as it gets dark."""
    light, rng = place.light, place.rng(6)
    back = sky(place, 0.2)
    far, near = place.canvas(), place.canvas()
    _towers(far, place, place.rng(7), 0.34, (-0.75, -0.05), (150, 158, 176), 0.85)
    soften(far, 0.01)
    _towers(near, place, place.rng(8), 0.5, (-0.95, 0.0), (112, 116, 132), 0.12)
    near.rect(-SPAN, 0.16, SPAN, 0.4, light.lit((84, 84, 96)))
    if light.lamps:
        _street_lights(near, rng, light.lamps)
    soften(near, 0.012)
    ground = place.canvas()
    ground.gradient(
        [(0.26, light.lit((166, 156, 152), 0.3)), (0.5, light.lit((152, 142, 138))), (1.6, light.lit((116, 108, 108)))],
        0.26,
    )
    dark = light.lit((92, 92, 102))
    for k in range(9):
        y = 0.16 + 0.1 * 1.38**k
        if y > 0.27:
            ground.rect(-SPAN, y, SPAN, y + 0.006 + 0.008 * (y - 0.2), dark)
    for x in spread(-9, 9.1, 0.6):
        ground.poly(
            points((x * 0.28, 0.26), (x * 0.28 + 0.006, 0.26), (x * 2.66 + 0.03, 1.75), (x * 2.66 - 0.03, 1.75)), dark
        )
    if light.lamps:
        for rgb in ((255, 196, 110), (120, 190, 255), (255, 150, 170), (255, 214, 140)):
            ground.glow(rng.uniform(-1.5, 1.5), 0.3, 0.13, rgb, 0.5 * light.lamps, 3.2)
    return Backdrop([Layer(back, 0), Layer(far, 0.15), Layer(near, 0.45)], ground, mirror=0.12)


def _towers(
    canvas: Canvas,
    place: Place,
    rng: np.random.Generator,
    pitch: float,
    tops: tuple[float, float],
    rgb: Rgb,
    far: float,
) -> None:
    light = place.light
    sign = 1 if light.towards[0] > 0 else -1
    lit_windows: list[tuple[float, ...]] = []
    dark_windows: list[tuple[float, ...]] = []
    for x in spread(-SPAN, SPAN, pitch):
        half, top = pitch * rng.uniform(0.36, 0.5), rng.uniform(*tops)
        shade = rng.uniform(0.9, 1.12)
        face = light.lit(scaled(rgb, shade), far)
        canvas.rect(x - half, top, x + half, 0.5, face)
        canvas.rect(
            *((x + half * 0.5, top, x + half, 0.5) if sign < 0 else (x - half, top, x - half * 0.5, 0.5)),
            scaled(face, 0.84),
        )
        if rng.random() < 0.35:
            canvas.rect(x - 0.012, top - 0.16, x + 0.012, top, face)
        columns = np.linspace(x - half, x + half, 6)[1:-1]
        for y in spread(top + 0.08, 0.2, 0.105):
            on = rng.random(4) < 0.62
            for wx, lamp in zip(columns, on, strict=True):
                (lit_windows if lamp else dark_windows).append((wx - 0.022, y, wx + 0.022, y + 0.055))
    pane = light.lit((176, 206, 232), far) if light.lamps < 1 else light.lit((90, 104, 140), far)
    glass = mix(pane, (255, 212, 128), min(1.0, light.lamps * 1.3) * (1 - 0.45 * far))
    canvas.rects(lit_windows, glass)
    canvas.rects(dark_windows, light.lit((86, 104, 132), far))


def _street_lights(canvas: Canvas, rng: np.random.Generator, lamps: float) -> None:
    """Discs of light out of focus, in lamp colours that no product wears as a whole."""
    for _ in range(22):
        x, y, r = rng.uniform(-2.6, 2.6), rng.uniform(0.02, 0.26), rng.uniform(0.03, 0.065)
        rgb = ((255, 206, 128), (255, 230, 180), (150, 206, 255), (255, 160, 150))[int(rng.integers(4))]
        rows, columns = slice(canvas.row(y - r), canvas.row(y + r)), slice(canvas.column(x - r), canvas.column(x + r))
        inside = np.hypot(canvas.x[:, columns] - x, canvas.y[rows] - y) < r
        canvas.tone(rgb, np.asarray(inside * (0.75 * lamps), np.float32), rows, columns)
