"""Consistency: how much the frames of a clip look alike. Read it beside the alignment: a frozen wrong picture is
perfectly consistent, and people's ratings follow it badly (on VideoFeedback: 7.5 by DINO and 8.9 by CLIP,
Spearman·100).

score = 1/(T-1) * sum over t >= 2 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_1))) / 2, f_t the unit vector of frame
t: the formula of VBench's subject and background consistency (arXiv 2311.17982; the whole frame in both), on all
frames. VBench's own are by DINO ViT-B/16 and CLIP ViT-B/32 in float32; on a card it runs CLIP in float16, which moves
the value by about 1e-3. By the deployment's own CLIP it is no VBench score and has another name.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream


class ClipConsistency:
    """0 to 1 (every frame like the first and the one before), of at most 8 frames a second. Needs 2 of them."""

    METRIC: ClassVar[Metric] = Metric("admint.clip_consistency", "clip_consistency@2", "proxy", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("clip", "hf.clip", "8fps"),)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._first: npt.NDArray[np.float64] | None = None
        self._before: npt.NDArray[np.float64] | None = None
        self._alike: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        features = block.features[self.NEEDS[0]]
        self._at.extend(features.frames)
        for vector in features.values.astype(np.float64):
            if self._first is None or self._before is None:
                self._first = vector
            else:
                to_before, to_first = vector @ self._before, vector @ self._first
                self._alike.append(float(np.maximum(to_before, 0) + np.maximum(to_first, 0)) / 2)
            self._before = vector

    def score(self) -> Score:
        if not self._alike:
            raise NoValue(f"needs at least 2 frames ({self.NEEDS[0].sampling})")
        frames = len(self._alike) + 1
        mean = float(np.mean(self._alike))
        return self.METRIC.value(mean, self._shot, frames, stream=self.NEEDS[0], series=self._alike, at=self._at[1:])


class SubjectConsistency(ClipConsistency):
    """VBench dimension 1."""

    METRIC = Metric("vbench.subject_consistency", "subject_consistency@1", "equal", (0, 1))
    NEEDS = (Stream("dino_vitb16", "vbench.dino224"),)


class BackgroundConsistency(ClipConsistency):
    """VBench dimension 2."""

    METRIC = Metric("vbench.background_consistency", "background_consistency@1", "equal", (0, 1))
    NEEDS = (Stream("clip_b32", "vbench.clip224"),)


class ImagenetConsistency(ClipConsistency):
    """The same by a small network that was trained on ImageNet's classes: pretrained numbers on any machine. It tells a
    wrong shape (24 of 24 rendered pairs) and hardly a wrong colour (11 of 24)."""

    METRIC = Metric("admint.imagenet_consistency", "imagenet_consistency@2", "proxy", (0, 1))
    NEEDS = (Stream("efficientnet_lite0", "lite224"),)
