"""Flow dynamics: how much moves. No weights. Read it beside consistency and smoothness, which a frozen clip wins.

score = mean over pairs, about an eighth of a second apart, of the mean of the largest 5 % of optical flow magnitudes
(DIS), in pixels of a picture whose shorter side has 256. VBench's dynamic degree (arXiv 2311.17982) thresholds that
number from RAFT to 0 or 1; DIS finds less motion of small objects, so that threshold does not hold and none is set.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.flow import MIN_PIXELS, flow
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Sampler, Shot, Stream

LARGEST = 0.05
"""Share of the pixels whose magnitudes are averaged: those that move most."""
TOO_FEW = f"needs at least 2 frames of {MIN_PIXELS} pixels, an eighth of a second apart"


class FlowDynamics:
    """Pixels, from 0 (nothing moves). Needs 2 frames of at least MIN_PIXELS."""

    METRIC: ClassVar[Metric] = Metric("admint.flow_dynamics", "dis_dynamics@1", "classical", (0, None))
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._sampler = Sampler("8fps", shot)
        self._before: Pixels | None = None
        self._largest: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        shorter = min(block.frames.shape[1:3])
        if shorter < MIN_PIXELS:
            raise NoValue(TOO_FEW)
        for place in self._sampler.pick(block):
            frame = block.frames[place]
            if self._before is not None:
                self._largest.append(_largest(self._before, frame) * 256 / shorter)
                self._at.append(block.first + place)
            self._before = frame

    def score(self) -> Score:
        if not self._largest:
            raise NoValue(TOO_FEW)
        mean = float(np.mean(self._largest))
        return self.METRIC.value(mean, self._shot, len(self._largest) + 1, series=self._largest, at=self._at)


def _largest(before: Pixels, after: Pixels) -> float:
    """Mean of the largest magnitudes of the flow between two frames, in pixels."""
    magnitudes = np.linalg.norm(flow(before, after), axis=2).ravel()
    count = max(1, round(LARGEST * magnitudes.size))
    return float(np.partition(magnitudes, -count)[-count:].mean())
