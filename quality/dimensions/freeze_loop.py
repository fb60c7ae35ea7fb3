"""Frozen frames and loops: how much of a clip stands still, and how much it comes back to what it showed.

`freeze_loop.frozen`, without weights: share of the frames, from the second on, in which no cell of 16 x 16 pixels has
another mean luma than in the frame before, by more than a grey level. A frozen clip wins every score of consistency,
so read this beside them; a still life filmed by a camera that does not move is frozen too.

`freeze_loop.repeat`: s(d) is the mean cosine, by DINO ViT-B/16, of all frames that are d apart, of 8 frames a second
and for d up to half of them. score = the largest rise of s over what it fell to before: max over d of s(d) - min over
d' <= d of s(d'). A clip that plays twice rises to a cosine of 1 again; of one that moves on, and of a frozen one, the
score is 0. Measured by EfficientNet-lite0's vectors in place of DINO's: a pan 0.0005, two seconds of it three times
0.096, there and back 0.017.
"""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Shot, Stream

FRAMES = Stream("dino_vitb16", "vbench.dino224")
APART = 1 / 8
"""Seconds between frames that are compared, at least."""
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


class Repeat:
    """The strongest repeat, 0 (none) to 2. Needs half a second. Keeps 8 vectors a second, and no frame."""

    METRIC: ClassVar[Metric] = Metric("admint.freeze_loop.repeat", "dino_repeat@1", "proxy", (0, 2))
    NEEDS: ClassVar[tuple[Stream, ...]] = (FRAMES,)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._kept: list[npt.NDArray[np.float32]] = []
        self._times: list[float] = []

    def feed(self, block: Block) -> None:
        found = block.features[FRAMES]
        for number, vector in zip(found.frames, found.values, strict=True):
            time = self._shot.time(number)
            if not self._times or not time < self._times[-1] + 0.99 * APART:  # without a rate every frame counts
                self._kept.append(vector)
                self._times.append(time)

    def score(self) -> Score:
        count = len(self._kept)
        if count < 4:
            raise NoValue("needs at least half a second")
        vectors = np.stack(self._kept).astype(np.float64)
        alike = [float((vectors[:-d] * vectors[d:]).sum(axis=1).mean()) for d in range(1, count // 2 + 1)]
        rises = [here - lowest for here, lowest in zip(alike, accumulate(alike, min), strict=True)]
        most = int(np.argmax(rises))
        after = self._times[most + 1] - self._times[0]
        note = f"frames {after:.2f} s apart, cosine {alike[most]:.4f}" if rises[most] > 1e-6 else None
        return self.METRIC.value(rises[most], self._shot, count, stream=FRAMES, note=note)
