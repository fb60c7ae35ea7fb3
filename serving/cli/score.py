"""`admint score`: quality dimensions of MP4 files on this machine, and the list of all dimensions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from quality.catalogue import Entry
    from quality.score import Score

SUFFIX = ".mp4"
COLUMNS = (
    "file", "dimension", "metric_id", "value", "label", "reason", "note", "impl_id", "protocol", "preproc", "backbone",
    "weights_sha256", "licence", "frames_used", "source_sha256",
)  # fmt: skip
Format = Literal["table", "json", "csv"]


def score(
    paths: Annotated[list[Path] | None, typer.Argument(help="MP4 files, or folders that hold some.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What they were asked to show.")] = None,
    dimensions: Annotated[str | None, typer.Option(help="Names with commas between; else all that can be.")] = None,
    profile: Annotated[str | None, typer.Option(help="Whose scorer models are used (configs/profiles).")] = None,
    form: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file, which must be new, not to stdout.")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the dimensions: what each needs and costs.")] = False,
) -> int:
    """Measure MP4 files; one that cannot be measured is a row with its reason, and the exit code is 3 then."""
    from configs.settings import Settings, load_profile
    from pipelines.errors import BadInput
    from serving.local_scores import catalogue_of

    chosen = load_profile(profile or Settings().profile)
    if out is not None and out.exists():
        raise BadInput(f"--out {str(out)!r} exists: name a new file")
    if list_them:
        _write(_listed(catalogue_of(chosen), form), out)
        return 0
    if not paths:
        raise BadInput("no file to score: give MP4 files or folders, or --list for the dimensions")
    names = tuple(filter(None, dimensions.split(","))) if dimensions is not None else _possible(catalogue_of(chosen))
    rows = list(_rows(files_of(paths), names, prompt, chosen))
    _write(_shown(rows, form), out)
    return 3 if any(row["dimension"] is None for row in rows) else 0


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and the MP4 files in folders at any depth, sorted. Raises BadInput."""
    from pipelines.errors import BadInput

    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"{str(path)!r} is not there: give MP4 files or folders")
        inside = sorted(one for one in path.rglob("*") if one.suffix.lower() == SUFFIX) if path.is_dir() else [path]
        if not inside:
            raise BadInput(f"the folder {str(path)!r} has no {SUFFIX} file")
        found |= dict.fromkeys(inside)
    return list(found)


def _possible(listed: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.name for entry in listed if entry.missing is None)


def _rows(files: Iterable[Path], names: tuple[str, ...], prompt: str | None, profile: Any) -> Iterable[dict[str, Any]]:
    from models.errors import ModelError
    from pipelines.errors import BadInput
    from serving.local_scores import measured_file, scorers_of

    with closing(scorers_of(profile)) as scorers:
        for file in files:
            try:
                scores = measured_file(scorers, file, names, prompt)
            except (BadInput, ModelError) as error:
                yield dict.fromkeys(COLUMNS) | {"file": str(file), "reason": str(error)}
                continue
            for name, one in zip(names, scores, strict=True):
                yield _row(file, name, one)


def _row(file: Path, name: str, one: Score) -> dict[str, Any]:
    known = one.model_dump(mode="json")
    return {
        **{column: known.get(column) for column in COLUMNS},
        "file": str(file),
        "dimension": name,
        "value": one.raw,
        "label": one.fidelity,
    }


def _shown(rows: list[dict[str, Any]], form: Format) -> str:
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        return _csv(rows, COLUMNS)
    lines = []
    for row in rows:
        value = row["reason"] if row["value"] is None else f"{row['value']:.4f} ({row['label']})"
        lines.append((row["file"], row["metric_id"] or "", value + (f"; {row['note']}" if row["note"] else "")))
    return _table(("file", "metric", "value"), lines)


def _listed(listed: Iterable[Entry], form: Format) -> str:
    rows = [entry.model_dump(mode="json") for entry in listed]
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        joined = [{key: " ".join(map(str, v)) if isinstance(v, list) else v for key, v in row.items()} for row in rows]
        return _csv(joined, tuple(rows[0]))
    lines = [
        (
            row["name"],
            row["label"] or "",
            " ".join(row["models"]),
            " ".join(row["licences"]),
            _cost(row),
            row["missing"],
        )
        for row in rows
    ]
    return _table(("dimension", "label", "models", "licences", "cost of a 5 s clip at 480p", "missing"), lines)


def _cost(row: dict[str, Any]) -> str:
    if row["tflop"] is not None:
        return f"{row['tflop']:g} TFLOP"
    return f"{row['cpu_seconds']:g} s of one core" if row["cpu_seconds"] is not None else ""


def _csv(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(headings: tuple[str, ...], lines: Iterable[tuple[str | None, ...]]) -> str:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*headings)
    for line in lines:
        table.add_row(*(escape(cell or "") for cell in line))
    console = Console(record=True, file=io.StringIO(), width=180)
    console.print(table)
    return console.export_text()


def _write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text)
