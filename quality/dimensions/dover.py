"""Technical and aesthetic quality of a clip as people rate it, by DOVER (Wu et al., ICCV 2023, arXiv 2211.04894).

Three scores of 0 to 1: `dover.technical` (noise, blur, compression), `dover.aesthetic` (what it shows, and how), and
`dover.fused` of both. Trained on videos of users, not on generated ones.

Two views of the clip are rated. Technical: three pieces of 32 frames, every second one, begun at random in each third
of the clip; of each piece 7 x 7 cut-outs of 32 x 32 pixels in full resolution, one at random in each cell of a grid,
put together to 224 x 224. Aesthetic: one frame at random of each 32nd part of the clip, brought to 224 x 224 whole. The
published code draws anew at each call, so that its scores of one clip differ; here the generator has a fixed seed: one
of its answers, and the same each time. A picture under 224 pixels is enlarged first and, as published, cut at the
places of the small one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from quality.score import Metric, NoValue, Score
from quality.stream import Backbone, Block, Shot, Stream

VIEWS = Stream("dover", "dover.views", "never")
SEED = 0
GRID, CUT = 7, 32
"""Cut-outs along each side, and the pixels of each."""
SIDE = GRID * CUT
PIECES, LENGTH, STEP = 3, 32, 2
"""Pieces of the technical view, their frames, and the distance between these."""
PARTS = 32
"""Parts of the clip of which the aesthetic view has one frame each."""


class Views:
    """Both views of a clip, taken from its blocks as they come, and their ratings: once for all three dimensions."""

    def __init__(self, shot: Shot) -> None:
        if not shot.frame_count:
            raise NoValue("needs the number of frames before they are decoded")
        self._shot = shot
        draw = np.random.default_rng(SEED)
        pieces = drawn_frames(shot.frame_count, PIECES, LENGTH, STEP, draw)
        self._wanted = pieces, drawn_frames(shot.frame_count, PARTS, 1, STEP, draw)
        self.frames = len({*self._wanted[0].tolist(), *self._wanted[1].tolist()})
        """How many are looked at."""
        self._draw = draw
        self._places: list[tuple[int, int]] = []
        """Of the cut-outs: row and column, piece by piece."""
        self._views: list[Any] = [torch.zeros(PIECES, 3, LENGTH, SIDE, SIDE, dtype=torch.uint8)]
        self._views.append(torch.zeros(1, 3, PARTS, SIDE, SIDE, dtype=torch.uint8))
        self._seen = 0
        self._ratings: tuple[float, float, float] | None = None

    def feed(self, block: Block) -> None:
        """Take a block, unless another dimension has brought it already."""
        if block.first < self._seen:
            return
        height, width = block.frames.shape[1:3]
        if min(height, width) < CUT:
            raise NoValue(f"needs frames of at least {CUT} pixels: they have {min(height, width)}")
        self._places = self._places or drawn_places((height, width), self._draw)
        for number in range(block.first, block.first + len(block.frames)):
            frame = torch.from_numpy(block.frames[number - block.first].transpose(2, 0, 1))
            technical, aesthetic = (np.flatnonzero(wanted == number) for wanted in self._wanted)
            if len(technical):
                large = enlarged(frame)
                for place in technical:
                    piece, at = divmod(int(place), LENGTH)
                    own = self._places[piece * GRID * GRID : (piece + 1) * GRID * GRID]
                    self._views[0][piece, :, at] = fragments(large, own)
            if len(aesthetic):
                whole = F.interpolate(frame[None].float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
                for place in aesthetic:
                    self._views[1][0, :, place] = whole[0].round()
        self._seen += len(block.frames)

    def ratings(self) -> tuple[float, float, float]:
        """Technical, aesthetic and fused quality of all that was fed."""
        if self._seen != self._shot.frame_count:
            raise NoValue(f"{self._seen} frames were decoded and {self._shot.frame_count} were announced")
        if self._ratings is None:
            backbone = cast(Backbone, self._shot.backbones[VIEWS.backbone])
            technical, aesthetic = backbone.features(tuple(view.to(backbone.device) for view in self._views))[0]
            self._ratings = calibrated(float(technical), float(aesthetic))
        return self._ratings


class DoverTechnical:
    """0 to 1. Needs frames of 32 pixels, and the number of frames before they are decoded."""

    METRIC: ClassVar[Metric] = Metric("dover.technical", "dover_technical@1", "equal", (0, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (VIEWS,)
    RATING: ClassVar[int] = 0

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._views = shot.once(VIEWS, lambda: Views(shot))

    def feed(self, block: Block) -> None:
        self._views.feed(block)

    def score(self) -> Score:
        return self.METRIC.value(self._views.ratings()[self.RATING], self._shot, self._views.frames, stream=VIEWS)


class DoverAesthetic(DoverTechnical):
    """0 to 1; needs what `DoverTechnical` needs."""

    METRIC: ClassVar[Metric] = Metric("dover.aesthetic", "dover_aesthetic@1", "equal", (0, 1))
    RATING = 1


class DoverFused(DoverTechnical):
    """0 to 1; needs what `DoverTechnical` needs."""

    METRIC: ClassVar[Metric] = Metric("dover.fused", "dover_fused@1", "equal", (0, 1))
    RATING = 2


def calibrated(technical: float, aesthetic: float) -> tuple[float, float, float]:
    """Technical, aesthetic and fused quality, 0 to 1 each, from the means of the raw ratings.

    Each rating is brought to mean 0 and deviation 1 of the authors' data, and the fused one is .6104 of the technical
    and .3896 of the aesthetic; a logistic function brings all three to 0..1. The constants are those of the authors'
    code since they corrected it; earlier versions swap the ratings or the sign of .08285.
    """
    one, other = (technical - 0.1107) / 0.07355, (aesthetic + 0.08285) / 0.03774
    return _logistic(one), _logistic(other), _logistic(0.6104 * one + 0.3896 * other)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def drawn_frames(frames: int, parts: int, length: int, step: int, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    """Numbers of `length` frames, `step` apart, in each of `parts` parts of a clip; over its end it begins again."""
    part, reach = frames // parts, length * step
    starts = draw.integers(0, part - reach, parts) if part > reach else np.zeros(parts, int)
    numbers: npt.NDArray[np.int64] = (part * np.arange(parts) + starts)[:, None] + step * np.arange(length)
    return numbers.ravel() % frames


def drawn_places(size: tuple[int, int], draw: np.random.Generator) -> list[tuple[int, int]]:
    """Row and column of each cut-out: piece by piece, row by row of the grid; one anywhere in each of its cells."""
    grids, offsets = [], []
    for side in size:
        cell = side // GRID
        grids.append([min(cell * number, side - CUT) for number in range(GRID)])
        shape = (PIECES, GRID, GRID)
        offsets.append(draw.integers(0, cell - CUT, shape) if cell > CUT else np.zeros(shape, int))
    return [
        (grids[0][row] + int(offsets[0][piece, row, column]), grids[1][column] + int(offsets[1][piece, row, column]))
        for piece in range(PIECES)
        for row in range(GRID)
        for column in range(GRID)
    ]


def enlarged(frame: torch.Tensor) -> torch.Tensor:
    """A frame, uint8 (3, height, width), whose sides have at least 224 pixels; rounded down, as published."""
    ratio = min(frame.shape[1:]) / SIDE
    if ratio >= 1:
        return frame
    large = F.interpolate(frame[None] / 255.0, scale_factor=1 / ratio, mode="bilinear", align_corners=False)
    return (large[0] * 255.0).to(torch.uint8)


def fragments(frame: torch.Tensor, places: Sequence[tuple[int, int]]) -> torch.Tensor:
    """The cut-outs of a frame, (3, height, width), at their rows and columns, put together to (3, 224, 224)."""
    together = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    for number, (top, left) in enumerate(places):
        row, column = (each * CUT for each in divmod(number, GRID))
        together[:, row : row + CUT, column : column + CUT] = frame[:, top : top + CUT, left : left + CUT]
    return together
