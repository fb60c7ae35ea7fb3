"""Frozen frames: how much of a clip stands still. No weights.

score = share of the frames, from the second on, in which no cell of 16 x 16 pixels has another mean luma than in the
frame before, by more than a grey level. A frozen clip wins every score of consistency, so read this beside them; a
still life filmed by a camera that does not move is frozen too.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Shot, Stream

CELL = 16
STILL = 1.0
"""Grey levels. Measured at 384 pixels: 99 % of the pairs of a still picture stay below it after x264 at crf 17, and
99 % of those of the rendered world's slowest move (push_in over 5 s) are above 1.5, encoded or not. The pixels' own
differences tell the two apart less well: 2.8 against 3.2."""


def is_frozen(before: Pixels, after: Pixels) -> bool:
    """Whether no cell of a frame changed."""
    import cv2

    height, width = before.shape[:2]
    cells = (max(1, width // CELL), max(1, height // CELL))
    means = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), cells, interpolation=cv2.INTER_AREA)
        for frame in (before, after)
    ]
    return bool(np.abs(means[0] - means[1]).max() <= STILL)


class FrozenShare:
    """Share of the frames, 0 to 1 (nothing moves). Needs 2 frames."""

    METRIC: ClassVar[Metric] = Metric(
        "admint.freeze_loop.frozen", "frozen_cells@1", "classical", (0, 1), cpu_seconds=0.13
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._before: Pixels | None = None
        self._frozen: list[float] = []

    def feed(self, block: Block) -> None:
        before = self._before
        for frame in block.frames:
            if before is not None:
                self._frozen.append(float(is_frozen(before, frame)))
            before = frame
        self._before = block.frames[-1].copy()  # a view would hold the block

    def score(self) -> Score:
        if not self._frozen:
            raise NoValue("needs at least 2 frames")
        pairs = len(self._frozen)
        share = float(np.mean(self._frozen))
        return self.METRIC.value(share, self._shot, pairs + 1, series=self._frozen, at=range(1, pairs + 1))
