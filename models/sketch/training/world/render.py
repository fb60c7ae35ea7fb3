"""From a `SceneSpec` to pixels: backdrop, contact shadow, shaded product, camera window.

Knows nothing of captions or models. Drawn at twice the resolution and averaged down; a clip is a set of windows over
one drawing, so its flow is exact and its first frame is the still picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.sketch.training.world.camera import margins, window
from models.sketch.training.world.drawing import FOOT, Array, Grid, Part, backdrop, grid, paint, parts
from models.sketch.training.world.spec import SceneSpec, frame_size
from models.video.camera import times

OVERSAMPLE = 2

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 36),
    "orange": (244, 128, 16),
    "yellow": (246, 214, 40),
    "green": (44, 168, 66),
    "teal": (16, 172, 176),
    "blue": (34, 78, 214),
    "purple": (130, 52, 188),
    "pink": (242, 118, 178),
    "white": (242, 242, 240),
    "black": (34, 34, 40),
}
_ROLES = {"dark": (58, 58, 64), "light": (236, 236, 236), "steel": (172, 176, 184)}
_LIGHTS: dict[str, tuple[float, float, tuple[float, float, float]]] = {
    "soft": (-0.3, 0.62, (1.0, 1.0, 1.0)),
    "warm": (-0.45, 0.58, (1.06, 1.0, 0.88)),
    "cool": (0.4, 0.58, (0.9, 0.98, 1.08)),
    "dramatic": (0.75, 0.42, (1.0, 1.0, 1.0)),
}
"""Direction of the light (left is negative), ambient share, tint."""


def _shade(part: Part, rgb: Array, material: str, light: str) -> Array:
    """Colour of each pixel of a part under the light."""
    side, ambient, _ = _LIGHTS[light]
    nz = np.sqrt(1 - part.nx**2)
    lambert = np.clip(0.85 * nz + side * part.nx, 0, 1)
    if material == "metallic":
        band = 0.5 + 0.5 * np.cos(2.2 * np.pi * (part.nx - 0.6 * side))
        level, shine = ambient + 0.1 + (0.9 - ambient) * band * nz, 0.25 * band**4
    else:
        level = ambient + (1.08 - ambient) * lambert
        width, peak = (0.16, 0.75) if material == "glossy" else (0.5, 0.06)
        shine = peak * np.exp(-(((part.nx - 0.9 * side) / width) ** 2))
    lit = rgb * (level * part.gain)[..., None]
    return np.asarray(lit + (255 - lit) * (shine * nz)[..., None], np.float32)


def _role_colour(role: str, colour: str) -> Array:
    body = np.array(PALETTE[colour], np.float32)
    if role == "body":
        return body
    if role == "accent":
        return body * 0.62 + 255 * 0.38 if colour != "white" else body * 0.8
    return np.array(_ROLES[role], np.float32)


def _local(spec: SceneSpec, g: Grid) -> tuple[Array, Array, float]:
    """Product coordinates over the grid and the width of a pixel in them."""
    size = 2 * spec.scale
    return (g.x - spec.x) / size, (spec.ground - g.y) / size + FOOT[spec.shape], g.pixel / size


def _shadow(spec: SceneSpec, g: Grid) -> Array:
    rx, ry = 0.62 * spec.scale, 0.14 * spec.scale
    r = ((g.x - spec.x - 0.1 * spec.scale) / rx) ** 2 + ((g.y - spec.ground) / ry) ** 2
    return np.asarray(0.5 * np.exp(-1.2 * r), np.float32)


def _cover(spec: SceneSpec, drawn: list[Part], size: tuple[int, int]) -> Array:
    """Coverage of (the whole product, its coloured parts)."""
    cover = np.zeros((*size, 2), np.float32)
    for part in drawn:
        cover[..., 0] += (1 - cover[..., 0]) * part.cover
        keeps = part.role in ("body", "accent")
        cover[..., 1] += ((1.0 if keeps else 0.0) - cover[..., 1]) * part.cover
    return cover


def _draw(spec: SceneSpec, g: Grid) -> tuple[Array, Array]:
    """The scene, and the product's coverage."""
    image = backdrop(spec.setting, g, spec.seed)
    paint(image, (12.0, 12.0, 18.0), _shadow(spec, g))
    drawn = parts(spec.shape, *_local(spec, g))
    for part in drawn:
        paint(image, _shade(part, _role_colour(part.role, spec.colour), spec.material, spec.light), part.cover)
    image *= np.array(_LIGHTS[spec.light][2], np.float32)
    return np.clip(image, 0, 255, out=image), _cover(spec, drawn, (g.y.shape[0], g.x.shape[1]))


def _canvas(spec: SceneSpec, moves: bool) -> tuple[Array, Array, tuple[int, int]]:
    height, width = frame_size(spec.aspect)
    my, mx = margins(height, width) if moves else (0, 0)
    image, cover = _draw(spec, grid(height, width, my, mx, OVERSAMPLE))
    return image, cover, (my, mx)


def _look(drawn: Array, spec: SceneSpec, t: float, margin: tuple[int, int]) -> Array:
    """The frame at share `t` of the move, averaged down to pixels."""
    height, width = frame_size(spec.aspect)
    s = OVERSAMPLE
    big = np.array([[s, 0, (s - 1) / 2], [0, s, (s - 1) / 2], [0, 0, 1.0]])
    shift = np.array([[1, 0, margin[1]], [0, 1, margin[0]], [0, 0, 1.0]])
    matrix = big @ shift @ window(spec, t) @ np.linalg.inv(big)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(drawn, matrix[:2], (width * s, height * s), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def render_array(spec: SceneSpec) -> NDArray[np.uint8]:
    """The still picture at `spec.moment` of the move, height x width x 3."""
    return render_layers(spec)[0]


def render(spec: SceneSpec) -> Image.Image:
    """The still picture."""
    return Image.fromarray(render_array(spec))


def render_clip(spec: SceneSpec, num_frames: int) -> NDArray[np.uint8]:
    """The whole move: frames x height x width x 3; frame 0 is the picture at moment 0."""
    image, _, margin = _canvas(spec, True)
    frames = [_look(image, spec, t, margin) for t in times(num_frames)]
    return np.rint(np.stack(frames)).astype(np.uint8)


def render_layers(spec: SceneSpec) -> tuple[NDArray[np.uint8], Array]:
    """The still picture, and the coverage 0 to 1 of (the whole product, its coloured parts): height x width x 2."""
    moves = spec.camera != "static" and spec.moment > 0
    image, cover, margin = _canvas(spec, moves)
    t = spec.moment if moves else 0.0
    return np.rint(_look(image, spec, t, margin)).astype(np.uint8), _look(cover, spec, t, margin)


def product_mask(spec: SceneSpec, body: bool = False) -> Array:
    """Coverage 0 to 1 of the product in the still picture; of its coloured parts alone with `body`."""
    height, width = frame_size(spec.aspect)
    moves = spec.camera != "static" and spec.moment > 0
    margin = margins(height, width) if moves else (0, 0)
    g = grid(height, width, *margin, OVERSAMPLE)
    cover = _cover(spec, parts(spec.shape, *_local(spec, g)), (g.y.shape[0], g.x.shape[1]))
    return _look(cover, spec, spec.moment if moves else 0.0, margin)[..., 1 if body else 0]
