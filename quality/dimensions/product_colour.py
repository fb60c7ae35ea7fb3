"""Product colour: how far the colours of the product in a clip are from those of its reference picture. No weights.

score = mean over frames of the CIEDE2000 difference of two palettes (`quality.colour`): the product's in the frame and
the reference's. Of both pictures only what differs from its own border counts, the product and not what is behind it.
Neither keypoints nor ImageNet features see a wrong colour, so product identity is never one of these numbers alone.

Light changes colours too: in 60 rendered scenes at all hours the right product is 3 to 15 from its photograph, one of
another colour 15 to 33 (5th to 95th percentile). So two clips of one scene can be compared, and a maximum needs its own
kind of scene.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.asked import Box
from quality.colour import Palette, ciede2000, lab, palette, palette_difference
from quality.references import of_references
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Reference, Sampler, Shot, Stream

MIDDLE: Box = (0.2, 0.2, 0.8, 0.8)
"""Where the product is looked for when nobody says where it is."""
GUESSED = "nobody said where the product is: the middle of the frame was looked at"
UNLIKE = 8.0
"""CIEDE2000 from every main colour of the border, from which a pixel is no background."""
BORDER = 0.06
"""Width of the border, in shorter sides."""
SIDE = 96
"""Longer side in pixels at which colours are looked at."""
LEAST = 0.02
"""Share of a crop that must differ from its border; else the whole crop counts."""


class ProductColour:
    """CIEDE2000, from 0 (the reference's colours). Needs a picture of the product."""

    METRIC: ClassVar[Metric] = Metric(
        "admint.product_colour", "ciede2000_palette@2", "classical", (0, None), cpu_seconds=0.15
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        pictures = [one for one in shot.references if one.role == "product"]
        if not pictures:
            raise NoValue("needs a picture of the product as a reference")
        self._shot = shot
        self._wanted = [reference_palette(picture) for picture in pictures]
        self._sampler = Sampler("2fps", shot)
        self._values: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        for place in self._sampler.pick(block):
            number = block.first + place
            box = MIDDLE if self._shot.product is None else self._shot.product.get(number)
            if box is None:  # the product is not in this frame
                continue
            seen = product_palette(crop(block.frames[place], box))
            self._values.append(min(palette_difference(seen, wanted) for wanted in self._wanted))
            self._at.append(number)

    def score(self) -> Score:
        if not self._values:
            raise NoValue("the product is in none of the frames that were looked at")
        return self.METRIC.value(
            float(np.mean(self._values)),
            self._shot,
            len(self._values),
            series=self._values,
            at=self._at,
            note=GUESSED if self._shot.product is None else None,
        )


def product_palette(picture: Pixels) -> Palette:
    """The main colours of what stands before the background of `picture`."""
    colours = _seen(picture)
    away = _away(colours)
    inside = colours[away] if away.mean() >= LEAST else colours.reshape(-1, 3)
    return palette(inside)


def reference_palette(reference: Reference) -> Palette:
    """`product_palette` of a reference, computed once."""
    return of_references(product_palette, "palette", [reference], lambda: product_palette(reference.pixels))


def foreground(picture: Pixels) -> npt.NDArray[np.bool_]:
    """Which pixels of `picture`, its longer side brought to at most SIDE, stand before its background."""
    return _away(_seen(picture))


def _seen(picture: Pixels) -> npt.NDArray[np.float64]:
    import cv2

    shrink = max(1.0, max(picture.shape[:2]) / SIDE)
    size = [max(1, round(length / shrink)) for length in picture.shape[1::-1]]
    return lab(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))


def _away(colours: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which pixels are unlike the border's main colours, shape (height, width)."""
    height, width = colours.shape[:2]
    deep = max(1, round(BORDER * min(height, width)))
    rim = np.ones((height, width), bool)
    rim[deep : height - deep, deep : width - deep] = False
    behind = palette(colours[rim]).colours
    found: npt.NDArray[np.bool_] = (ciede2000(colours[:, :, None], behind).min(axis=2) > UNLIKE) & ~rim
    return found


def crop(frame: Pixels, box: Box) -> Pixels:
    """The part of a frame inside of `box`, at least one pixel."""
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    x, y = min(int(left * width), width - 1), min(int(top * height), height - 1)
    return frame[y : max(y + 1, round(bottom * height)), x : max(x + 1, round(right * width))]
