"""Aesthetic quality: how beautiful people would find the frames. VBench dimension 6.

score = mean over all frames of (w . v_t + b) / 10, v_t the unit vector of frame t by CLIP ViT-L/14, w and b LAION's
first aesthetic predictor, which was trained on ratings from 1 to 10. Not clamped, as in VBench (arXiv 2311.17982).
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from quality.score import Metric, NoValue, Score
from quality.stream import Backbone, Block, Shot, Stream

FRAMES = Stream("clip_l14", "vbench.clip224")
HEAD = Stream("laion_v1", "as_is", "never")


class AestheticQuality:
    """Mostly 0.3 to 0.7. Needs 1 frame."""

    METRIC: ClassVar[Metric] = Metric("vbench.aesthetic_quality", "aesthetic_quality@1", "equal", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (FRAMES, HEAD)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._head = cast(Backbone, shot.backbones[HEAD.backbone])
        self._ratings: list[float] = []

    def feed(self, block: Block) -> None:
        vectors = block.features[FRAMES].values
        if len(vectors):
            try:
                ratings = self._head.features(vectors)
            except ValueError as error:
                raise NoValue(str(error)) from error
            self._ratings.extend(float(rating) / 10 for rating in ratings)

    def score(self) -> Score:
        if not self._ratings:
            raise NoValue("needs at least 1 frame")
        frames = len(self._ratings)
        return self.METRIC.value(
            float(np.mean(self._ratings)),
            self._shot,
            frames,
            stream=FRAMES,
            series=self._ratings,
            at=range(frames),
            note=f"rated by {self._head.name}, weights {(self._head.weights_sha256 or 'not hashed')[:12]}",
        )
