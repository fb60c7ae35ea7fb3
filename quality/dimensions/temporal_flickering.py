"""Temporal flickering: how little the pixels change from frame to frame. VBench dimension 3, no weights.

score = (255 - mean over pairs t of mean over pixels of |I_t - I_{t+1}|) / 255, over all frames. 1 is a still picture.
Source: VBench (arXiv 2311.17982), `vbench/temporal_flickering.py`; on eight clips the official code, which counts in
float32, gives the same to 4e-8.

For its own prompts VBench first drops clips that move, by a static filter on RAFT flow (`StaticFlickering`); for videos
of its users, which it calls custom input, it does not, and neither does `TemporalFlickering`: that score falls with
wanted movement and with every cut too.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from quality.dimensions.dynamic_degree import largest
from quality.score import Metric, NoValue, Score
from quality.stream import Backbone, Block, Pixels, Shot, Stream

NOTE = "no static filter was applied: wanted movement and cuts lower this score too"
FLOWS = Stream("raft", "pad8", "every")
LARGEST = 0.02
"""Share of the flow's magnitudes whose mean is what a pair moves."""
MOVES = 3.0
"""What a pair moves at most in a static clip, in pixels where the shorter side has 256."""


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


class StaticFlickering(TemporalFlickering):
    """The same of a clip in which nothing moves, and a reason for any other. Needs 2 frames.

    A clip of T frames is static when at most n = round(2 T / 16) of its pairs of neighbours move more than 3 s / 256
    (s: the shorter side), and first and last frame, in both orders, no more than 2 n times that.
    """

    METRIC: ClassVar[Metric] = Metric(
        "vbench.temporal_flickering", "static_flickering@1", "equal", (0, 1), "static_filtered"
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = (FLOWS,)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        self._first: Pixels | None = None
        self._moves: list[float] = []

    def feed(self, block: Block) -> None:
        super().feed(block)
        if self._first is None:
            self._first = block.frames[0].copy()
        self._moves += [largest(flow, LARGEST) for flow in block.features[FLOWS].values]

    def score(self) -> Score:
        if self._first is None or self._before is None or not self._moves:
            raise NoValue("needs at least 2 frames")
        limit = MOVES * min(self._first.shape[:2]) / 256
        far = self._from_end_to_end(self._first, self._before)
        wrong = sum(not np.isfinite(each) for each in (*self._moves, *far))
        if wrong:
            raise NoValue(f"not finite: {wrong} of {len(self._moves) + len(far)} flows")
        most = round(2 * (len(self._moves) + 1) / 16)
        moving = sum(each > limit for each in self._moves)
        if moving > most or max(far) > limit * most * 2:
            raise NoValue(
                f"the clip moves: {moving} of {len(self._moves)} pairs of frames by more than {limit:.1f} pixels, first"
                f" to last by {max(far):.1f}; flickering is measured on static clips"
            )
        changes = self._changes
        return self.METRIC.value(
            (255 - float(np.mean(changes))) / 255,
            self._shot,
            len(changes) + 1,
            stream=FLOWS,
            series=[(255 - change) / 255 for change in changes],
            at=range(1, len(changes) + 1),
        )

    def _from_end_to_end(self, first: Pixels, last: Pixels) -> list[float]:
        """What moves from the first frame to the last, and back."""
        import torch

        from quality.preprocessing import preprocess

        backbone = cast(Backbone, self._shot.backbones[FLOWS.backbone])
        ends: Any = torch.from_numpy(np.stack([first, last]).transpose(0, 3, 1, 2).copy()).to(backbone.device)
        ready = preprocess(FLOWS.preprocessing, ends)
        return [largest(flow, LARGEST) for flow in backbone.features(torch.stack([ready, ready.flip(0)]))]
