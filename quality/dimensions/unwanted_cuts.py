"""Unwanted cuts: shot boundaries inside what was to be one shot, by colour histograms. No weights.

score = number of pairs of neighbouring frames whose colours differ by at least CUT and by CONTRAST times as much as
the pairs around them do in the mean. Colours: a histogram of 8 x 8 x 8 cells of RGB; difference: half the sum of the
absolute differences, 0 to 1. A dissolve is no cut here, and a flash of one frame is two. A learned detector
(TransNetV2) sees more, and is another implementation.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Shot, Stream

CUT, CONTRAST, AROUND = 0.3, 3.0, 5
"""Least difference; how much more than its neighbours; how many pairs on each side those are."""


def colours(frame: Pixels) -> npt.NDArray[np.float64]:
    """Share of the pixels in each of 512 cells of RGB."""
    cells = (frame >> 5).astype(np.int32)
    index = (cells[..., 0] << 6) | (cells[..., 1] << 3) | cells[..., 2]
    return np.bincount(index.ravel(), minlength=512) / index.size


def cuts(differences: npt.NDArray[np.float64]) -> list[int]:
    """Places in `differences`, one per pair of neighbours, at which a new shot begins."""
    found = []
    for place, here in enumerate(differences):
        near = np.r_[differences[max(0, place - AROUND) : place], differences[place + 1 : place + 1 + AROUND]]
        if here >= CUT and (near.size == 0 or here >= CONTRAST * near.mean()):
            found.append(place)
    return found


class HistogramCuts:
    """Number of cuts, from 0. Needs 2 frames."""

    METRIC: ClassVar[Metric] = Metric("admint.unwanted_cuts", "histogram_cuts@1", "classical", (0, None))
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._before: npt.NDArray[np.float64] | None = None
        self._differences: list[float] = []

    def feed(self, block: Block) -> None:
        for frame in block.frames:
            here = colours(frame)
            if self._before is not None:
                self._differences.append(float(np.abs(here - self._before).sum() / 2))
            self._before = here

    def score(self) -> Score:
        if not self._differences:
            raise NoValue("needs at least 2 frames")
        places = cuts(np.array(self._differences))
        at = ", ".join(str(place + 2) for place in places)
        return self.METRIC.value(
            float(len(places)),
            self._shot,
            len(self._differences) + 1,
            note=f"a new shot begins at frame {at}, counted from 1" if places else None,
        )
