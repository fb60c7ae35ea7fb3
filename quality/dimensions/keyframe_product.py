"""Keyframe product similarity: is what a still shows the product of the reference pictures?

`product_similarity` for one still: the product is found in it and cut out (`quality.finder`), and the score is the mean
cosine of the crop to the product on each reference. It tells another shape and hardly another colour: read
`keyframe_alignment` and `product_colour` beside it.
"""

from __future__ import annotations

from typing import ClassVar

from quality.cross_scene import OWN_CLIP, look_of, product_cosines
from quality.finder import DENSE, Finder
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream


class KeyframeProductSimilarity:
    """-1 to 1. Needs a picture of the product as a reference, on a plain background."""

    METRIC: ClassVar[Metric] = Metric("admint.keyframe_product_similarity", "reference_crop@1", "proxy", (-1, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (DENSE._replace(sampling="never"), OWN_CLIP._replace(sampling="never"))

    def __init__(self, shot: Shot) -> None:
        pictures = [one.pixels for one in shot.references if one.role == "product"]
        if not pictures:
            raise NoValue("needs a picture of the product as a reference")
        self._shot = shot
        self._finder = Finder(pictures, shot.backbones[DENSE.backbone])
        self._cosines: list[float] = []

    def feed(self, block: Block) -> None:
        if block.first > 0:
            return
        if (found := self._finder.find(block.frames[0])) is None:
            raise NoValue("the product of the reference was not found in the picture")
        self._cosines = product_cosines(found.picture, self._finder.references, self._shot)

    def score(self) -> Score:
        if not self._cosines:
            raise NoValue("needs at least 1 frame")
        worst = min(range(len(self._cosines)), key=self._cosines.__getitem__)
        note = f"worst {self._cosines[worst]:.4f}, reference {worst + 1}; {len(self._cosines)} references"
        mean = sum(self._cosines) / len(self._cosines)
        return self.METRIC.value(mean, self._shot, 1, stream=look_of(self._shot), note=note)
