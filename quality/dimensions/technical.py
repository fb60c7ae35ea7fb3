"""Technical quality: sharpness, clipping, noise and blockiness of the frames, each by a formula. No weights.

`admint.technical` is the worst of four shares from 0 to 1, so that a sharp clip cannot make up for a noisy one. Where
each share has its half is set by hand: it ranks clips of one kind of picture at one size, and follows nobody's ratings.
The parts are dimensions too, in their own units:

- `technical.sharpness`: variance of the Laplacian of luma (Pech-Pacheco et al., 2000), grey levels squared. Falls with
  blur, rises with detail, noise and a smaller picture.
- `technical.noise`: Immerkaer's estimate of the standard deviation of noise ("Fast Noise Variance Estimation", 1996),
  grey levels. Fine texture counts as noise.
- `technical.clipping`: share of the pixels that are black (at most 2) or white (at least 253) in all three channels.
- `technical.blockiness`: mean step of luma across the lines of an 8 x 8 grid, less the mean step elsewhere; grey
  levels, below 0 for none. Only finds blocks of a codec at its own size.
- `technical.exposure`: mean luma, 0 to 1. No value is better than another; it is not in `admint.technical`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Sampler, Shot, Stream

SAMPLING = "2fps"
MIN_SIDE = 16
"""Pixels of the shorter side: two of the grid's blocks."""
SHARP, NOISY, BLOCKY, CLIPPED = 50.0, 10.0, 4.0, 0.5
"""Where each share is a half, in the part's own unit."""
Luma = npt.NDArray[np.float32]


def luma(frame: Pixels) -> Luma:
    """Luma of Rec. 601, shape (height, width), 0..255."""
    import cv2

    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.float32)


def sharpness(frame: Pixels) -> float:
    """Variance of the Laplacian, grey levels squared."""
    import cv2

    return float(cv2.Laplacian(luma(frame), cv2.CV_32F).var())


def noise(frame: Pixels) -> float:
    """sqrt(pi / 2) times the mean of |I * N| / 6, N the difference of two Laplacians."""
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    found = cv2.filter2D(luma(frame), cv2.CV_32F, kernel)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(found).mean() / 6)


def clipping(frame: Pixels) -> float:
    """Share of black and white pixels."""
    import cv2

    ends = (((0, 0, 0), (2, 2, 2)), ((253, 253, 253), (255, 255, 255)))
    found = sum(cv2.countNonZero(cv2.inRange(frame, np.array(low), np.array(high))) for low, high in ends)
    return float(found / (frame.shape[0] * frame.shape[1]))


def blockiness(frame: Pixels) -> float:
    """Mean step across the grid's lines less the mean step elsewhere, grey levels."""
    grey = luma(frame)
    across, between = [], []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
        on_line = np.arange(1, len(steps) + 1) % 8 == 0
        across.append(steps[on_line])
        between.append(steps[~on_line])
    return float(np.concatenate(across).mean() - np.concatenate(between).mean())


def exposure(frame: Pixels) -> float:
    """Mean luma, 0 to 1."""
    return float(luma(frame).mean() / 255)


def shares(frame: Pixels) -> dict[str, float]:
    """The four parts of `admint.technical`, each from 0 (bad) to 1."""
    return {
        "sharpness": (sharp := sharpness(frame)) / (sharp + SHARP),
        "noise": NOISY / (noise(frame) + NOISY),
        "blockiness": BLOCKY / (max(0.0, blockiness(frame)) + BLOCKY),
        "clipping": CLIPPED / (clipping(frame) + CLIPPED),
    }


class _OfFrames(ABC):
    """The mean of a formula over frames."""

    METRIC: ClassVar[Metric]
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._sampler = Sampler(SAMPLING, shot)
        self._values: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        if min(block.frames.shape[1:3]) < MIN_SIDE:
            raise NoValue(f"needs frames of at least {MIN_SIDE} pixels")
        for place in self._sampler.pick(block):
            self._values.append(self._of(block.frames[place]))
            self._at.append(block.first + place)

    @abstractmethod
    def _of(self, frame: Pixels) -> float: ...

    def _note(self) -> str | None:
        return None

    def score(self) -> Score:
        if not self._values:
            raise NoValue("needs at least 1 frame")
        mean = float(np.mean(self._values))
        return self.METRIC.value(
            mean, self._shot, len(self._values), series=self._values, at=self._at, note=self._note()
        )


def _part(name: str, least: float, most: float | None) -> Metric:
    return Metric(f"admint.technical.{name}", f"{name}@1", "classical", (least, most), cpu_seconds=0.02)


class Sharpness(_OfFrames):
    """Grey levels squared, from 0 (a flat picture)."""

    METRIC = _part("sharpness", 0, None)

    def _of(self, frame: Pixels) -> float:
        return sharpness(frame)


class Noise(_OfFrames):
    """Grey levels, from 0."""

    METRIC = _part("noise", 0, None)

    def _of(self, frame: Pixels) -> float:
        return noise(frame)


class Clipping(_OfFrames):
    """Share of the pixels, 0 to 1."""

    METRIC = _part("clipping", 0, 1)

    def _of(self, frame: Pixels) -> float:
        return clipping(frame)


class Blockiness(_OfFrames):
    """Grey levels; 0 and below for none."""

    METRIC = _part("blockiness", -255, 255)

    def _of(self, frame: Pixels) -> float:
        return blockiness(frame)


class Exposure(_OfFrames):
    """Mean luma, 0 to 1."""

    METRIC = _part("exposure", 0, 1)

    def _of(self, frame: Pixels) -> float:
        return exposure(frame)


class Technical(_OfFrames):
    """The worst of four shares, 0 to 1, each the mean over frames; the note says which one it is."""

    METRIC = Metric("admint.technical", "technical_worst@1", "classical", (0, 1), cpu_seconds=0.06)

    def __init__(self, shot: Shot) -> None:
        super().__init__(shot)
        self._parts: list[dict[str, float]] = []

    def _of(self, frame: Pixels) -> float:
        self._parts.append(shares(frame))
        return min(self._parts[-1].values())

    def _note(self) -> str:
        means = {name: float(np.mean([parts[name] for parts in self._parts])) for name in self._parts[0]}
        return "shares: " + ", ".join(
            f"{name} {mean:.2f}" for name, mean in sorted(means.items(), key=lambda one: one[1])
        )
