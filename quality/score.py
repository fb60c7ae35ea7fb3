"""The result of a measurement (`Score`) and what a dimension says of itself (`Metric`).

A score names everything that must agree before two may be compared. One that could not be computed has no value and a
reason; there is no third case, and a number that is not finite is no value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:  # a score is also read where nothing is measured, without numpy
    from quality.stream import Shot, Stream


class QualityError(Exception):
    """Base of everything `quality` raises on purpose."""


class UnknownDimension(QualityError):
    """No dimension of this name is registered. The message lists those that are."""


class NoValue(QualityError):
    """A dimension has no value for a shot. The message is the reason, which becomes its score's."""


Fidelity = Literal["equal", "like", "proxy", "classical", "toy"]
"""How near to the published metric, which the first word of `metric_id` names: the same number, the same formula with a
known difference, a stand-in, no learned part, or weights of a toy world."""
BEST_FIRST: tuple[Fidelity, ...] = ("equal", "like", "proxy", "classical", "toy")
Protocol = Literal["custom", "standard", "static_filtered", "long2s", "slow_fast", "i2v"]
"""How a video is cut, filtered and averaged. `custom`: the whole video as it is, as VBench measures its users' videos;
`static_filtered`: only a clip in which nothing moves; `long2s`: the mean over pieces of two seconds; `slow_fast`:
half of it that, and half how alike the pieces' first frames are."""
Medium = Literal["keyframe", "clip", "video", "scenes", "pair"]
"""What of a generation a dimension is measured on: a scene's still, its clip, the finished video with its cuts, all
scenes together, one still of a scene against another one of it."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Series(BaseModel):
    """The parts that a value is the mean of: one per frame, or one per pair of frames."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    values: tuple[Finite, ...]
    """On the metric's own scale."""
    seconds: tuple[Finite, ...]
    """When the frame of each is shown, or the later frame of its pair."""


KEPT_PARTS = 120
"""Of a series that is stored: 5 s at 24 frames per second are all there."""


def thinned(series: Series) -> Series:
    """`series` as it is stored: to six digits, and at most KEPT_PARTS parts of it.

    Of a longer one the first and the last part stay and, of each of equal stretches between them, the part that is
    farthest from the mean: what a curve is looked at for is where it leaves its level.
    """
    parts = list(zip(series.values, series.seconds, strict=True))
    if len(parts) > KEPT_PARTS:
        mean = math.fsum(series.values) / len(parts)
        inner, count = parts[1:-1], KEPT_PARTS - 2
        edges = [number * len(inner) // count for number in range(count + 1)]
        kept = [max(inner[a:b], key=lambda part: abs(part[0] - mean)) for a, b in pairwise(edges)]
        parts = [parts[0], *kept, parts[-1]]
    return Series(
        values=tuple(float(f"{value:.6g}") for value, _ in parts),
        seconds=tuple(round(second, 4) for _, second in parts),
    )


class Score(BaseModel):
    """One measured dimension of one picture, clip or video."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metric_id: str
    """What is measured: `vbench.temporal_flickering`."""
    impl_id: str
    """Which code measured it, with its version: `temporal_flickering@1`. Different ones are never averaged."""
    scene_number: int | None = None
    """The scene that was measured; None: the whole video, or not set yet."""
    protocol: Protocol = "custom"
    """How the video was cut, filtered and averaged."""
    fidelity: Fidelity | None = None
    """None when there is no value."""
    raw: Finite | None = None
    """The value on the metric's own scale."""
    normalised: Finite | None = None
    """VBench's normalisation of it; only for `equal`, because the others are on another footing."""
    range: tuple[float, float | None] | None = None
    """Least and greatest value on the metric's own scale; None for a greatest one: there is none."""
    reason: str | None = None
    """Why there is no value."""
    note: str | None = None
    """What a reader must know to read the value right."""
    frames_used: int = Field(default=0, ge=0)
    """How many frames it was measured on; 0 when there is no value."""
    series: Series | None = None
    """What the value is the mean of, where it was asked for and there is such a thing."""
    backbone: str | None = None
    """Learned model behind the value; None for a formula."""
    weights_sha256: str | None = None
    """Hash of the weights of that model."""
    licence: str | None = None
    """Licence of those weights."""
    preproc: str | None = None
    """What was done to the frames before that model saw them: `vbench.dino224`."""
    source_sha256: str | None = None
    """Hash of the file that was measured."""
    decoder: str | None = None
    """What decoded the frames, with its version."""
    dtype: str | None = None
    """Precision of the model: `float32`."""
    device: str | None = None
    """Device that it ran on: `cpu`."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Score:
        if (self.raw is None) == (self.reason is None):
            raise ValueError(f"score {self.metric_id!r} needs either a value or a reason, and not both")
        return self


OWN_NAMES = ("vbench", "admint", "toy")
"""First words of metric ids that the name of a dimension leaves out."""


@dataclass(frozen=True)
class Metric:
    """What a dimension measures, as all its scores say it."""

    id: str
    """`vbench.subject_consistency`: the first word is the publication that it is equal to, or ours."""
    impl_id: str
    """`subject_consistency@1`."""
    fidelity: Fidelity
    """The best that it can be: with the published weights, where it has any."""
    range: tuple[float, float | None]
    """Least and greatest value; None: there is no greatest."""
    protocol: Protocol = "custom"
    cpu_seconds: float | None = None
    """Measured on one core, of a clip of 5 s, 24 fps and 832 x 480, without decoding; None: not measured."""
    questions: str | None = None
    """How often a chat model is asked; None: never."""

    def value(
        self,
        raw: float,
        shot: Shot,
        frames: int,
        *,
        stream: Stream | None = None,
        series: Sequence[float] = (),
        at: Sequence[int] = (),
        note: str | None = None,
    ) -> Score:
        """The score `raw` of `shot`, measured on so many `frames`, through `stream` if it is learned.

        `series` are the parts that `raw` is the mean of, and `at` the number of each one's frame, its pair's later one.
        Raises NoValue when `raw` or a part is not finite.
        """
        wrong = sum(not math.isfinite(part) for part in series)
        if wrong:
            raise NoValue(f"not finite: {wrong} of {len(series)} {'frames' if len(series) == frames else 'values'}")
        if not math.isfinite(raw):
            raise NoValue("not finite")
        times = [shot.time(number) for number in at]
        known = self._known(shot, stream)
        return Score(
            **known,
            fidelity=self._fidelity(shot, stream),
            raw=raw,
            frames_used=frames,
            note=note,
            series=Series(values=tuple(series), seconds=tuple(times))
            if times and all(map(math.isfinite, times))
            else None,
        )

    def none(self, reason: str, shot: Shot, stream: Stream | None = None) -> Score:
        """The score without a value, because of `reason`."""
        return Score(**self._known(shot, stream), reason=reason)

    def _known(self, shot: Shot, stream: Stream | None) -> dict[str, object]:
        backbone = None if stream is None else shot.backbones.get(stream.backbone)
        known: dict[str, object] = {
            "metric_id": self.id,
            "impl_id": self.impl_id,
            "protocol": self.protocol,
            "range": self.range,
            "source_sha256": shot.source_sha256,
            "decoder": shot.decoder,
        }
        if stream is None or backbone is None:
            return {**known, "dtype": "float32", "device": "cpu"}
        return {
            **known,
            "metric_id": f"toy.{dimension_name(self.id)}" if backbone.fidelity == "toy" else self.id,
            "backbone": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            "licence": backbone.licence,
            "preproc": stream.preprocessing,
            "dtype": backbone.dtype,
            "device": backbone.device,
        }

    def _fidelity(self, shot: Shot, stream: Stream | None) -> Fidelity:
        backbone = None if stream is None else shot.backbones.get(stream.backbone)
        if backbone is None or backbone.fidelity == "published":
            return self.fidelity
        return lowest((self.fidelity, backbone.fidelity))


def dimension_name(metric_id: str) -> str:
    """The name of a metric's dimension in the registry: without the first word where that is ours or VBench's.

    `vbench.color` is `color`, `toy.clip_consistency` is `clip_consistency`, and `dover.technical` keeps its name.
    """
    first, _, rest = metric_id.partition(".")
    return rest if first in OWN_NAMES else metric_id


def lowest(labels: Sequence[Fidelity]) -> Fidelity:
    """The lowest of labels; there is at least one."""
    return max(labels, key=BEST_FIRST.index)
