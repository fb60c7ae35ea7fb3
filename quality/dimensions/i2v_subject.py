"""Image-to-video subject: how much a clip keeps of the picture that it was made from. VBench-I2V's `i2v_subject`.

score = 0.4 * max over t of c_t + 0.3 * mean over t of p_t + 0.3 * min over t of p_t, c_t = max(0, cos(f_t, f)) to the
picture and p_t = max(0, cos(f_t, f_t-1)) to the frame before, by DINO ViT-B/16 (VBench++, arXiv 2411.13503). The
weights are those of its published code since July 2024, when it also began to cut 224 of 256 pixels; the first beta had
0.5, 0.5 and 0.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.preprocessing import embedded
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

FRAMES = Stream("dino_vitb16", "i2v.dino")
OF_PICTURE = "i2v.dino.pil"
"""VBench-I2V reads the picture by Pillow and the frames as tensors."""
LIKE_PICTURE, LIKE_BEFORE, LEAST_LIKE_BEFORE = 0.4, 0.3, 0.3


class I2VSubject:
    """0 to 1. Needs 2 frames and the picture that the clip was made from."""

    METRIC: ClassVar[Metric] = Metric("vbench_i2v.subject", "i2v_subject@3", "equal", (0, 1), "i2v")
    NEEDS: ClassVar[tuple[Stream, ...]] = (FRAMES,)

    def __init__(self, shot: Shot) -> None:
        if shot.start is None:
            raise NoValue("needs the picture that the clip was made from")
        self._shot = shot
        self._picture = embedded(shot.backbones[FRAMES.backbone], OF_PICTURE, [shot.start])[0].astype(np.float64)
        self._before: npt.NDArray[np.float64] | None = None
        self._to_picture: list[float] = []
        self._to_before: list[float] = []

    def feed(self, block: Block) -> None:
        for vector in block.features[FRAMES].values.astype(np.float64):
            self._to_picture.append(max(0.0, float(vector @ self._picture)))
            if self._before is not None:
                self._to_before.append(max(0.0, float(vector @ self._before)))
            self._before = vector

    def score(self) -> Score:
        if not self._to_before:
            raise NoValue("needs at least 2 frames")
        frames = len(self._to_picture)
        steps = LIKE_BEFORE * float(np.mean(self._to_before)) + LEAST_LIKE_BEFORE * min(self._to_before)
        raw = LIKE_PICTURE * max(self._to_picture) + steps
        return self.METRIC.value(raw, self._shot, frames, stream=FRAMES, series=self._to_picture, at=range(frames))
