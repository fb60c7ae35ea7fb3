"""The page of scores: every file with its values, labels, notes and curves, in one HTML file without a script.

A similarity stands beside the alignment and the dynamics of the same file: a frozen clip, and one that shows the wrong
thing throughout, are perfectly alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quality.registry import COMPANIONS
from quality.score import Score, Series
from serving.scores.rows import Mean, Row, means
from serving.scores.work import BESIDE

WIDTH, HEIGHT, MARGIN = 320, 56, 4
"""Of a curve, in the units of its picture."""
MOST_POINTS = 400
"""Of one curve: a longer one keeps the least and greatest value of each stretch."""


@dataclass(frozen=True)
class Shown:
    """One score as the page shows it."""

    score: Score
    curve: str | None
    """Points of its polyline."""
    low: float
    """Least value of the curve."""
    high: float
    beside: tuple[tuple[str, str], ...]
    """Of a similarity: what stands beside it, with its value or the reason why there is none."""


@dataclass(frozen=True)
class ShownFile:
    """One file as the page shows it."""

    name: str
    prompt: str | None
    reason: str | None
    scores: tuple[Shown, ...]


def page(rows: Sequence[Row], title: str) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader

    files: dict[str, list[Row]] = {}
    for row in rows:
        files.setdefault(row.file, []).append(row)
    shown = [_file(name, own) for name, own in files.items()]
    template = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                           lstrip_blocks=True).get_template("scores.html.j2")  # fmt: skip
    summary: list[Mean] = means(rows)
    return template.render(title=title, files=shown, means=summary, width=WIDTH, height=HEIGHT)


def _file(name: str, rows: Sequence[Row]) -> ShownFile:
    scores = {row.dimension: row.score for row in rows if row.dimension is not None and row.score is not None}
    reason = next((row.reason for row in rows if row.reason is not None), None)
    shown = tuple(_shown(dimension, score, scores) for dimension, score in scores.items())
    return ShownFile(name, rows[0].prompt, reason, shown)


def _shown(dimension: str, score: Score, scores: Mapping[str, Score]) -> Shown:
    beside = beside_of(dimension, scores) if score.raw is not None else ()
    if score.series is None or len(score.series.values) < 2:
        return Shown(score, None, 0, 0, beside)
    low, high = min(score.series.values), max(score.series.values)
    return Shown(score, _points(score.series, low, high), low, high, beside)


def beside_of(dimension: str, scores: Mapping[str, Score]) -> tuple[tuple[str, str], ...]:
    """What must stand beside a similarity, with its value or why there is none; () for a dimension that is none."""
    if dimension not in COMPANIONS:
        return ()
    return tuple((name, _said(scores.get(name))) for name in dict.fromkeys((*COMPANIONS[dimension], *BESIDE)))


def _said(score: Score | None) -> str:
    if score is None:
        return "not measured"
    return f"no value: {score.reason}" if score.raw is None else f"{score.raw:.4g} ({score.fidelity})"


def _points(series: Series, low: float, high: float) -> str:
    first, last = series.seconds[0], series.seconds[-1]
    across = (WIDTH - 2 * MARGIN) / ((last - first) or 1)
    up = (HEIGHT - 2 * MARGIN) / ((high - low) or 1)
    points = zip(*_thinned(series), strict=True)
    return " ".join(
        f"{MARGIN + across * (second - first):.1f},{HEIGHT - MARGIN - up * (value - low):.1f}"
        for second, value in points
    )


def _thinned(series: Series) -> tuple[list[float], list[float]]:
    """Seconds and values; of a long one the least and the greatest of each stretch, in the order of time."""
    count = len(series.values)
    if count <= MOST_POINTS:
        return list(series.seconds), list(series.values)
    stretches = MOST_POINTS // 2
    chosen: list[int] = []
    for number in range(stretches):
        places = range(number * count // stretches, (number + 1) * count // stretches)
        ends = {min(places, key=series.values.__getitem__), max(places, key=series.values.__getitem__)}
        chosen += sorted(ends)
    return [series.seconds[at] for at in chosen], [series.values[at] for at in chosen]
