"""The page of scores: every file with its values, labels, notes and curves, in one HTML file without a script.

A similarity stands beside the alignment and the dynamics of the same file: a frozen clip, and one that shows the wrong
thing throughout, are perfectly alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quality.registry import COMPANIONS
from quality.score import Score, Series, dimension_name
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
    return template.render(title=title, files=shown, means=_with_companions(means(rows)), width=WIDTH, height=HEIGHT)


def _with_companions(summary: Sequence[Mean]) -> list[tuple[Mean, tuple[tuple[str, str], ...]]]:
    """Each mean, with what must stand beside it where it is a similarity's."""
    said = {
        dimension_name(one.metric_id): f"no mean: {one.reason}" if one.mean is None else f"{one.mean:.4g} ({one.label})"
        for one in summary
    }
    return [(one, () if one.mean is None else beside_of(dimension_name(one.metric_id), said)) for one in summary]


def _file(name: str, rows: Sequence[Row]) -> ShownFile:
    scores = {row.dimension: row.score for row in rows if row.dimension is not None and row.score is not None}
    reason = next((row.reason for row in rows if row.reason is not None), None)
    shown = tuple(_shown(dimension, score, scores) for dimension, score in scores.items())
    return ShownFile(name, rows[0].prompt, reason, shown)


def _shown(dimension: str, score: Score, scores: Mapping[str, Score]) -> Shown:
    said = {name: _said(other) for name, other in scores.items()}
    beside = beside_of(dimension, said) if score.raw is not None else ()
    if score.series is None or len(score.series.values) < 2:
        return Shown(score, None, 0, 0, beside)
    low, high = min(score.series.values), max(score.series.values)
    return Shown(score, _points(score.series, low, high), low, high, beside)


def beside_of(dimension: str, said: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What must stand beside a similarity, as it is `said`; () for a dimension that is none."""
    if dimension not in COMPANIONS:
        return ()
    names = dict.fromkeys((*COMPANIONS[dimension], *BESIDE))
    return tuple((name, said.get(name, "not measured")) for name in names)


def _said(score: Score) -> str:
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
