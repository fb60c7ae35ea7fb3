"""The scores as the report shows them: value, label and curve, a similarity never alone, and where a moment is seen.

A curve is the series of a score over time, drawn as SVG. Its moments are places in the finished video, so that one
click on a bad second goes to that frame.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.records import Take
from pipelines.steps import Json
from quality.registry import COMPANIONS
from quality.score import Score, Series
from quality.summaries import dimension

WIDTH, HEIGHT, EDGE = 320, 56, 6
"""Of a curve, in the units of its SVG."""
SEEK = """
document.addEventListener("click", (event) => {
  const video = document.querySelector("video"), target = event.target.closest("[data-at], [data-from]");
  if (!video || !target) return;
  let at = Number(target.dataset.at);
  if (target.dataset.from !== undefined) {
    const box = target.getBoundingClientRect(), from = Number(target.dataset.from);
    at = from + (Number(target.dataset.to) - from) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }
  video.pause();
  video.currentTime = at;
  video.scrollIntoView({block: "center"});
});
"""
"""The only script of the page: a click on a curve, or on one of its moments, goes to that frame of the video."""
SEEK_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(SEEK.encode()).digest()).decode()}'"
"""What the page's Content-Security-Policy allows to run: this script and no other."""


@dataclass(frozen=True)
class Moment:
    """The lowest or the highest part of a series."""

    word: str
    value: float
    second: float
    """As a reader is told: of the finished video, or of the clip where there is none."""
    at: float | None
    """Second of the finished video at which that frame is seen; None: no video to go to."""
    x: float
    y: float


@dataclass(frozen=True)
class Curve:
    """A series, drawn."""

    points: str
    """Of an SVG polyline."""
    moments: tuple[Moment, ...]
    begin: float | None
    """Second of the finished video at its left edge."""
    end: float | None


@dataclass(frozen=True)
class ScoreRow:
    """One line of the scores."""

    score: Score
    name: str
    curve: Curve | None
    beside: tuple[tuple[str, str], ...]
    """Of a similarity: name and value, or the reason for none, of what must be read with it."""


@dataclass(frozen=True)
class ScoreGroup:
    """What was measured of a scene, or of the whole."""

    scene_number: int | None
    rows: tuple[ScoreRow, ...]


def score_groups(scores: Sequence[Score], takes: Iterable[Take]) -> tuple[ScoreGroup, ...]:
    """The scores that have a value, scene by scene, then those of the finished video."""
    video = next((take.provenance for take in takes if take.kind == "video" and take.current), None)
    numbers = dict.fromkeys(score.scene_number for score in scores if score.raw is not None)
    ordered = sorted(numbers, key=lambda number: (number is None, number or 0))
    return tuple(ScoreGroup(number, _rows(scores, number, _place(video, number))) for number in ordered)


@dataclass(frozen=True)
class Place:
    """Where a clip is in the finished video: `second` of the clip is seen at `start + rate * second`."""

    start: float
    rate: float
    last: float
    """Second of the video's last frame."""

    def at(self, second: float) -> float:
        return min(max(self.start + self.rate * second, 0.0), self.last)


def _place(edit: Json | None, scene_number: int | None) -> Place | None:
    """Where a scene's clip was put by the edit that a video was made from (`stages.stitch.EditList`); None: nowhere.

    Half a frame is added, because a player that is sent to the very border of two frames may show the one before.
    """
    if edit is None or "timeline" not in edit:
        return None
    fps, segments = edit["timeline"]["fps"], edit["timeline"]["segments"]
    half, last = 0.5 / fps, (sum(segment["frames"] for segment in segments) - 0.5) / fps
    if scene_number is None:
        return Place(half, 1.0, last)
    begin = 0
    for clip, segment in zip(edit["clips"], segments, strict=True):
        if clip["scene_number"] == scene_number:
            supplied = segment["head"] + segment["frames"] + segment["tail"]
            # Frame 0 and the last frame of a clip stay where they are, and what is between is stretched evenly.
            stretch = (supplied - 1) * clip["native_fps"] / (max(clip["num_frames"] - 1, 1) * fps)
            return Place((begin - segment["head"]) / fps + half, stretch, last)
        begin += segment["frames"]
    return None


def _rows(scores: Sequence[Score], number: int | None, place: Place | None) -> tuple[ScoreRow, ...]:
    own = {dimension(score): score for score in scores if score.scene_number == number}
    return tuple(
        ScoreRow(
            score=score,
            name=name,
            curve=None if score.series is None else _curve(score.series, place),
            beside=tuple((each, _said(own, each)) for each in COMPANIONS.get(name, ())),
        )
        for name, score in own.items()
        if score.raw is not None
    )


def _said(own: Mapping[str, Score], name: str) -> str:
    if name not in own:
        return "not measured"
    raw = own[name].raw
    return f"not available: {own[name].reason}" if raw is None else f"{raw:.4f}"


def _curve(series: Series, place: Place | None) -> Curve | None:
    """None where there is no line to draw: fewer than two moments."""
    values, seconds = series.values, series.seconds
    if len(values) < 2 or seconds[-1] <= seconds[0]:
        return None
    low, high = min(values), max(values)
    span = seconds[-1] - seconds[0]

    def x(second: float) -> float:
        return round(EDGE + (WIDTH - 2 * EDGE) * (second - seconds[0]) / span, 1)

    def y(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share, 1)

    def at(second: float) -> float | None:
        return None if place is None else round(place.at(second), 3)

    def moment(word: str, value: float) -> Moment:
        second = seconds[values.index(value)]
        seen = at(second)
        return Moment(word, value, second if seen is None else seen, seen, x(second), y(value))

    margin = EDGE * span / (WIDTH - 2 * EDGE)
    return Curve(
        points=" ".join(f"{x(second)},{y(value)}" for value, second in zip(values, seconds, strict=True)),
        moments=(moment("lowest", low), moment("highest", high)) if high > low else (),
        begin=at(seconds[0] - margin),
        end=at(seconds[-1] + margin),
    )
