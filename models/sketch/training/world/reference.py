"""A photograph of a product alone, as a user uploads it: large in the frame, on a light background, from another side.

It is what an image adapter is shown besides ordinary scenes.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.sketch.training.world.canvas import Canvas, Frame, Rgb, over
from models.sketch.training.world.light import LIGHTS
from models.sketch.training.world.products.catalogue import REACH, SIDE, seen
from models.sketch.training.world.shading import Patch, Stand, paste, placed, shaded, shadow
from models.sketch.training.world.spec import SceneSpec

PHOTOGRAPH = 128
"""Side of the square photograph in pixels."""
TURN = 0.9
"""Largest yaw: twice what scenes show."""
_OVERSAMPLE = 2
_PAPERS: tuple[Rgb, ...] = (
    (250, 250, 250), (238, 240, 244), (246, 240, 230), (226, 232, 238), (232, 226, 222), (214, 216, 220),
)  # fmt: skip


def reference_array(product: SceneSpec | tuple[str, str, str], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The photograph as bytes; the product is a scene's, or a shape, a colour and a material."""
    shape, colour, material = (
        (product.shape, product.colour, product.material) if isinstance(product, SceneSpec) else product
    )
    side = PHOTOGRAPH * _OVERSAMPLE
    canvas = Canvas(Frame(-side // 2, -side // 2, side, side, side / 2))
    view = seen(shape, float(rng.uniform(-TURN, TURN)), colour=colour)
    left, top, right, bottom = (v / SIDE * 2 * REACH for v in view.box)
    size = 2 * rng.uniform(0.55, 0.85) / max(right - left, bottom - top)
    _paper(canvas, colour, rng)
    middle = ((left + right) / 2 - REACH) * size
    foot_below = (bottom - top) / 2 * size - 0.05 * size
    stand = Stand((1 - middle + rng.uniform(-0.06, 0.06)) * side / 2, (1 + foot_below) * side / 2, size * side / 2)
    sign = float(rng.choice((-1.0, 1.0)))
    light = replace(
        LIGHTS["noon"], towards=(sign * rng.uniform(0.2, 0.6), 0.7, 0.6), shadow=(-0.2 * sign, 0.15, 0.34, 0.07)
    )
    x, y, form, share, fixed = placed(view, stand)
    below = np.zeros_like(canvas.pixels)
    paste(below, shadow(view, stand, light))
    paste(below, Patch(x, y, shaded(form, share, fixed, colour, material, light)))
    picture = over(np.ascontiguousarray(canvas.pixels[..., :3]), below)
    return np.asarray(cv2.resize(picture, (PHOTOGRAPH, PHOTOGRAPH), interpolation=cv2.INTER_AREA), np.uint8)


def _paper(canvas: Canvas, colour: str, rng: np.random.Generator) -> None:
    """Plain or softly graded; never so white that a white product is lost."""
    papers = _PAPERS[3:] if colour == "white" else _PAPERS
    rgb = papers[int(rng.integers(len(papers)))]
    if colour == "white":
        rgb = (rgb[0] * 0.86, rgb[1] * 0.86, rgb[2] * 0.86)
    darker = (rgb[0] * 0.88, rgb[1] * 0.88, rgb[2] * 0.9)
    if rng.random() < 0.35:
        canvas.gradient([(-1, rgb), (1, rgb)])
    else:
        canvas.gradient([(-1, darker), (0.4, rgb), (1, rgb)])
        canvas.glow(0, 0, 0.9, tuple(min(255.0, c * 1.04) for c in rgb), 0.7)  # type: ignore[arg-type]


def render_reference(product: SceneSpec | tuple[str, str, str], rng: np.random.Generator) -> Image.Image:
    """The photograph as a picture."""
    return Image.fromarray(reference_array(product, rng))
