"""Temporal flickering: how little the pixels change from frame to frame. VBench dimension 3, no weights.

score = (255 - mean over pairs t of mean over pixels of |I_t - I_{t+1}|) / 255, over all frames. 1 is a still picture.
Source: VBench (arXiv 2311.17982), `vbench/temporal_flickering.py`; on eight clips the official code, which counts in
float32, gives the same to 4e-8.

For its own prompts VBench first drops clips that move (a static filter on RAFT flow); for videos of its users, which it
calls custom input, it does not, and neither does this: the score falls with wanted movement and with every cut too.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Shot, Stream

NOTE = "no static filter was applied: wanted movement and cuts lower this score too"


class TemporalFlickering:
    """0 to 1 (a still picture). Needs 2 frames."""

    METRIC: ClassVar[Metric] = Metric(
        "vbench.temporal_flickering", "temporal_flickering@2", "equal", (0, 1), cpu_seconds=0.1
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._before: Pixels | None = None
        self._changes: list[float] = []

    def feed(self, block: Block) -> None:
        import cv2

        before = self._before
        for frame in block.frames:
            if before is not None:
                changed = cv2.absdiff(before, frame)
                self._changes.append(float(changed.sum(dtype=np.int64)) / changed.size)
            before = frame
        self._before = block.frames[-1].copy()  # a view would hold the block

    def score(self) -> Score:
        if not self._changes:
            raise NoValue("needs at least 2 frames")
        frames = len(self._changes) + 1
        return self.METRIC.value(
            (255 - float(np.mean(self._changes))) / 255,
            self._shot,
            frames,
            series=[(255 - change) / 255 for change in self._changes],
            at=range(1, frames),
            note=NOTE,
        )
