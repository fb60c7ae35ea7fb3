"""CLIP consistency: how much the frames of a clip look alike. Read it beside the alignment: a frozen wrong picture is
perfectly consistent.

score = 1/(T-1) * sum over t >= 2 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_1))) / 2, f_t the unit CLIP embedding
of frame t. This is the formula of VBench's subject and background consistency (arXiv 2311.17982), on whole frames; the
backbone is the deployment's own CLIP and not VBench's, so it is no VBench score and has another name.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

FRAMES = Stream("clip", "hf.clip")


class ClipConsistency:
    """0 to 1 (every frame like the first and the one before). Needs 2 frames."""

    METRIC: ClassVar[Metric] = Metric("admint.clip_consistency", "clip_consistency@1", "proxy", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (FRAMES,)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._first: npt.NDArray[np.float64] | None = None
        self._before: npt.NDArray[np.float64] | None = None
        self._alike: list[float] = []

    def feed(self, block: Block) -> None:
        for vector in block.features[FRAMES].values.astype(np.float64):
            if self._first is None or self._before is None:
                self._first = vector
            else:
                to_before, to_first = vector @ self._before, vector @ self._first
                self._alike.append(float(np.maximum(to_before, 0) + np.maximum(to_first, 0)) / 2)
            self._before = vector

    def score(self) -> Score:
        if not self._alike:
            raise NoValue("needs at least 2 frames")
        frames = len(self._alike) + 1
        mean = float(np.mean(self._alike))
        return self.METRIC.value(mean, self._shot, frames, stream=FRAMES, series=self._alike, at=range(1, frames))
