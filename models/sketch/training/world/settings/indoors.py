"""The indoor settings: a table in a living room, a kitchen and a photographer's studio, for any time of day.

The hour shows in the window, in the patch of sun it throws, and in the lamps.
"""

from __future__ import annotations

import numpy as np

from models.sketch.training.world.canvas import Canvas, Rgb
from models.sketch.training.world.settings.scenery import (
    SPAN,
    Backdrop,
    Layer,
    Place,
    hill,
    mix,
    points,
    ridge,
    scaled,
    sky,
    soften,
    spread,
)

_XS = np.linspace(-SPAN, SPAN, 61)


def _outside(place: Place, x: float, half: float) -> Canvas:
    """What the window shows: the hour's sky with its sun in view, hills below."""
    sun = {
        "morning": (x - 0.12, -0.28),
        "noon": (x + 0.3, -0.95),
        "evening": (x + 0.1, -0.22),
        "night": (x + 0.08, -0.55),
    }
    canvas = sky(place, 0.0, sun[place.time])
    hill(canvas, -0.06 + 0.05 * ridge(_XS, place.rng(11), 2, 0.6), _XS, place.light.lit((104, 148, 96), 0.35))
    return canvas


def _sun_patch(canvas: Canvas, place: Place, top: float, rows_from: float, at: float) -> None:
    """Light of the window on a level surface: slanted away from the sun, crossed by the window's bars."""
    if place.time == "night":
        return
    lean = -place.light.towards[0] * 0.9
    rows = slice(canvas.row(rows_from), None)
    y = canvas.y[rows]
    along = (canvas.x - at - lean * (y - top)) / (0.55 + 0.35 * (y - top))
    bars = np.minimum(1 - np.abs(along), np.abs(np.abs(along) - 0.0) - 0.05)
    ends = np.minimum(y - top - 0.05, top + 0.75 - y)
    cover = np.clip(bars / 0.05, 0, 1) * np.clip(ends / 0.05, 0, 1)
    warm = {"morning": (255, 236, 198), "noon": (255, 252, 240), "evening": (255, 170, 96)}[place.time]
    canvas.tone(warm, np.asarray(0.5 * cover, np.float32), rows)


def _window(canvas: Canvas, x: float, y0: float, y1: float, half: float, frame: Rgb) -> None:
    """Cut a window with a cross into a wall."""
    canvas.rect(x - half - 0.06, y0 - 0.06, x + half + 0.06, y1 + 0.06, frame)
    canvas.rect(x - half, y0, x + half, y1, None)
    canvas.rect(x - 0.022, y0, x + 0.022, y1, frame)
    canvas.rect(x - half, (y0 + y1) / 2 - 0.2, x + half, (y0 + y1) / 2 - 0.16, frame)
    canvas.rect(x - half - 0.12, y1 + 0.04, x + half + 0.12, y1 + 0.1, scaled(frame, 0.92))


def table(place: Place) -> Backdrop:
    """A wooden table in a living room: window, curtain, a picture on the wall, often a cat on the sill."""
    light, rng = place.light, place.rng(9)
    side = -1.0 if rng.random() < 0.5 else 1.0
    x, half = side * rng.uniform(0.34, 0.5), 0.4
    outside = _outside(place, x, half)
    wall = place.canvas()
    wall.gradient([(-1.7, light.indoors((196, 168, 134))), (0.3, light.indoors((224, 198, 164)))])
    for k in spread(-SPAN, SPAN, 0.36):
        wall.rect(k, -3, k + 0.12, 3, light.indoors((216, 190, 156)))
    _window(wall, x, -0.95, 0.02, half, light.indoors((246, 240, 230)))
    if rng.random() < 0.6:
        _cat(wall, x + side * 0.18, 0.05, place)
    cloth = light.indoors((176, 150, 122))
    for edge, sign in ((x - half - 0.1, 1), (x + half + 0.1, -1)):
        wall.poly(
            points(
                (edge - sign * 0.14, -1.12),
                (edge + sign * 0.2, -1.12),
                (edge + sign * 0.08, 0.3),
                (edge - sign * 0.16, 0.3),
            ),
            cloth,
        )
        wall.poly(
            points((edge, -1.12), (edge + sign * 0.06, -1.12), (edge, 0.3), (edge - sign * 0.05, 0.3)),
            scaled(cloth, 0.88),
        )
    wall.rect(x - half - 0.34, -1.17, x + half + 0.34, -1.12, light.indoors((120, 88, 62)))
    _painting(wall, x - side * 1.15, -0.55, place)
    _painting(wall, x + side * 1.75, -0.5, place)
    wall.rect(-SPAN, 0.24, SPAN, 3, light.indoors((150, 122, 96)))
    if light.lamps:
        wall.glow(x - side * 1.0, -0.75, 0.95, (255, 190, 112), 0.62 * light.lamps, 1.0)
    soften(wall, 0.01)
    ground = place.canvas()
    top = 0.27
    wood = (158, 98, 54)
    ground.gradient(
        [
            (top, light.indoors(scaled(wood, 1.18))),
            (0.6, light.indoors(wood)),
            (1.6, light.indoors(scaled(wood, 0.78))),
        ],
        top,
    )
    _planks(ground, rng, top, place)
    ground.rect(-SPAN, top - 0.012, SPAN, top + 0.012, light.indoors((206, 150, 98)))
    _sun_patch(ground, place, top, top + 0.02, x + 0.12 * side)
    if light.lamps:
        ground.glow(-0.2 * side, 0.62, 1.1, (240, 160, 84), 0.42 * light.lamps, 0.5)
    return Backdrop([Layer(outside, 0), Layer(wall, 0.4)], ground, mirror=0.1)


def _planks(canvas: Canvas, rng: np.random.Generator, top: float, place: Place) -> None:
    """Boards that run away from the viewer, with grain."""
    light = place.light
    rows = slice(canvas.row(top + 0.01), None)
    y = canvas.y[rows]
    board = canvas.x / (y + 0.55) * 2.3 + rng.uniform(0, 1)
    number = np.floor(board)
    seam = np.abs(board - np.round(board))
    tones = np.sin(number * 12.9898 + rng.uniform(0, 6)) * 0.5
    grain = np.sin(board * 31 + 2.2 * np.sin(y * 5 + number * 3.7)) * 0.5
    canvas.tone(
        light.indoors((92, 52, 26)), np.asarray(np.clip(0.24 * tones + 0.11 * grain + 0.05, 0, 1), np.float32), rows
    )
    canvas.tone(light.indoors((58, 32, 16)), np.asarray(0.7 * np.clip(1 - seam / 0.02, 0, 1), np.float32), rows)


def _cat(canvas: Canvas, x: float, y: float, place: Place) -> None:
    """It sits on the sill and looks out."""
    fur = place.light.indoors((92, 84, 82))
    canvas.ellipse(x, y - 0.1, 0.095, 0.125, fur)
    canvas.ellipse(x, y - 0.25, 0.07, 0.062, fur)
    for sign in (-1, 1):
        canvas.poly(
            points((x + sign * 0.065, y - 0.35), (x + sign * 0.015, y - 0.29), (x + sign * 0.07, y - 0.26)), fur
        )
    t = np.linspace(0, 1, 8)
    canvas.line(np.stack([x + 0.06 + 0.13 * np.sin(t * 2.4), y + 0.16 * t - 0.02], 1), fur, 0.036)


def _painting(canvas: Canvas, x: float, y: float, place: Place) -> None:
    canvas.rect(x - 0.24, y - 0.2, x + 0.24, y + 0.2, place.light.indoors((122, 92, 66)))
    canvas.rect(x - 0.2, y - 0.16, x + 0.2, y + 0.16, place.light.indoors((236, 226, 206)))
    canvas.poly(
        points((x - 0.16, y + 0.12), (x - 0.04, y - 0.06), (x + 0.05, y + 0.12)), place.light.indoors((150, 160, 150))
    )
    canvas.poly(
        points((x - 0.02, y + 0.12), (x + 0.08, y - 0.01), (x + 0.16, y + 0.12)), place.light.indoors((186, 176, 152))
    )


def kitchen(place: Place) -> Backdrop:
    """A marble counter before white tiles: window, herbs on the sill, utensils on a rail, a pendant lamp."""
    light, rng = place.light, place.rng(10)
    side = -1.0 if rng.random() < 0.5 else 1.0
    x, half = side * rng.uniform(0.42, 0.56), 0.34
    outside = _outside(place, x, half)
    wall = place.canvas()
    wall.gradient([(-1.7, light.indoors((206, 222, 222))), (0.3, light.indoors((232, 242, 240)))])
    grout = light.indoors((160, 186, 188))
    rise, width = 0.17, 0.34
    for k, y in enumerate(spread(-3.0, 0.3, rise)):
        wall.rect(-SPAN, y, SPAN, y + 0.016, grout)
        at = np.arange(-SPAN + (k % 2) * width / 2, SPAN, width)
        wall.rects(np.stack([at, np.full_like(at, y), at + 0.016, np.full_like(at, y + rise)], 1), grout)
    _window(wall, x, -0.9, -0.02, half, light.indoors((250, 250, 248)))
    _herbs(wall, x + side * 0.16, 0.0, place)
    _rail(wall, x - side * 1.02, -0.62, place)
    _rail(wall, x + side * 1.25, -0.62, place)
    wall.rect(-SPAN, 0.2, SPAN, 3, light.indoors((138, 156, 158)))
    _pendant(wall, x - side * 0.62, place)
    soften(wall, 0.01)
    ground = place.canvas()
    top = 0.25
    stone = (196, 200, 206)
    ground.gradient(
        [
            (top, light.indoors(scaled(stone, 1.1))),
            (0.6, light.indoors(stone)),
            (1.6, light.indoors(scaled(stone, 0.8))),
        ],
        top,
    )
    _veins(ground, rng, light.indoors((150, 156, 168)))
    ground.rect(-SPAN, top - 0.012, SPAN, top + 0.014, light.indoors((238, 240, 242)))
    _sun_patch(ground, place, top, top + 0.02, x + 0.1 * side)
    if light.lamps:
        ground.glow(x - side * 0.5, 0.5, 0.7, (255, 208, 150), 0.34 * light.lamps, 0.4)
    return Backdrop([Layer(outside, 0), Layer(wall, 0.4)], ground, mirror=0.2)


def _herbs(canvas: Canvas, x: float, y: float, place: Place) -> None:
    lit = place.light.indoors
    for dx, dy, r in (
        (-0.06, -0.17, 0.05),
        (0.05, -0.19, 0.055),
        (0.0, -0.24, 0.055),
        (-0.03, -0.13, 0.05),
        (0.06, -0.13, 0.04),
    ):
        canvas.ellipse(x + dx, y + dy, r, r * 0.85, lit((86, 128, 84) if dx > 0 else (106, 148, 96)))
    canvas.poly(
        points((x - 0.085, y - 0.12), (x + 0.085, y - 0.12), (x + 0.06, y + 0.05), (x - 0.06, y + 0.05)),
        lit((190, 184, 174)),
    )


def _rail(canvas: Canvas, x: float, y: float, place: Place) -> None:
    """A rail with a ladle, a whisk and a board."""
    lit = place.light.indoors
    steel = lit((128, 134, 142))
    canvas.rect(x - 0.36, y, x + 0.36, y + 0.022, steel)
    for dx in (-0.24, 0.0):
        canvas.rect(x + dx - 0.011, y, x + dx + 0.011, y + 0.3, steel)
    canvas.ellipse(x - 0.24, y + 0.34, 0.06, 0.05, steel)
    canvas.ellipse(x, y + 0.37, 0.04, 0.08, steel)
    canvas.ellipse(x, y + 0.37, 0.018, 0.055, lit((220, 232, 230)))
    canvas.rect(x + 0.16, y + 0.06, x + 0.32, y + 0.4, lit((186, 150, 110)))
    canvas.ellipse(x + 0.24, y + 0.1, 0.015, 0.015, lit((120, 94, 68)))


def _pendant(canvas: Canvas, x: float, place: Place) -> None:
    light = place.light
    canvas.rect(x - 0.008, -3, x + 0.008, -0.98, light.indoors((96, 100, 106)))
    canvas.poly(
        points((x - 0.05, -1.0), (x + 0.05, -1.0), (x + 0.19, -0.84), (x - 0.19, -0.84)), light.indoors((110, 116, 122))
    )
    if light.lamps:
        canvas.ellipse(x, -0.84, 0.12, 0.035, (255, 232, 180))
        canvas.glow(x, -0.62, 0.62, (255, 214, 150), 0.5 * light.lamps, 0.9)


def _veins(canvas: Canvas, rng: np.random.Generator, rgb: Rgb) -> None:
    rows = slice(canvas.row(0.28), None)
    y = canvas.y[rows]
    for _ in range(3):
        a, b, c = rng.uniform(0.6, 1.6), rng.uniform(0, 6), rng.uniform(-1.2, 1.2)
        path = canvas.x - c - 0.9 * a * (y - 0.6) - 0.12 * np.sin(y * 7 + b) - 0.05 * np.sin(y * 19 + 2 * b)
        canvas.tone(rgb, np.asarray(0.5 * np.exp(-np.abs(path) / 0.03), np.float32), rows)


_SWEEP: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "morning": ((222, 206, 208), (246, 226, 212), (236, 216, 204)),
    "noon": ((206, 212, 220), (244, 246, 248), (226, 229, 233)),
    "evening": ((112, 78, 112), (226, 138, 104), (172, 104, 92)),
    "night": ((18, 21, 42), (48, 58, 98), (34, 40, 70)),
}
"""Of the studio: above, behind the product, the floor."""


def studio(place: Place) -> Backdrop:
    """A paper sweep lit through a window mask at the day's ends, from above at noon, by one spot at night."""
    rng = place.rng(12)
    above, behind, floor = _SWEEP[place.time]
    wall = place.canvas()
    sweep = [
        (y, mix(behind, floor, t * t * (3 - 2 * t))) for t in np.linspace(0, 1, 9) for y in (0.05 + 0.8 * float(t),)
    ]
    wall.gradient([(-1.7, above), (-0.5, mix(above, behind, 0.6)), *sweep, (1.7, scaled(floor, 0.86))])
    centre = rng.uniform(-0.25, 0.25)
    wall.glow(centre, -0.1, 1.0, scaled(behind, 1.12), 0.75, 0.9)
    side = place.light.towards[0]
    if place.time in ("morning", "evening"):
        _blinds(wall, side, rng, (255, 246, 224) if place.time == "morning" else (255, 190, 110))
    if place.time == "night":
        _spot(wall, centre)
    soften(wall, 0.012)
    ground = place.canvas()
    if place.time == "night":
        ground.gradient([(0.3, floor), (1.7, scaled(floor, 0.8))], 9.0)
    return Backdrop([Layer(wall, 0.75)], ground, mirror=0.16)


def _blinds(canvas: Canvas, side: float, rng: np.random.Generator, rgb: Rgb) -> None:
    """Stripes of sun through a blind, slanting down away from the sun."""
    x = canvas.x * np.sign(side)
    v = canvas.y + 0.34 * x + rng.uniform(-0.08, 0.08)
    stripes = np.clip((0.062 - np.abs(np.mod(v, 0.2) - 0.1)) / 0.02, 0, 1)
    box = np.clip((0.5 - np.abs(v + 0.32)) / 0.03, 0, 1) * np.clip(
        (0.62 - np.abs(x + 0.12 + 0.1 * canvas.y)) / 0.03, 0, 1
    )
    post = np.clip((np.abs(x + 0.12 + 0.1 * canvas.y) - 0.025) / 0.02, 0, 1)
    canvas.tone(rgb, np.asarray(0.62 * stripes * box * post, np.float32))


def _spot(canvas: Canvas, centre: float) -> None:
    """One spotlight from above: its cone in the air and its pool on the floor."""
    rows = slice(0, canvas.row(0.62))
    y = canvas.y[rows]
    half = 0.16 + 0.34 * np.clip(y + 1.5, 0, 3)
    cone = np.clip((half - np.abs(canvas.x - centre)) / 0.25, 0, 1) * np.clip((0.75 - y) / 1.2, 0, 1)
    canvas.tone((150, 166, 226), np.asarray(0.34 * cone, np.float32), rows)
    canvas.glow(centre, 0.6, 0.75, (150, 164, 220), 0.6, 0.3)
