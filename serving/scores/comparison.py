"""Two sets of scored files side by side: the paired difference of every metric, with its interval.

Files of the same prompt and sample number are a pair, whatever they are called; without prompts, and where two files of
a set share both, files of the same name. Whole prompts are resampled, because samples of one prompt are not independent
(`quality.paired`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from models.interfaces import Plain
from pipelines.errors import BadInput
from quality.paired import Measurement, Outcome, UnusableComparison, estimate
from quality.protocols import numbered
from quality.score import Fidelity
from quality.summaries import mixed_kinds
from serving.scores.rows import Row, read_kept

BEFORE, AFTER = "A", "B"


Pair = Callable[[Row], tuple[str, int]]
"""Of which pair a row is: the prompt, or what stands for it, and the number of the sample."""


class Difference(Plain):
    """What the second set has more of one metric than the first, in the same pairs."""

    metric_id: str
    dimension: str
    """Two of them may measure one metric: flickering of all clips, and of those in which nothing moves."""
    label: Fidelity | None
    before: float | None
    """Mean of the first set over the pairs that both have."""
    after: float | None
    difference: float | None
    """Mean of second minus first; None: there is none, see `reason`."""
    low: float | None
    """Lower end of the 95 % interval over prompts; None for fewer than 6 of them."""
    high: float | None
    pairs: int
    prompts: int
    left_out: int
    """Pairs of which one has no value, or is not there."""
    reason: str | None


def read_rows(place: Path) -> list[Row]:
    """The rows of an out folder, or of a `rows.jsonl` file. Raises BadInput."""
    return read_kept(place if place.is_dir() else place.parent) if _is_kept(place) else _refuse(place)


def _is_kept(place: Path) -> bool:
    return place.is_dir() or place.name == "rows.jsonl"


def _refuse(place: Path) -> list[Row]:
    there = "is no folder of scores" if place.exists() else "is not there"
    raise BadInput(f"{str(place)!r} {there}: give the --out folder of an `admint score`, or its rows.jsonl")


def differences(before: Sequence[Row], after: Sequence[Row]) -> list[Difference]:
    """One per metric that both sets have, in the first one's order. Raises BadInput when they share none."""
    both = (_by_metric(before), _by_metric(after))
    shared = [metric for metric in both[0] if metric in both[1]]
    if not shared:
        raise BadInput("the two have no metric in common: score both with the same --dimensions or --suite")
    pair = _paired_by(before, after)
    return [_difference(metric, both[0][metric], both[1][metric], pair) for metric in shared]


def _by_metric(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.score is not None and row.dimension is not None:
            found.setdefault((row.score.metric_id, row.dimension), []).append(row)
    return found


def _paired_by(before: Sequence[Row], after: Sequence[Row]) -> Pair:
    scored = [[row for row in rows if row.score is not None] for rows in (before, after)]
    everything = [*scored[0], *scored[1]]
    by_prompt = all(row.prompt is not None for row in everything)

    def by_number(row: Row) -> tuple[str, int]:
        found = numbered(row.file)
        number = 0 if found is None else found[1]
        if by_prompt:
            return row.prompt or "", number
        return str(Path(row.file).with_suffix("") if found is None else Path(row.file).parent / found[0]), number

    if all(len({row.file for row in rows}) == len({by_number(row) for row in rows}) for rows in scored):
        return by_number
    places = {name: place for place, name in enumerate(sorted({row.file for row in everything}))}
    return lambda row: (row.prompt or "" if by_prompt else row.file, places[row.file])


def _difference(metric: tuple[str, str], before: Sequence[Row], after: Sequence[Row], pair: Pair) -> Difference:
    measured = [row.score for row in (*before, *after) if row.score is not None and row.score.raw is not None]
    labels = [score.fidelity for score in measured if score.fidelity is not None]
    known = {"metric_id": metric[0], "dimension": metric[1], "label": labels[0] if len(set(labels)) == 1 else None}
    none: dict[str, None] = dict.fromkeys(("before", "after", "difference", "low", "high"))
    reason = mixed_kinds(measured) if measured else "no file has a value"
    if reason is None:
        try:
            return _estimated(known, _measurements(BEFORE, before, pair) + _measurements(AFTER, after, pair))
        except UnusableComparison:
            reason = "no pair of files has a value in both"
    return Difference.model_validate({**known, **none, "pairs": 0, "prompts": 0, "left_out": 0, "reason": reason})


def _estimated(known: dict[str, str | None], measured: Sequence[Measurement]) -> Difference:
    outcome = Outcome(known["metric_id"] or "", measured)
    found = estimate(outcome, {AFTER: 1.0, BEFORE: -1.0})
    pairs = [{(one.story, one.seed): one.value for one in measured if one.arm == arm} for arm in (BEFORE, AFTER)]
    common = [pair for pair, value in pairs[0].items() if value is not None and pairs[1].get(pair) is not None]
    means = [sum(of_arm[pair] or 0.0 for pair in common) / len(common) for of_arm in pairs]
    return Difference.model_validate(
        {**known, "before": means[0], "after": means[1], "difference": found.mean, "low": found.low,
         "high": found.high, "pairs": found.pairs, "prompts": found.stories, "left_out": found.left_out,
         "reason": None}
    )  # fmt: skip


def _measurements(arm: str, rows: Sequence[Row], pair: Pair) -> list[Measurement]:
    return [Measurement(arm, *pair(row), None if row.score is None else row.score.raw) for row in rows]
