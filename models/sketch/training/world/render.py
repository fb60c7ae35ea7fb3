"""From a `SceneSpec` to pixels: layers painted once, moved by the camera, laid over each other.

Painted at twice the resolution and averaged down. A clip is a set of windows over the same layers, so its first frame
is the still picture, and what comes into view was there before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.sketch.training.world.canvas import Array, Canvas, Frame, over
from models.sketch.training.world.light import LIGHTS, Light
from models.sketch.training.world.parallax import ground_window, layer_window
from models.sketch.training.world.products.catalogue import seen
from models.sketch.training.world.settings.indoors import kitchen, studio, table
from models.sketch.training.world.settings.outdoors import beach, city, desert
from models.sketch.training.world.settings.scenery import Backdrop, Place
from models.sketch.training.world.settings.woodland import forest, snow
from models.sketch.training.world.shading import Patch, Stand, paste, placed, reflection, shaded, shadow
from models.sketch.training.world.spec import SceneSpec, frame_size
from models.video.camera import Matrix, move_window, times

OVERSAMPLE = 2
PAD = 12
"""Samples around what is seen, so that blurs near the edge do not depend on how much is painted."""


@dataclass(frozen=True)
class Setting:
    painted: Callable[[Place], Backdrop]
    horizon: float
    """Where its ground is farthest away, in half short sides below the middle."""
    far: float
    """How near that is: 0 the sky, 1 the product."""


PLACES = {
    "table": Setting(table, 0.2, 0.45),
    "beach": Setting(beach, 0.05, 0.2),
    "studio": Setting(studio, 0.2, 0.75),
    "city": Setting(city, 0.2, 0.42),
    "forest": Setting(forest, 0.15, 0.3),
    "kitchen": Setting(kitchen, 0.2, 0.45),
    "desert": Setting(desert, 0.16, 0.4),
    "snow": Setting(snow, 0.16, 0.4),
}
HOURS = {"morning": 8.15, "noon": 12.0, "evening": 18.33, "night": 22.15}
"""What a watch shows."""

Window = Callable[[float], Matrix]


class Scene:
    """A spec's layers, painted widely enough for a list of shares of its move."""

    def __init__(self, spec: SceneSpec, moments: list[float], oversample: int = OVERSAMPLE) -> None:
        self.spec, self.oversample = spec, oversample
        self.height, self.width = frame_size(spec.aspect)
        self.unit = min(self.height, self.width) / 2
        setting = PLACES[spec.setting]
        horizon, contact = (v * self.unit + self.height / 2 for v in (setting.horizon, spec.ground))

        def ground(t: float) -> Matrix:
            return ground_window(spec.camera, self.height, self.width, t, setting.far, horizon, contact)

        self.frame = self._framed(moments, ground)
        light = LIGHTS[spec.time]
        backdrop = setting.painted(Place(self.frame, light, spec.time, spec.seed))
        self.cover = np.zeros((self.frame.height, self.frame.width, 2), np.float32)
        product = self._product(light, backdrop.mirror)
        self.layers: list[tuple[NDArray[np.uint8], Window]] = [
            (layer.canvas.pixels, self._moves(layer.nearness)) for layer in backdrop.layers
        ]
        self.layers.append((backdrop.ground.pixels, ground))
        self.layers.append((product, self._moves(1.0)))
        self.product_index = len(self.layers) - 1
        self.layers += [(layer.canvas.pixels, self._moves(layer.nearness)) for layer in backdrop.front]

    def _moves(self, nearness: float) -> Window:
        return lambda t: layer_window(self.spec.camera, self.height, self.width, t, nearness)

    def _framed(self, moments: list[float], ground: Window) -> Frame:
        """A canvas that holds what every layer shows at those moments."""
        corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1.0]]).T * [
            [self.width - 1],
            [self.height - 1],
            [1],
        ]
        seen_at = [self._moves(nearness)(t) @ corners for t in moments for nearness in (0.0, 1.0)]
        seen_at += [ground(t) @ corners[:, 2:] for t in moments]
        reached = np.concatenate([p[:2] / p[2] for p in seen_at], 1)
        middle = (self.width / 2, self.height / 2)
        low, high = reached.min(1) - middle, reached.max(1) + 1 - middle
        left, top = (floor(v * self.oversample - 1e-6) - PAD for v in low)
        width, height = (
            ceil(v * self.oversample + 1e-6) + PAD - start for v, start in zip(high, (left, top), strict=True)
        )
        return Frame(left, top, width, height, self.unit * self.oversample)

    def _product(self, light: Light, mirror: float) -> NDArray[np.uint8]:
        """The product with its shadow, its reflection and, for a lamp, its light."""
        spec, frame = self.spec, self.frame
        view = seen(spec.shape, spec.turn, HOURS[spec.time], spec.colour)
        stand = Stand(
            spec.x * frame.unit - frame.left, spec.ground * frame.unit - frame.top, 2 * spec.scale * frame.unit
        )
        left, top, form, share, fixed = placed(view, stand)
        rgba = shaded(form, share, fixed, spec.colour, spec.material, light)
        canvas = Canvas(frame)
        paste(canvas.pixels, shadow(view, stand, light))
        if mirror:
            paste(canvas.pixels, reflection(view, stand, left, top, rgba, mirror))
        paste(canvas.pixels, Patch(left, top, rgba))
        cover = np.dstack([form[..., 0], form[..., 0] * (share[..., 1] + share[..., 2])])
        rows = slice(max(top, 0), min(top + len(cover), frame.height))
        columns = slice(max(left, 0), min(left + cover.shape[1], frame.width))
        self.cover[rows, columns] = cover[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        if spec.shape == "lamp" and light.lamps:
            self._shine(canvas, light.lamps)
        if spec.shape == "mug" and spec.time != "noon":
            self._steam(canvas)
        return canvas.pixels

    def _steam(self, canvas: Canvas) -> None:
        """Two wisps over hot coffee, except in the heat of noon."""
        spec, size = self.spec, 2 * self.spec.scale
        foot, rows = (
            spec.ground - 0.74 * size,
            slice(canvas.row(spec.ground - 1.12 * size), canvas.row(spec.ground - 0.7 * size)),
        )
        rise = np.clip((foot - canvas.y[rows]) / (0.3 * size), 0, 1.2)
        cover = np.zeros((rise.shape[0], canvas.frame.width), np.float32)
        for at, phase in ((-0.2, 0.4), (-0.04, 2.6)):
            path = spec.x + size * (at + 0.035 * np.sin(rise * 5.5 + phase))
            width = size * (0.012 + 0.022 * rise)
            cover += np.exp(-(((canvas.x - path) / width) ** 2)) * np.clip(rise / 0.2, 0, 1) * np.clip(1 - rise, 0, 1)
        veil = np.asarray(255 * 0.42 * np.clip(cover, 0, 1), np.float32)
        patch = Patch(0, rows.start, np.asarray(cv2.merge([veil] * 4), np.uint8))
        paste(canvas.pixels, patch)

    def _shine(self, canvas: Canvas, lamps: float) -> None:
        """The lamp's halo and its light on the ground: added, but not to the lamp, whose colour would pale."""
        spec = self.spec
        size = 2 * spec.scale
        for y, radius, flat, strength in (
            (spec.ground - 0.68 * size, 0.42 * size, 1.0, 0.3),
            (spec.ground, 0.46 * size, 0.26, 0.34),
        ):
            across = np.exp(-(((canvas.x - spec.x) / radius) ** 2))
            down = np.exp(-(((canvas.y - y) / (radius * flat)) ** 2))
            light = (down * across * (1 - self.cover[..., 0]) * (strength * lamps)).astype(np.float32)
            glow = cv2.merge([light * c for c in (255, 206, 136)] + [light * 0]).astype(np.uint8)
            canvas.pixels = cv2.add(canvas.pixels, glow)

    def _matrix(self, window: Matrix) -> Matrix:
        """From samples of the frame to samples of the canvas."""
        s = self.oversample
        big = np.array([[s, 0, (s - 1) / 2], [0, s, (s - 1) / 2], [0, 0, 1.0]])
        shift = np.eye(3)
        shift[:2, 2] = -self.width * s / 2 - self.frame.left, -self.height * s / 2 - self.frame.top
        return np.asarray(shift @ big @ window @ np.linalg.inv(big))

    def _seen(self, drawn: NDArray[np.uint8] | Array, window: Matrix) -> NDArray[np.uint8] | Array:
        """A layer through a window, in samples of the frame."""
        matrix = self._matrix(window)
        size = (self.width * self.oversample, self.height * self.oversample)
        if np.allclose(window, np.eye(3), atol=1e-9):
            left, top = round(matrix[0, 2]), round(matrix[1, 2])
            return drawn[top : top + size[1], left : left + size[0]].copy()
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if abs(window[2, 1]) > 1e-9 or abs(window[2, 0]) > 1e-9:
            return np.asarray(cv2.warpPerspective(drawn, matrix, size, flags=flags))
        return np.asarray(cv2.warpAffine(drawn, matrix[:2], size, flags=flags))

    def picture(self, t: float) -> NDArray[np.uint8]:
        """The frame at share `t` of the move, height x width x 3."""
        out: NDArray[np.uint8] | None = None
        for drawn, window in self.layers:
            layer = np.asarray(self._seen(drawn, window(t)), np.uint8)
            out = np.ascontiguousarray(layer[..., :3]) if out is None else over(out, layer)
        return np.asarray(cv2.resize(out, (self.width, self.height), interpolation=cv2.INTER_AREA), np.uint8)

    def visible(self, index: int, t: float) -> NDArray[np.bool_]:
        """Where a layer covers more than half of a pixel of that frame; of the product, itself without its shadow."""
        if index == self.product_index:
            return np.asarray(self.covered(t)[..., 0] > 0.5)
        drawn, window = self.layers[index]
        layer = np.ascontiguousarray(self._seen(drawn, window(t))[..., 3])
        return np.asarray(cv2.resize(layer, (self.width, self.height), interpolation=cv2.INTER_AREA) > 127)

    def covered(self, t: float) -> Array:
        """Coverage 0 to 1 of (the whole product, its coloured parts) in that frame."""
        layer = self._seen(self.cover, move_window(self.spec.camera, self.height, self.width, t))
        return np.asarray(cv2.resize(layer, (self.width, self.height), interpolation=cv2.INTER_AREA), np.float32)


def still_moment(spec: SceneSpec) -> float:
    """The share of its move that a still picture of the scene is taken at."""
    return 0.0 if spec.camera == "static" else spec.moment


def render_array(spec: SceneSpec) -> NDArray[np.uint8]:
    """The still picture at `spec.moment` of the move, height x width x 3."""
    t = still_moment(spec)
    return Scene(spec, [t]).picture(t)


def render(spec: SceneSpec) -> Image.Image:
    """The still picture."""
    return Image.fromarray(render_array(spec))


def render_layers(spec: SceneSpec) -> tuple[NDArray[np.uint8], Array]:
    """The still picture, and the coverage 0 to 1 of (the whole product, its coloured parts): height x width x 2."""
    t = still_moment(spec)
    scene = Scene(spec, [t])
    return scene.picture(t), scene.covered(t)


def draft_layers(spec: SceneSpec) -> tuple[NDArray[np.uint8], Array]:
    """As `render_layers` without oversampling: rougher at edges, for statistics over many scenes."""
    t = still_moment(spec)
    scene = Scene(spec, [t], 1)
    return scene.picture(t), scene.covered(t)


def render_clip(spec: SceneSpec, num_frames: int) -> NDArray[np.uint8]:
    """The whole move: frames x height x width x 3; frame 0 is the picture at moment 0."""
    moments = times(num_frames)
    scene = Scene(spec, moments)
    if spec.camera == "static":
        return np.repeat(scene.picture(0.0)[None], num_frames, 0)
    return np.stack([scene.picture(t) for t in moments])


def product_mask(spec: SceneSpec, body: bool = False) -> Array:
    """Coverage 0 to 1 of the product in the still picture; of its coloured parts alone with `body`."""
    return render_layers(spec)[1][..., 1 if body else 0]
