"""How much moves, by RAFT's optical flow between frames about an eighth of a second apart.

m_i is the mean of the largest 5 % of the flow's magnitudes of pair i, over the picture padded to multiples of 8.

- `vbench.dynamic_degree` (arXiv 2311.17982): 1 when at least round(4 N / 16) of the N - 1 pairs of N frames have
  m_i > 6 s / 256, else 0; s is the shorter side. As in the published code, two frames always make 1, because
  round(0.5) is 0. VBench's value of a set of videos is the mean.
- `admint.raft_dynamics`: mean of m_i, in pixels of a picture whose shorter side has 256. Nothing is divided by the time
  between the frames, as in VBench; at 12 frames a second that is a sixth of a second and not an eighth.

Below 128 pixels a side RAFT has no flow. There is then no value; the published code calls such a clip static.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

FLOWS = Stream("raft", "pad8", "8fps")
LARGEST = 0.05
"""Share of the pixels whose magnitudes are averaged: those that move most."""
MOVES = 6.0
"""Magnitude above which a pair moves, in pixels where the shorter side has 256."""


class RaftDynamics:
    """Pixels, from 0 (nothing moves). Needs 2 frames."""

    METRIC: ClassVar[Metric] = Metric("admint.raft_dynamics", "raft_dynamics@1", "proxy", (0, None))
    NEEDS: ClassVar[tuple[Stream, ...]] = (FLOWS,)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._largest: list[float] = []
        self._at: list[int] = []
        self._shorter = 0

    def feed(self, block: Block) -> None:
        self._shorter = min(block.frames.shape[1:3])
        found = block.features[FLOWS]
        for number, flow in zip(found.frames, found.values, strict=True):
            self._largest.append(largest(flow, LARGEST) * 256 / self._shorter)
            self._at.append(number)

    def score(self) -> Score:
        if not self._largest:
            raise NoValue("needs at least 2 frames, an eighth of a second apart")
        frames = len(self._largest) + 1
        mean = float(np.mean(self._largest))
        return self.METRIC.value(mean, self._shot, frames, stream=FLOWS, series=self._largest, at=self._at)


class DynamicDegree(RaftDynamics):
    """1 for a clip that moves, 0 for a static one. Needs 2 frames."""

    METRIC: ClassVar[Metric] = Metric("vbench.dynamic_degree", "dynamic_degree@1", "equal", (0, 1))

    def score(self) -> Score:
        if not self._largest:
            raise NoValue("needs at least 2 frames, an eighth of a second apart")
        if not np.isfinite(self._largest).all():  # `nan > 6` is false: a clip without flow would be static
            raise NoValue(f"not finite: {np.isnan(self._largest).sum()} of {len(self._largest)} values")
        frames = len(self._largest) + 1
        moving = sum(magnitude > MOVES for magnitude in self._largest)
        moves = float(moving >= round(4 * frames / 16))
        note = f"{moving} of {frames - 1} pairs move; {round(4 * frames / 16)} must"
        return self.METRIC.value(moves, self._shot, frames, stream=FLOWS, note=note)


def largest(flow: npt.NDArray[np.float32], share: float) -> float:
    """Mean of that share of a flow's magnitudes which is largest; (2, height, width), in its own pixels."""
    magnitudes = np.sqrt(flow[0] ** 2 + flow[1] ** 2).ravel()
    count = int(share * magnitudes.size)
    return float(np.partition(magnitudes, -count)[-count:].mean())
