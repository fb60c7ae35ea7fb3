"""The product in the light: from a view of it to premultiplied colour, its shadow and its reflection.

Diffuse light with occlusion, a key light's highlight, mirrored surroundings by Fresnel's law (Schlick), a light from
behind that draws the outline. Each of the three materials answers differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.canvas import Array, Rgb
from models.sketch.training.world.light import Light
from models.sketch.training.world.products.catalogue import FOOT_ROW, REACH, SIDE, ProductView
from models.sketch.training.world.products.solids import PITCH

PALETTE: dict[str, Rgb] = {
    "red": (212, 26, 32),
    "orange": (246, 120, 8),
    "yellow": (250, 208, 24),
    "green": (40, 160, 60),
    "teal": (0, 164, 168),
    "blue": (30, 76, 216),
    "purple": (126, 44, 182),
    "pink": (244, 112, 176),
    "white": (232, 232, 231),
    "black": (30, 30, 36),
}
_ACCENT_SHARE = 0.42
"""How far the accent lies between the product's colour and white."""
WRAP = 0.2
"""How far the key light reaches around a form: a large, soft source."""
_PER_SIZE = SIDE / (2 * REACH)
"""Pixels of a view per size of the product."""


@dataclass(frozen=True)
class Stand:
    """Where a product stands on a canvas, in samples: the middle of its foot, and its size."""

    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Patch:
    """A part of a canvas: premultiplied RGBA, its left and top sample."""

    left: int
    top: int
    rgba: NDArray[np.uint8]


def paste(canvas: NDArray[np.uint8], patch: Patch) -> None:
    """Lay a premultiplied patch over a premultiplied canvas, in place."""
    height, width = patch.rgba.shape[:2]
    top, left = max(patch.top, 0), max(patch.left, 0)
    bottom, right = min(patch.top + height, canvas.shape[0]), min(patch.left + width, canvas.shape[1])
    if top >= bottom or left >= right:
        return
    above = np.ascontiguousarray(
        patch.rgba[top - patch.top : bottom - patch.top, left - patch.left : right - patch.left]
    )
    hidden = 255 - above[..., 3]
    part = canvas[top:bottom, left:right]
    canvas[top:bottom, left:right] = cv2.add(cv2.multiply(part, cv2.merge([hidden] * 4), scale=1 / 255), above)


def accent(colour: str) -> Rgb:
    """The paler companion of a product's colour."""
    if colour == "white":
        return 206, 204, 200
    r, g, b = (c + (255 - c) * (_ACCENT_SHARE if colour != "black" else 0.26) for c in PALETTE[colour])
    return r, g, b


def _smooth(value: Array, low: float, high: float) -> Array:
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def placed(view: ProductView, stand: Stand) -> tuple[int, int, Array, Array, Array]:
    """Left and top sample of the product's box, and its view's three pictures warped onto the canvas."""
    zoom = stand.size / _PER_SIZE
    left = int(np.floor(stand.x + (view.box[0] - SIDE / 2) * zoom)) - 1
    top = int(np.floor(stand.y + (view.box[1] - FOOT_ROW) * zoom)) - 1
    right = int(np.ceil(stand.x + (view.box[2] - SIDE / 2) * zoom)) + 2
    bottom = int(np.ceil(stand.y + (view.box[3] - FOOT_ROW) * zoom)) + 2
    back = np.array(
        [
            [1 / zoom, 0, (left + 0.5 - stand.x) / zoom + SIDE / 2 - 0.5 - view.box[0]],
            [0, 1 / zoom, (top + 0.5 - stand.y) / zoom + FOOT_ROW - 0.5 - view.box[1]],
        ]
    )
    flags = (cv2.INTER_LINEAR if zoom > 0.6 else cv2.INTER_AREA) | cv2.WARP_INVERSE_MAP
    size = (right - left, bottom - top)
    form, share, fixed = (cv2.warpAffine(p, back, size, flags=flags) for p in (view.form, view.share, view.fixed))
    return left, top, form, share, fixed


def shaded(form: Array, share: Array, fixed: Array, colour: str, material: str, light: Light) -> NDArray[np.uint8]:
    """Premultiplied RGBA of a product whose view was `placed`."""
    nx, ny, nz = form[..., 1], form[..., 2], form[..., 3]
    occlusion, body, pale, metal = (share[..., k] for k in range(4))
    facing = np.clip(ny * sin(PITCH) + nz * cos(PITCH), 0, 1)
    ry, rz = 2 * facing * ny - sin(PITCH), 2 * facing * nz - cos(PITCH)
    rx = 2 * facing * nx
    lx, ly, lz = np.array(light.towards) / np.linalg.norm(light.towards)
    lambert = np.clip((nx * lx + ny * ly + nz * lz + WRAP) / (1 + WRAP), 0, 1)
    toward_light = rx * lx + ry * ly + rz * lz
    grazing = (1 - facing) ** 3
    albedo = cv2.merge([np.asarray(body * c + pale * a + fixed[..., k], np.float32)
                        for k, (c, a) in enumerate(zip(PALETTE[colour], accent(colour), strict=True))])  # fmt: skip
    shade = occlusion * (0.78 + 0.22 * ny)
    keyed = lambert * (0.45 + 0.55 * occlusion)
    strip = (
        _smooth(0.16 - np.abs(rx + 0.52 * np.sign(-lx)), 0, 0.07)
        * _smooth(ry, -0.55, -0.35)
        * _smooth(-ry, -0.9, -0.75)
    )
    shine: Array
    if material == "glossy":
        mirrored_sky = 0.42 * grazing * _smooth(ry, -0.2, 0.3)
        shine = np.asarray(_smooth(toward_light, 0.955, 0.985) + 0.55 * strip + mirrored_sky, np.float32)
    elif material == "matte":
        shine = np.asarray(0.1 * _smooth(toward_light, 0.3, 1.0), np.float32)
    else:
        shine = np.asarray(0.35 * _smooth(toward_light, 0.75, 0.98), np.float32)
    steel = metal if material != "metallic" else np.maximum(metal, np.clip(body + pale, 0, 1))
    bands = (
        0.58
        + 0.42 * _smooth(ry, -0.45, -0.02)
        + 0.14 * rx * np.sign(lx)
        + 0.5 * strip
        - 0.22 * _smooth(np.abs(ry - 0.45), 0.22, 0.0)
        - 0.2 * _smooth(-ry, 0.3, 0.8)
    )
    bands += 0.55 * _smooth(toward_light, 0.6, 0.97)
    rim = grazing * np.clip(0.35 + 0.9 * nx * light.rim_side, 0, 1.2) * (0.62 if colour == "black" else 0.42)
    out = []
    for k in range(3):
        level = shade * light.ambient[k] + keyed * light.key[k]
        mirrored = bands * (light.ambient[k] + 0.62 * light.key[k]) * (0.35 + 0.65 * occlusion)
        level = level + (mirrored * 1.12 - level) * steel
        lit = albedo[..., k] * level
        lit = lit + shine * (light.key[k] * 245) + rim * (255 * light.rim[k])
        out.append(lit)
    glow = fixed[..., 3]
    if light.lamps and bool(glow.any()):
        for k, warm in enumerate((255, 214, 150)):
            shining = (0.9 + 0.3 * glow) * albedo[..., k] + 0.14 * warm * glow
            out[k] = out[k] + 0.9 * light.lamps * glow * (shining - out[k])
    cover = form[..., 0]
    rgba = cv2.merge([*(np.asarray(np.clip(c, 0, 255) * cover, np.float32) for c in out), cover * 255])
    return np.asarray(np.rint(rgba), np.uint8)


def _shadow_frame(stand: Stand, foot: float, light: Light) -> tuple[int, int, int, int]:
    right, down = light.shadow[0], light.shadow[1]
    blur = 0.22 * stand.size
    left = stand.x + min(0.0, right) * stand.size - (0.62 + foot * 0.2) * stand.size - blur
    wide = stand.x + max(0.0, right) * stand.size + (0.62 + foot * 0.2) * stand.size + blur
    return int(left), int(stand.y - 0.3 * stand.size), int(wide), int(stand.y + (down + 0.3) * stand.size)


def shadow(view: ProductView, stand: Stand, light: Light, soften: float = 1.0) -> Patch:
    """The light kept from the ground: a dark line where the product touches it, its outline away from the light."""
    left, top, right, bottom = _shadow_frame(stand, view.foot[0], light)
    size = (right - left, bottom - top)
    over, down, strength, blur = light.shadow
    zoom = stand.size / _PER_SIZE
    lean, rise = -over / (down * zoom), -1 / (down * zoom)
    x0, y0 = left + 0.5 - stand.x, top + 0.5 - stand.y
    back = np.array(
        [
            [1 / zoom, lean, x0 / zoom + lean * y0 + SIDE / 2 - 0.5 - view.box[0]],
            [0, rise, rise * y0 + FOOT_ROW - 0.5 - view.box[1]],
        ]
    )
    outline = np.ascontiguousarray(view.form[..., 0])
    thrown = cv2.warpAffine(outline, back, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    y = (np.arange(size[1]) + top + 0.5 - stand.y)[:, None] / stand.size
    thrown *= np.clip(1 - 0.62 * y / down, 0.1, 1).astype(np.float32)
    thrown = cv2.GaussianBlur(thrown, (0, 0), max(0.6, blur * soften * stand.size / 2))
    x = (np.arange(size[0]) + left + 0.5 - stand.x)[None, :] / stand.size
    reach, deep = view.foot[0] + 0.035, view.foot[1] + 0.035
    ring = np.sqrt((x / reach) ** 2 + ((y - 0.01) / deep) ** 2)
    touch = 0.6 * np.clip(1.55 - ring, 0, 1) ** 1.3 + 0.24 * np.clip(1 - (ring / 2.3) ** 2, 0, 1) ** 2
    dark = np.maximum(strength * thrown, 0) + touch - strength * thrown * touch
    dark = np.asarray(np.clip(dark, 0, 0.86), np.float32)
    rgb = [c * 0.1 for c in light.sky[1]] if light.lamps < 1 else [4, 5, 14]
    rgba = cv2.merge([np.asarray(dark * c, np.float32) for c in (*rgb, 255)])
    return Patch(left, top, np.asarray(np.rint(rgba), np.uint8))


def reflection(view: ProductView, stand: Stand, left: int, top: int, rgba: NDArray[np.uint8], share: float) -> Patch:
    """The product upside down in a polished ground, paling with distance."""
    bottom = top + rgba.shape[0]
    foot_row = min(int(stand.y + 0.9 * view.foot[1] * stand.size), bottom)
    flipped = rgba[::-1]
    start = foot_row - (bottom - foot_row)
    fading = np.clip(1 - (np.arange(len(flipped)) + start - foot_row) / (0.55 * stand.size), 0, 1) * share
    return Patch(left, start, np.asarray(np.rint(flipped * fading[:, None, None]), np.uint8))
