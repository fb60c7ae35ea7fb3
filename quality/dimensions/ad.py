"""What a finished ad must keep to, whatever it shows: length, ratio, black frames, clipped light, product, loudness.

No judgement: each says how far the ad is from what was asked (`quality.asked.Asked`), or how much of it is at a limit,
and where its product comes in. What was not asked for has no value. Only the product needs a network. Safe zones, which
need the words to be read, are beside them in `quality.dimensions.text`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.dimensions.technical import clipping, luma
from quality.finder import DENSE, MEASURED_WITH, SEEN, finder_of
from quality.loudness import integrated
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

LOOKED_AT = DENSE._replace(sampling="2fps")
DARK, OF_PIXELS = 32, 0.98
"""A frame is black when 98 % of its pixels have a luma below 32: what FFmpeg's `blackframe` takes too."""


class _Ad:
    """Counts the frames, which every score says."""

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._frames = 0
        self._size: tuple[int, int] | None = None

    def feed(self, block: Block) -> None:
        self._frames += len(block.frames)
        self._size = (block.frames.shape[2], block.frames.shape[1])

    def _seen(self) -> int:
        if not self._frames:
            raise NoValue("needs at least 1 frame")
        return self._frames


class Duration(_Ad):
    """How many frames the ad is longer or shorter than asked; the note says which. An exact one has 0."""

    METRIC = Metric("admint.ad.duration", "ad_duration@1", "classical", (0, None), cpu_seconds=0)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        if shot.asked.seconds is None:
            raise NoValue("needs the length that was asked for")
        self._asked = shot.asked.seconds

    def score(self) -> Score:
        frames = self._seen()
        off = frames - self._asked * self._shot.rate()
        return self.METRIC.value(abs(off), self._shot, frames, note=_sign(off))


def _sign(frames: float) -> str | None:
    return None if frames == 0 else "longer than asked" if frames > 0 else "shorter than asked"


class Ratio(_Ad):
    """How far width to height is from the ratio asked for, as a share of it: 0.01 for 1 % too wide or too high."""

    METRIC = Metric("admint.ad.ratio", "ad_ratio@1", "classical", (0, None), cpu_seconds=0)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        if shot.asked.ratio is None:
            raise NoValue("needs the ratio that was asked for")
        self._asked = shot.asked.ratio[0] / shot.asked.ratio[1]

    def score(self) -> Score:
        frames = self._seen()
        width, height = self._size or (1, 1)
        wide = width / height / self._asked
        return self.METRIC.value(max(wide, 1 / wide) - 1, self._shot, frames, note=f"{width}x{height}")


class BlackFrames(_Ad):
    """Share of the frames that are black, 0 to 1."""

    METRIC = Metric("admint.ad.black_frames", "black_frames@1", "classical", (0, 1), cpu_seconds=0.08)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        self._black: list[float] = []

    def feed(self, block: Block) -> None:
        super().feed(block)
        self._black += [float((luma(frame) < DARK).mean() >= OF_PIXELS) for frame in block.frames]

    def score(self) -> Score:
        frames = self._seen()
        return self.METRIC.value(float(np.mean(self._black)), self._shot, frames, series=self._black, at=range(frames))


class LuminanceClipping(_Ad):
    """Largest share of the pixels of a frame that are black or white in all channels, 0 to 1."""

    METRIC = Metric("admint.ad.luminance_clipping", "clipping_worst@1", "classical", (0, 1), cpu_seconds=0.1)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        self._clipped: list[float] = []

    def feed(self, block: Block) -> None:
        super().feed(block)
        self._clipped += [clipping(frame) for frame in block.frames]

    def score(self) -> Score:
        frames = self._seen()
        return self.METRIC.value(max(self._clipped), self._shot, frames, series=self._clipped, at=range(frames))


class FirstProduct(_Ad):
    """Second at which the product is first seen, from 0, looked for twice a second by the patches of its references
    (`quality.finder`): up to half a second late. Needs a picture of the product, on a plain background."""

    METRIC = Metric("admint.ad.first_product", "first_product@2", "proxy", (0, None))
    NEEDS = (LOOKED_AT,)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        pictures = [one for one in shot.references if one.role == "product"]
        if not pictures:
            raise NoValue("needs a picture of the product as a reference")
        self._dense = shot.backbones[LOOKED_AT.backbone]
        self._finder = finder_of(pictures, self._dense)
        self._looked = 0
        self._most = -1.0
        self._shown: int | None = None

    def feed(self, block: Block) -> None:
        super().feed(block)
        if self._shown is not None:
            return
        features = block.features[LOOKED_AT]
        for number, rows in zip(features.frames, features.values, strict=True):
            self._looked += 1
            self._most = max(self._most, self._finder.seen(rows[1:]))
            if self._finder.shows(block.frames[number - block.first], rows[1:]):
                self._shown = number
                return

    def score(self) -> Score:
        self._seen()
        if self._shown is None:
            raise NoValue(
                f"none of {self._looked} frames shows the product: they are like its picture by {self._most:.2f} at"
                f" most, and {SEEN} and its colours are needed"
            )
        note = None if self._dense.name == MEASURED_WITH else f"what counts as seen was measured with {MEASURED_WITH}"
        seconds = self._shot.time(self._shown)
        return self.METRIC.value(seconds, self._shot, self._looked, stream=LOOKED_AT, note=note)


class Loudness(_Ad):
    """LUFS of the sound track by ITU-R BS.1770-5."""

    METRIC = Metric("admint.ad.loudness", "bs1770@1", "classical", (-70, None), cpu_seconds=0.07)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        if shot.sound is None:
            raise NoValue(shot.without_sound or "it has no sound track")
        self._lufs = integrated(shot.sound)

    def score(self) -> Score:
        return self.METRIC.value(self._lufs, self._shot, self._seen())
