"""Picture quality as people rate it, by MUSIQ (Ke et al., ICCV 2021, arXiv 2108.05997): the mean over all frames.

- `musiq.spaq` and `musiq.koniq`: the mean opinion score, 0 to 100, as Google's code computes it, with the weights for
  the data sets SPAQ (phone pictures) and KonIQ-10k (pictures from the web).
- `vbench.imaging_quality` (arXiv 2311.17982): MUSIQ-SPAQ over 100, on frames whose longer side is at most 512. VBench
  runs it in another library, whose resampling is followed (`musiq.vbench`) and whose GELU is exact where Google's is
  the tanh form; not yet compared with values of that library, hence `like`. The published code gives the value of one
  video as 0 to 100 and that of a set as 0 to 1; here it is 0 to 1.

Trained on photographs: a number for a drawing or a rendered scene says little.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream


class MusiqSpaq:
    """0 to 100, of pictures and clips."""

    METRIC: ClassVar[Metric] = Metric("musiq.spaq", "musiq_spaq@1", "equal", (0, 100))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("musiq_spaq", "musiq.google"),)
    SCALE: ClassVar[float] = 1.0
    """What a rating of the network is multiplied with."""

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._ratings: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        found = block.features[self.NEEDS[0]]
        self._ratings += [self.SCALE * float(rating) for rating in found.values.ravel()]
        self._at += found.frames

    def score(self) -> Score:
        if not self._ratings:
            raise NoValue("needs at least 1 frame")
        mean = float(np.mean(self._ratings))
        return self.METRIC.value(
            mean, self._shot, len(self._ratings), stream=self.NEEDS[0], series=self._ratings, at=self._at
        )


class MusiqKoniq(MusiqSpaq):
    """0 to 100, of pictures and clips."""

    METRIC: ClassVar[Metric] = Metric("musiq.koniq", "musiq_koniq@1", "equal", (0, 100))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("musiq_koniq", "musiq.google"),)


class ImagingQuality(MusiqSpaq):
    """0 to 1, of clips."""

    METRIC: ClassVar[Metric] = Metric("vbench.imaging_quality", "imaging_quality@1", "like", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (Stream("musiq_spaq", "musiq.vbench"),)
    SCALE: ClassVar[float] = 0.01
