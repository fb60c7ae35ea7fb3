"""Signed distances of simple solids, and the look at them through one camera: what `products` are modelled from.

A solid is a function from coordinates (x right, y up, z towards the viewer, each height x width) to distances; `look`
marches rays to it and gives normals, occlusion and where on the solid each pixel lies. That costs about 0.1 s, so
products are looked at once per view and kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Solid = Callable[[Array, Array, Array], Array]

PITCH = 0.2
"""How far the camera looks down, in radians."""
DISTANCE = 4.5
"""From the camera to the product, in sizes of the product: a short telephoto lens."""
STEPS = 44
AIM = 0.46
"""Height that the camera looks at."""


def sphere(x: Array, y: Array, z: Array, radius: float) -> Array:
    return np.asarray(np.sqrt(x * x + y * y + z * z) - radius, np.float32)


def ellipsoid(x: Array, y: Array, z: Array, radii: tuple[float, float, float]) -> Array:
    """A bound of the distance that is exact in the limit of a sphere (Inigo Quilez, "ellipsoid SDF")."""
    a, b, c = radii
    k0 = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    k1 = np.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
    return np.asarray(k0 * (k0 - 1) / np.maximum(k1, 1e-4), np.float32)


def box(x: Array, y: Array, z: Array, half: tuple[float, float, float], rounding: float = 0.0) -> Array:
    qx, qy, qz = (np.abs(v) - (h - rounding) for v, h in zip((x, y, z), half, strict=True))
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2 + np.maximum(qz, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(np.maximum(qx, qy), qz), 0) - rounding, np.float32)


def cylinder(along: Array, across: Array, radius: float, half: float, rounding: float = 0.0) -> Array:
    """A capped cylinder from the coordinate along its axis and the distance from it."""
    d, h = across - (radius - rounding), np.abs(along) - (half - rounding)
    outside = np.hypot(np.maximum(d, 0), np.maximum(h, 0))
    return np.asarray(outside + np.minimum(np.maximum(d, h), 0) - rounding, np.float32)


def capsule(
    x: Array, y: Array, z: Array, a: tuple[float, float, float], b: tuple[float, float, float], radius: float
) -> Array:
    """A round bar from one point to another."""
    ab = np.subtract(b, a).astype(np.float32)
    px, py, pz = x - a[0], y - a[1], z - a[2]
    t = np.clip((px * ab[0] + py * ab[1] + pz * ab[2]) / float(ab @ ab), 0, 1)
    return sphere(px - t * ab[0], py - t * ab[1], pz - t * ab[2], radius)


def blend(a: Array, b: Array, width: float) -> Array:
    """The union of two solids with a fillet."""
    h = np.maximum(width - np.abs(a - b), 0) / width
    return np.asarray(np.minimum(a, b) - h * h * width * 0.25, np.float32)


class Lathe:
    """A solid of revolution about y from its half profile, its distances tabulated once."""

    def __init__(self, profile: tuple[tuple[float, float], ...], smooth: int = 4) -> None:
        points = np.array(profile, np.float64)
        for _ in range(smooth):
            a, b = points[:-1], points[1:]
            cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2)
            points = np.concatenate([points[:1], cut, points[-1:]])
        self._cell = 1 / 200
        self._low = float(points[:, 1].min()) - 0.2
        rho = np.arange(0, points[:, 0].max() + 0.25, self._cell)
        height = np.arange(self._low, points[:, 1].max() + 0.25, self._cell)
        self._table = _polygon_distance(points, rho[None, :], height[:, None])

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        rho = np.hypot(x, z)
        rows, columns = self._table.shape
        ru, rv = rho / self._cell, (y - self._low) / self._cell
        inside_u, inside_v = np.clip(ru, 0, columns - 1.001), np.clip(rv, 0, rows - 1.001)
        found = cv2.remap(self._table, inside_u.astype(np.float32), inside_v.astype(np.float32), cv2.INTER_LINEAR)
        beyond = np.hypot(ru - inside_u, rv - inside_v) * self._cell
        return np.asarray(found + beyond, np.float32)


def _polygon_distance(points: NDArray[np.float64], rho: NDArray[np.float64], y: NDArray[np.float64]) -> Array:
    """Signed distance to the polygon that the profile closes along the axis."""
    best = np.full(np.broadcast_shapes(rho.shape, y.shape), np.inf)
    inside = np.zeros(best.shape, bool)
    for a, b in zip(points, np.roll(points, -1, 0), strict=True):
        e = b - a
        wx, wy = rho - a[0], y - a[1]
        if float(e @ e) > 1e-12 and not (a[0] < 1e-9 and b[0] < 1e-9):
            t = np.clip((wx * e[0] + wy * e[1]) / float(e @ e), 0, 1)
            best = np.minimum(best, (wx - t * e[0]) ** 2 + (wy - t * e[1]) ** 2)
        if a[1] != b[1]:
            crosses = ((a[1] <= y) != (b[1] <= y)) & (rho < a[0] + (y - a[1]) / (b[1] - a[1]) * e[0])
            inside ^= crosses
    return np.asarray(np.where(inside, -1, 1) * np.sqrt(best), np.float32)


@dataclass(frozen=True)
class View:
    """What the camera sees of a solid: everything height x width, the solid's foot at `foot` pixels from the top."""

    cover: Array
    normal: Array
    """Towards the world's x, y, z, height x width x 3."""
    occlusion: Array
    """1 in the open, towards 0 in creases and where the ground is near."""
    at: tuple[Array, Array, Array]
    """Place on the solid in its own coordinates, turned back."""


def rays(side: int, reach: float) -> tuple[Array, Array]:
    """Picture coordinates in sizes of the product: x to the right of its middle, y above `AIM`."""
    axis = ((np.arange(side) + 0.5) / side * 2 - 1) * reach
    return np.asarray(axis[None, :], np.float32), np.asarray(-axis[:, None], np.float32)


def look(solid: Solid, turn: float, side: int, reach: float) -> View:
    """March a ray through each pixel of a square picture that reaches `reach` to either side of the aim."""
    u, v = rays(side, reach)
    up, forth = (0.0, cos(PITCH), -sin(PITCH)), (0.0, -sin(PITCH), -cos(PITCH))
    eye = (0.0, AIM - forth[1] * DISTANCE, -forth[2] * DISTANCE)
    shape = (side, side)
    d = [np.broadcast_to(v * up[k] + (u if k == 0 else 0) + forth[k] * DISTANCE, shape) for k in range(3)]
    length = np.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2)
    d = [np.ascontiguousarray(k / length, np.float32) for k in d]
    c, s = cos(turn), sin(turn)

    def field(x: Array, y: Array, z: Array) -> Array:
        return solid(c * x - s * z, y, s * x + c * z)

    travelled = np.full(shape, DISTANCE - 0.95, np.float32)
    nearest, place = np.full(shape, 9, np.float32), travelled.copy()
    for _ in range(STEPS):
        distance = field(*(e + k * travelled for e, k in zip(eye, d, strict=True)))
        closer = distance < nearest
        nearest[closer], place[closer] = distance[closer], travelled[closer]
        travelled += np.clip(distance * 0.9, -0.02, 0.4)
    x, y, z = (np.asarray(e + k * place, np.float32) for e, k in zip(eye, d, strict=True))
    pixel = 2 * reach / side
    cover = np.clip(1.15 - nearest / pixel, 0, 1).astype(np.float32)
    normal = np.asarray(cv2.GaussianBlur(_normals(field, x, y, z, 0.01), (0, 0), 0.8), np.float32)
    return View(cover, normal, _occlusion(field, x, y, z, normal), (c * x - s * z, y, s * x + c * z))


def _normals(field: Solid, x: Array, y: Array, z: Array, step: float) -> Array:
    total = np.zeros((*x.shape, 3), np.float32)
    for e in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        total += field(x + e[0] * step, y + e[1] * step, z + e[2] * step)[..., None] * np.array(e, np.float32)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=2, keepdims=True), 1e-6), np.float32)


def _occlusion(field: Solid, x: Array, y: Array, z: Array, normal: Array) -> Array:
    lost = np.zeros(x.shape, np.float32)
    for k, step in enumerate((0.02, 0.05, 0.1, 0.18)):
        px, py, pz = (p + normal[..., i] * step for i, p in enumerate((x, y, z)))
        lost += np.maximum(step - np.minimum(field(px, py, pz), py + 0.01), 0) / step * 0.6**k
    return np.asarray(np.clip(1 - 0.55 * lost, 0.12, 1), np.float32)
