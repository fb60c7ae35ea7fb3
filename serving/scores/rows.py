"""The table of scores: a row per file and dimension, its means, and the files that it is written to and read from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from models.interfaces import Plain
from pipelines.asked_fields import AskedFields
from pipelines.errors import BadInput
from quality.protocols import AskedProtocol
from quality.registry import UNAVAILABLE, of_name
from quality.score import Score, lowest
from quality.summaries import mixed_kinds
from serving.scores.work import FileScores, WorkItem

KEPT = "rows.jsonl"
"""In an out folder: every row as soon as it is measured."""
COLUMNS = (
    "file", "dimension", "metric_id", "value", "label", "reason", "note", "prompt", "impl_id", "protocol", "preproc",
    "backbone", "weights_sha256", "licence", "frames_used", "references", "source_sha256",
)  # fmt: skip


class Row(AskedFields):
    """One dimension of one file; or a file that could not be scored at all, with the reason."""

    file: str
    dimension: str | None = None
    """None: the file could not be scored."""
    score: Score | None = None
    reason: str | None = None
    """Why the file could not be scored."""
    source_sha256: str | None = None
    prompt: str | None = None
    references: tuple[str, ...] = ()
    """Roles and hashes of the pictures that it was compared with."""
    asked_protocol: AskedProtocol = "auto"
    models: tuple[str, ...] = ()
    """Fingerprints of the models that the dimension would use, of those that were here."""

    @property
    def key(self) -> tuple[object, ...]:
        """What must agree for this row to stand for another measurement."""
        impl = None if self.dimension is None or self.score is None else self.score.impl_id
        return (self.source_sha256, self.dimension, impl, self.asked_protocol, self.prompt, self.style,
                self.references, self.duration, self.aspect_ratio, self.overlays, self.models)  # fmt: skip


class Mean(Plain):
    """One metric over all files."""

    metric_id: str
    mean: float | None
    """None: nothing has a value, or the values were measured in different ways."""
    reason: str | None
    label: str | None
    """The lowest of the values'."""
    protocol: str | None
    files: int
    """Files with a value."""
    without: int
    """Files without one."""


def rows_of(item: WorkItem, found: FileScores, fingerprints: Mapping[str, str]) -> list[Row]:
    """The rows of one item."""
    known: dict[str, Any] = {
        "file": item.name,
        "source_sha256": found.source_sha256,
        **item.asked._asdict(),
        "asked_protocol": item.protocol,
    }
    reason = found.reason if item.dimensions else f"no dimension that was named is measured on {item.media}s"
    if reason is not None:
        return [Row(**known, reason=reason)]
    # A picture was written anew before it was measured: the hash is to be that of the file.
    scores = [score.model_copy(update={"source_sha256": found.source_sha256}) for score in found.scores]
    return [
        Row(**known, dimension=name, score=score, models=models_of(name, fingerprints))
        for name, score in zip(item.dimensions, scores, strict=True)
    ]


def models_of(dimension: str, fingerprints: Mapping[str, str]) -> tuple[str, ...]:
    """Fingerprints of the models that a dimension uses, of those that are here."""
    if dimension in UNAVAILABLE:
        return ()
    names = dict.fromkeys(stream.backbone for stream in of_name(dimension).NEEDS)
    return tuple(fingerprints[name] for name in names if name in fingerprints)


def kept_rows(
    items: Iterable[WorkItem], earlier: Sequence[Row], fingerprints: Mapping[str, str]
) -> dict[tuple[str, str | None], Row]:
    """The rows of an earlier run that stand for what is to be measured now, by file and dimension.

    They must agree in the bytes of the file, `impl_id`, protocol, what was asked for and models. A file may have
    another name since.
    """
    by_key = {row.key: row for row in earlier if row.score is not None}
    kept: dict[tuple[str, str | None], Row] = {}
    for item in items if by_key else ():
        try:
            source = hashlib.sha256(Path(item.path).read_bytes()).hexdigest()
        except OSError:
            continue  # it gets its row with the reason
        for name in item.dimensions:
            if (row := by_key.get(_expected_key(item, name, source, fingerprints))) is not None:
                kept[item.name, name] = row.model_copy(update={"file": item.name})
    return kept


def _expected_key(
    item: WorkItem, dimension: str, source_sha256: str, fingerprints: Mapping[str, str]
) -> tuple[object, ...]:
    """The `key` of the row that measuring this would give."""
    impl = f"{dimension}@none" if dimension in UNAVAILABLE else of_name(dimension).METRIC.impl_id
    return (source_sha256, dimension, impl, item.protocol, *item.asked, models_of(dimension, fingerprints))


def means(rows: Iterable[Row]) -> list[Mean]:
    """Each dimension over its files, in the order of first appearance; none where values were measured in different
    ways. Two may be of one metric: flickering of all clips, and of those in which nothing moves."""
    found: dict[tuple[str, str], list[Score]] = {}
    for row in rows:
        if row.score is not None and row.dimension is not None:
            found.setdefault((row.score.metric_id, row.dimension), []).append(row.score)
    return [_mean(metric, scores) for (metric, _), scores in found.items()]


def _mean(metric_id: str, scores: Sequence[Score]) -> Mean:
    measured = [score for score in scores if score.raw is not None]
    mixed = mixed_kinds(measured) if measured else None
    values = [score.raw for score in measured if score.raw is not None]
    reason = mixed or (None if values else next((score.reason for score in scores), None))
    protocols = {score.protocol for score in measured}
    return Mean(
        metric_id=metric_id,
        mean=None if reason is not None else fmean(values),
        reason=reason,
        label=lowest([score.fidelity for score in measured if score.fidelity is not None]) if measured else None,
        protocol=protocols.pop() if len(protocols) == 1 else None,
        files=len(measured),
        without=len(scores) - len(measured),
    )


# --- written ---


def flat(row: Row) -> dict[str, Any]:
    """A row as JSON with the fields of COLUMNS, and `series`."""
    known = {} if row.score is None else row.score.model_dump(mode="json")
    return {
        **{column: known.get(column) for column in COLUMNS},
        "file": row.file,
        "dimension": row.dimension,
        "prompt": row.prompt,
        "value": known.get("raw"),
        "label": known.get("fidelity"),
        "reason": row.reason if row.score is None else row.score.reason,
        "references": list(row.references),
        "source_sha256": row.source_sha256,
        "series": known.get("series"),
    }


def as_json(rows: Sequence[Row]) -> str:
    """An object with all rows and the means."""
    document = {"scores": [flat(row) for row in rows], "means": [mean.model_dump(mode="json") for mean in means(rows)]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """A line per row, with the columns COLUMNS."""
    return csv_of(({**flat(row), "references": " ".join(row.references)} for row in rows), COLUMNS)


def csv_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A CSV with a head line; fields beyond `columns` are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def parquet_libraries() -> tuple[Any, Any]:
    """pyarrow and its Parquet module. Raises BadInput where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput("Parquet needs pyarrow: pip install 'admint[server]', or leave it out of --format") from None
    return pyarrow, pyarrow.parquet


def write_parquet(rows: Sequence[Row], file: Path) -> None:
    """A table with the columns COLUMNS and `series`. Raises BadInput where pyarrow is not installed."""
    arrow, parquet = parquet_libraries()
    text, number = arrow.string(), arrow.float64()
    series = arrow.struct([("values", arrow.list_(number)), ("seconds", arrow.list_(number))])
    kinds = {"value": number, "frames_used": arrow.int64(), "references": arrow.list_(text), "series": series}
    schema = arrow.schema([(name, kinds.get(name, text)) for name in (*COLUMNS, "series")])
    parquet.write_table(arrow.Table.from_pylist([flat(row) for row in rows], schema=schema), file)


# --- kept and read again ---


class Kept:
    """The rows of an out folder, appended as they are measured."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput for a folder that cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / KEPT).open("a+", encoding="utf-8")
            self._file.seek(0)
            whole = self._file.read().rpartition("\n")
            if whole[2]:  # a line that was cut off: the next one is not to be appended to it
                self._file.truncate(len("".join(whole[:2]).encode()))
        except OSError as error:
            raise BadInput(f"--out {str(folder)!r} cannot be written: {error.strerror}") from None

    def add(self, rows: Iterable[Row]) -> None:
        self._file.writelines(row.model_dump_json() + "\n" for row in rows)
        self._file.flush()

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def read_kept(folder: Path) -> list[Row]:
    """The rows of an out folder, of a file and dimension the last one; a last line that was cut off is left out.

    Raises BadInput for a folder without any, and for a line that is none.
    """
    file = folder / KEPT
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        raise BadInput(f"{str(folder)!r} holds no {KEPT}: give the --out folder of an earlier `admint score`") from None
    rows: dict[tuple[str, str | None], Row] = {}
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            row = Row.model_validate_json(line)
        except ValidationError:
            raise BadInput(f"{str(file)!r}, line {number} is no row of scores: score the files anew") from None
        rows.pop((row.file, None), None)
        rows[row.file, row.dimension] = row
    return list(rows.values())
