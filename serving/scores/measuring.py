"""Many files measured so that it can be broken off: each row is kept as soon as it is there, and none is made twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from configs.settings import Profile
from serving.scores import rows as table
from serving.scores.local import (
    dimensions_of,
    fingerprints_of,
    measured_items,
    scored_in_processes,
    scorers_of,
)
from serving.scores.page import page
from serving.scores.rows import Kept, Row, kept_rows, read_kept, rows_of
from serving.scores.vbench_files import write_vbench
from serving.scores.work import FileScores, WorkItem

Elsewhere = Callable[[Sequence[WorkItem], Profile, bool], Iterator[tuple[WorkItem, FileScores]]]
"""Measures items on other machines, in any order; the last argument: whether scores have their curve over time."""


def measured_rows(
    items: Sequence[WorkItem],
    profile: Profile,
    out: Path | None = None,
    *,
    resume: bool = False,
    jobs: int = 1,
    elsewhere: Elsewhere | None = None,
) -> list[Row]:
    """The rows of all items, in order, measured by this process, by `jobs` processes beside it, or `elsewhere`.

    Each new row is added to the folder `out` at once; with `resume`, those that it holds of the same file, question
    and scorers are kept. Raises BadInput, UnknownDimension, WeightsError.
    """
    prints = fingerprints_of(profile, dimensions_of(items))
    earlier = read_kept(out) if resume and out is not None and out.exists() else []
    known = kept_rows(items, earlier, prints)
    left = []
    for item in items:
        names = tuple(name for name in item.dimensions if (item.name, name) not in known)
        if names or not item.dimensions:
            left.append(item.model_copy(update={"dimensions": names}))
    found: dict[tuple[str, str | None], Row] = dict(known)
    kept = None if out is None else Kept(out)
    try:
        if kept is not None:
            there = {(row.file, row.dimension): row for row in earlier}
            kept.add(row for key, row in known.items() if there.get(key) != row)
        for item, scores in _scored(left, profile, out is not None, jobs, elsewhere):
            rows = rows_of(item, scores, prints)
            found |= {(row.file, row.dimension): row for row in rows}
            if kept is not None:
                kept.add(rows)
    finally:
        if kept is not None:
            kept.close()
    keys = [(item.name, name) for item in items for name in (None, *item.dimensions)]
    return [found[key] for key in keys if key in found]


def _scored(
    items: Sequence[WorkItem], profile: Profile, series: bool, jobs: int, elsewhere: Elsewhere | None
) -> Iterator[tuple[WorkItem, FileScores]]:
    if not items:
        return
    if elsewhere is not None:
        yield from elsewhere(items, profile, series)
    elif jobs > 1:
        yield from zip(items, scored_in_processes(profile, items, jobs, series), strict=True)
    else:
        with closing(scorers_of(profile)) as scorers:
            yield from zip(items, measured_items(scorers, items, dimensions_of(items), series), strict=True)


def write_scores(rows: Sequence[Row], out: Path, formats: Collection[str]) -> tuple[str, ...]:
    """Write the table into the folder `out`, of `json`, `csv`, `parquet`, `html` and `vbench` what is in `formats`.

    Returns the metrics of VBench that are not in its files, each with the reason.
    """
    name = out.resolve().name
    if "json" in formats:
        (out / "scores.json").write_text(table.as_json(rows), encoding="utf-8")
    if "csv" in formats:
        (out / "scores.csv").write_text(table.as_csv(rows), encoding="utf-8")
    if "parquet" in formats:
        table.write_parquet(rows, out / "scores.parquet")
    if "html" in formats:
        (out / "scores.html").write_text(page(rows, name), encoding="utf-8")
    return write_vbench(rows, out, name) if "vbench" in formats else ()
