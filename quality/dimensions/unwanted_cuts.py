"""Unwanted cuts: shot boundaries inside what was to be one shot.

- `admint.unwanted_cuts`, without weights: number of pairs of neighbouring frames whose colours differ by at least CUT
  and by CONTRAST times as much as the pairs around them do in the mean. Colours: a histogram of 8 x 8 x 8 cells of RGB;
  difference: half the sum of the absolute differences, 0 to 1. A dissolve is no cut here, and a flash of one frame is
  two.
- `admint.unwanted_cuts.transnetv2`: number of runs of frames that TransNetV2 (arXiv 2008.04838) holds for the last of a
  shot with more than LIKELY. It sees dissolves too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Backbone, Block, Pixels, Shot, Stream

CUT, CONTRAST, AROUND = 0.3, 3.0, 5
"""Least difference; how much more than its neighbours; how many pairs on each side those are."""
SMALL = Stream("transnetv2", "transnetv2", "never")
LIKELY = 0.5
WINDOW, STEP = 100, 50
"""Frames that TransNetV2 reads at once, and those in their middle whose probabilities are kept."""
MARGIN = (WINDOW - STEP) // 2


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

    METRIC: ClassVar[Metric] = Metric(
        "admint.unwanted_cuts", "histogram_cuts@1", "classical", (0, None), cpu_seconds=0.54
    )
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


class TransNetCuts:
    """Number of cuts, from 0. Needs 2 frames.

    The clip is read in overlapping windows, beyond its ends as if its first and last frame stood still. Of the frames,
    only those of one window are held, of 48 x 27 pixels each.
    """

    METRIC: ClassVar[Metric] = Metric("admint.unwanted_cuts.transnetv2", "transnetv2_cuts@2", "proxy", (0, None))
    NEEDS: ClassVar[tuple[Stream, ...]] = (SMALL,)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._held: list[Any] = []
        self._likely: list[float] = []
        self._seen = 0

    def feed(self, block: Block) -> None:
        import torch

        from quality.preprocessing import preprocess

        frames = torch.from_numpy(block.frames).permute(0, 3, 1, 2)
        small = list(preprocess(SMALL.preprocessing, frames))
        if not self._seen:
            self._held = small[:1] * MARGIN
        self._seen += len(small)
        self._held += small
        self._read()

    def score(self) -> Score:
        if self._seen < 2:
            raise NoValue("needs at least 2 frames")
        self._held += self._held[-1:] * (MARGIN + STEP - (self._seen % STEP or STEP))
        self._read()
        begin = shots(self._likely[: self._seen])
        at = ", ".join(str(number + 1) for number in begin)
        note = f"a new shot begins at frame {at}, counted from 1" if begin else None
        return self.METRIC.value(float(len(begin)), self._shot, self._seen, stream=SMALL, note=note)

    def _read(self) -> None:
        import torch

        backbone = cast(Backbone, self._shot.backbones[SMALL.backbone])
        while len(self._held) >= WINDOW:
            window = torch.stack(self._held[:WINDOW])[None].to(backbone.device)
            found = backbone.features(window)[0, MARGIN : MARGIN + STEP]
            if not np.isfinite(found).all():
                raise NoValue(f"not finite: {np.isnan(found).sum()} of {len(found)} frames")
            self._likely += found.tolist()
            del self._held[:STEP]


def shots(likely: Sequence[float]) -> tuple[int, ...]:
    """Numbers of the frames at which a new shot begins: the one after each run of frames above LIKELY.

    A run at the very end of the clip begins none, because no shot follows.
    """
    above = [probability > LIKELY for probability in likely]
    return tuple(number for number in range(1, len(above)) if above[number - 1] and not above[number])
