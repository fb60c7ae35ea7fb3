"""The products that no lathe makes: box, shoe, watch and lamp, each a solid and what is painted on it.

Products stand on y = 0 and their larger dimension is about 1.
"""

from __future__ import annotations

from functools import cache
from math import cos, pi, sin

import numpy as np

from models.sketch.training.world.products.solids import Array, Lathe, blend, box, capsule, cylinder, ellipsoid, sphere
from models.sketch.training.world.products.surfaces import Surface, blank, soft

# --- box: a present, with a lid, a ribbon both ways and a bow


def _bow(x: Array, y: Array, z: Array) -> Array:
    out = sphere(x, y - 0.725, z, 0.05)
    for side in (-1, 1):
        c, s = cos(0.5), sin(0.5) * side
        px, py = c * x + s * (y - 0.74), -s * x + c * (y - 0.74)
        loop = (
            np.hypot(np.hypot((px - side * 0.125) / 1.35, py / 0.85) - 0.072, np.maximum(np.abs(z) - 0.035, 0)) - 0.018
        )
        tail = capsule(x, y, z, (side * 0.03, 0.7, 0.02), (side * 0.15, 0.675, 0.2), 0.024)
        out = np.minimum(out, np.minimum(loop, tail))
    return np.asarray(out, np.float32)


def gift(x: Array, y: Array, z: Array) -> Array:
    lower = box(x, y - 0.27, z, (0.315, 0.27, 0.315), 0.015)
    lid = box(x, y - 0.59, z, (0.345, 0.085, 0.345), 0.02)
    c, s = cos(0.6), sin(0.6)
    bow = _bow(c * x - s * z, y, s * x + c * z)
    return np.asarray(np.minimum(np.minimum(lower, lid), bow), np.float32)


def paint_box(x: Array, y: Array, z: Array, ink: str) -> Surface:
    s = blank(x)
    ribbon = np.maximum(0.068 - np.abs(x), 0.068 - np.abs(z))
    s.paint("accent", soft(ribbon + 0.012) * soft(0.681 - y))
    s.paint(ink, soft(ribbon) * soft(0.681 - y))
    s.paint(ink, soft(y - 0.681))
    return s


# --- shoe: a sneaker seen from its side, the toe to the right


_TALL = 1.22


def _upper(x: Array, y: Array, z: Array) -> Array:
    y = y - 0.6 * _spring(x)
    toe = ellipsoid(x - 0.28, y - 0.12, z, (0.2, 0.115, 0.145))
    middle = ellipsoid(x - 0.05, y - 0.16, z, (0.28, 0.155, 0.13))
    heel = ellipsoid(x + 0.27, y - 0.2, z, (0.205, 0.2, 0.135))
    ankle = ellipsoid(x + 0.28, y - 0.34, z, (0.18, 0.15, 0.115))
    out = blend(blend(toe, middle, 0.12), blend(heel, ankle, 0.1), 0.16)
    out = np.maximum(out, -_opening(x, y, z))
    return np.asarray(np.maximum(out, 0.06 - y), np.float32)


def _opening(x: Array, y: Array, z: Array) -> Array:
    return ellipsoid(x + 0.25, y - 0.53, z, (0.185, 0.17, 0.085))


def _tongue(x: Array, y: Array, z: Array) -> Array:
    c, s = cos(0.75), sin(0.75)
    px, py = x + 0.115, y - 0.36
    return ellipsoid(c * px + s * py, -s * px + c * py, z, (0.035, 0.15, 0.085))


def _spring(x: Array) -> Array:
    """How far the sole rises towards the toe and, less, the heel."""
    return np.asarray(0.55 * np.maximum(x - 0.2, 0) ** 2 + 0.5 * np.maximum(-0.38 - x, 0) ** 2, np.float32)


def _sole(x: Array, y: Array, z: Array) -> Array:
    along = np.clip((x + 0.36) / 0.7, 0, 1)
    radius = 0.138 + 0.017 * along - 0.02 * np.sin(along * pi)
    outline = np.hypot(x + 0.36 - 0.7 * along, z) - radius
    level = np.abs(y - 0.052 - _spring(x)) - 0.052
    edge = np.hypot(np.maximum(outline + 0.02, 0), np.maximum(level + 0.02, 0)) - 0.02
    return np.asarray(edge + np.minimum(np.maximum(outline, level), 0), np.float32) * 0.9


@cache
def _laces() -> tuple[tuple[float, float], ...]:
    """Where the upper's ridge carries a lace: found by looking down on it."""
    places = []
    heights = np.linspace(0.1, 0.5, 400).astype(np.float32)[None, :]
    for x in (-0.06, 0.0, 0.06, 0.12):
        distance = _upper(np.full_like(heights, x), heights, np.zeros_like(heights))[0]
        places.append((x, float(heights[0][distance < 0].max())))
    return tuple(places)


def _lace(x: Array, y: Array, z: Array) -> Array:
    out = np.full_like(x, 9)
    for at, top in _laces():
        bent = y - top + 1.6 * z * z
        out = np.minimum(out, np.hypot(np.hypot(x - at, bent), np.maximum(np.abs(z) - 0.085, 0)) - 0.0165)
    return np.asarray(out * 0.8, np.float32)


def shoe(x: Array, y: Array, z: Array) -> Array:
    y = y / _TALL
    upper = np.minimum(_upper(x, y, z), _tongue(x, y, z))
    return np.asarray(np.minimum(np.minimum(upper, _sole(x, y, z)), _lace(x, y, z)), np.float32)


def paint_shoe(x: Array, y: Array, z: Array, ink: str) -> Surface:
    y = y / _TALL
    s = blank(x)
    pale = "rubber" if ink == "cream" else ink
    s.paint("accent", soft(_upper(x, y, z) - _tongue(x, y, z) - 0.004))
    s.paint("accent", soft(0.15 - np.hypot((x + 0.5) * 1.1, y - 0.24)))
    s.paint("rubber", soft(np.asarray(0.115 - np.hypot((x - 0.5) * 0.75, y - 0.1), np.float32)))
    s.paint("dark", soft(0.012 - _opening(x, y, z)) * soft(_tongue(x, y, z) - 0.01))
    t = np.clip((x + 0.3) / 0.46, 0, 1)
    middle = 0.15 + 0.13 * (1 - t) ** 2 + 0.06 * t * t
    swoosh = 0.006 + 0.1 * t**0.7 * (1 - t) ** 0.8 - np.abs(y - middle)
    s.paint(pale, soft(np.asarray(swoosh, np.float32)) * soft(np.minimum(x + 0.3, 0.16 - x)) * soft(np.abs(z) - 0.06))
    s.paint(pale, soft(_upper(x, y, z) - _lace(x, y, z) - 0.002))
    sole = soft(_upper(x, y, z) - _sole(x, y, z))
    s.paint("rubber", sole)
    s.paint("body", sole * soft(0.013 - np.abs(y - 0.055 - _spring(x))))
    return s


# --- watch: a closed strap standing upright, a steel case in front


def _strap(x: Array, y: Array, z: Array) -> Array:
    qy, qz = (y - 0.5) / 0.47, z / 0.3
    k0 = np.sqrt(qy * qy + qz * qz)
    k1 = np.sqrt((qy / 0.47) ** 2 + (qz / 0.3) ** 2)
    band = np.abs(k0 * (k0 - 1) / np.maximum(k1, 1e-4)) - 0.022
    width = 0.105 + 0.06 * np.exp(-(((y - 0.5) / 0.26) ** 2))
    across = np.abs(x) - width
    return np.asarray(np.hypot(np.maximum(band + 0.01, 0), np.maximum(across + 0.01, 0)) - 0.01, np.float32) * 0.9


def _case(x: Array, y: Array, z: Array) -> Array:
    across = np.hypot(x, y - 0.5)
    case = cylinder(np.asarray(z - 0.315, np.float32), np.asarray(across, np.float32), 0.255, 0.055, 0.02)
    crown = cylinder(np.asarray(x - 0.28, np.float32), np.hypot(y - 0.5, z - 0.315), 0.034, 0.03, 0.01)
    hollow = cylinder(np.asarray(z - 0.375, np.float32), np.asarray(across, np.float32), 0.212, 0.022, 0.004)
    return np.asarray(np.minimum(np.maximum(case, -hollow), crown), np.float32)


def watch(x: Array, y: Array, z: Array) -> Array:
    return np.minimum(_strap(x, y, z), _case(x, y, z))


def paint_watch(x: Array, y: Array, z: Array, ink: str) -> Surface:
    s = blank(x)
    s.paint("accent", soft(0.006 - np.abs(np.abs(x) - 0.085)))
    s.paint("steel", soft(_strap(x, y, z) - _case(x, y, z)))
    rho, angle = np.hypot(x, y - 0.5), np.arctan2(x, y - 0.5)
    face = soft(0.212 - rho) * soft(z - 0.3)
    s.paint("cream", face)
    spoke = np.abs(np.mod(angle / (2 * pi) * 12 + 0.5, 1) - 0.5) * 2 * pi / 12 * rho
    s.paint("dark", face * soft(0.011 - spoke) * soft(np.minimum(rho - 0.155, 0.195 - rho)))
    s.glow = face * 0.35
    return s


def hands(at: tuple[Array, Array, Array], hour: float) -> Array:
    """Coverage of a watch's two hands at an hour of the day; `at` as in a `View`."""
    x, y, z = at
    out = np.zeros_like(x)
    for turn, length, half in ((hour / 12, 0.105, 0.0165), (hour % 1, 0.16, 0.0115)):
        dx, dy = sin(turn * 2 * pi), cos(turn * 2 * pi)
        along, aside = x * dx + (y - 0.5) * dy, np.abs(x * dy - (y - 0.5) * dx)
        out = np.maximum(out, soft(np.minimum(half - aside, np.minimum(along + 0.03, length - along))))
    return np.asarray(out * soft(z - 0.3), np.float32)


# --- lamp: a domed foot, a steel stem, a shade that glows


_FOOT = Lathe(((0, 0), (0.17, 0), (0.215, 0), (0.22, 0.02), (0.18, 0.05), (0.05, 0.075), (0.022, 0.1), (0, 0.1)))
_SHADE = Lathe(
    (
        (0.3, 0.47),
        (0.335, 0.47),
        (0.335, 0.48),
        (0.18, 0.97),
        (0.175, 0.985),
        (0.16, 0.985),
        (0.16, 0.97),
        (0.3, 0.49),
        (0.3, 0.47),
    ),
    smooth=1,
)


def lamp(x: Array, y: Array, z: Array) -> Array:
    stem = cylinder(np.asarray(y - 0.42, np.float32), np.hypot(x, z), 0.024, 0.4)
    bulb = sphere(x, y - 0.72, z, 0.1)
    bar = capsule(x, y, z, (0.22, 0.36, 0.2), (0.22, 0.55, 0.2), 0.007)
    pull = np.minimum(bar, sphere(x - 0.22, y - 0.345, z - 0.2, 0.024))
    parts = (_FOOT(x, y, z), stem, _SHADE(x, y, z), bulb, pull)
    return np.asarray(np.minimum.reduce(parts), np.float32)


def paint_lamp(x: Array, y: Array, z: Array, ink: str) -> Surface:
    s = blank(x)
    rho = np.hypot(x, z)
    inside = soft(0.335 - 0.155 * (y - 0.48) / 0.49 - 0.018 - rho)
    s.paint("steel", soft(0.03 - rho) * soft(y - 0.085) * soft(0.75 - y))
    pull = soft(0.03 - np.hypot(x - 0.22, z - 0.2)) * soft(0.5 - y)
    s.paint("steel", pull)
    trim = np.maximum(0.018 - np.abs(y - 0.49), 0.016 - np.abs(y - 0.965))
    shade = soft(y - 0.46)
    s.paint("accent", soft(np.asarray(trim, np.float32)) * shade)
    s.paint("cream", inside * soft(y - 0.6))
    s.glow = shade * (1 - pull) * np.exp(-(((y - 0.66) / 0.22) ** 2)) + inside * soft(y - 0.6)
    s.glow = np.asarray(np.clip(s.glow, 0, 1.2), np.float32)
    return s
