"""`admint score`: quality dimensions of files on this machine, the list of all dimensions, and two sets compared."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from serving.cli.options import UsualCommand

if TYPE_CHECKING:
    from configs.settings import Profile
    from quality.catalogue import Entry
    from serving.scores.comparison import Difference
    from serving.scores.rows import Row
    from serving.scores.work import Asked, FileScores, Found, WorkItem

ON_STDOUT = ("table", "json", "csv")
IN_FOLDER = ("json", "csv", "parquet", "vbench", "html")
USUAL = "json,csv,html"
"""Formats of --out without --format."""
GENERATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AskedProtocol = Literal["auto", "custom", "standard", "long2s"]


class _ScoreGroup(UsualCommand):
    usual = "files"


app = typer.Typer(cls=_ScoreGroup, rich_markup_mode=None)


@app.command("files")
def score(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="MP4 files, pictures, folders, or ids of generations of this machine's server."),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What they were asked to show.")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="JSON or CSV: what each file was asked to show, by its name.")
    ] = None,
    dimensions: Annotated[str | None, typer.Option(help="Names with commas between; else all that can be.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="Dimensions by a name: vbench-custom, vbench-i2v, story, ad or all.")
    ] = None,
    references: Annotated[
        list[str] | None,
        typer.Option("--reference", help="A picture that they were to look like; `style=FILE` names a role."),
    ] = None,
    style: Annotated[str | None, typer.Option(help="The look that they were to have, in words.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds that they were to have.")] = None,
    aspect_ratio: Annotated[str | None, typer.Option(help="Width to height that they were to have: 9:16.")] = None,
    overlays: Annotated[
        list[str] | None,
        typer.Option("--overlay", help="Words that were to be read in them; `0.5-3=WORDS` from one second to another."),
    ] = None,
    protocol: Annotated[
        AskedProtocol, typer.Option(help="auto: VBench's dimensions in pieces of 2 s where a clip has 5 s or more.")
    ] = "auto",
    profile: Annotated[str | None, typer.Option(help="Whose scorer models are used (configs/profiles).")] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, json or csv; with --out some of json,csv,parquet,vbench,html."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write into this folder, which must be new, not to stdout.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out holds, and measure the rest.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes of this machine; each loads the models.")] = 1,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Measure on this Ray cluster: HOST:PORT.")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the dimensions: what each needs and costs.")] = False,
) -> int:
    """Measure files; one that cannot be measured is a row with its reason, and the exit code is 3 then.

    `admint score compare A B` compares two --out folders, pair by pair.
    """
    from configs.settings import Settings, load_profile
    from serving.scores.local import catalogue_of
    from serving.scores.measuring import measured_rows, write_scores
    from serving.scores.work import asked_of

    formats = _formats(form, out, list_them)
    chosen = load_profile(profile or Settings().profile)
    if list_them:
        typer.echo(_listed(catalogue_of(chosen), formats[0]), nl=False)
        return 0
    _check_flags(prompt, prompts, dimensions, suite, out, resume, jobs, ray)
    told = asked_of(
        {"prompt": prompt, "style": style, "duration": duration, "aspect_ratio": aspect_ratio, "overlays": overlays},
        spelt=lambda field: "--" + field.replace("_", "-").removesuffix("s"),
    )
    named = chosen_dimensions(dimensions, suite, chosen)
    items = _items(paths or [], named, told, prompts, references or [], protocol)
    if out is not None:
        _check_out(out, resume, formats)
    elsewhere = None if ray is None else partial(scored_on_ray, ray)
    try:
        rows = measured_rows(items, chosen, out, resume=resume, jobs=jobs, elsewhere=elsewhere)
    except KeyboardInterrupt:
        if out is not None:
            typer.echo(f"stopped; {str(out)!r} keeps what was measured: give the same command with --resume", err=True)
        raise typer.Abort from None
    if out is None:
        typer.echo(_shown(rows, formats[0]), nl=False)
    else:
        for left_out in write_scores(rows, out, formats):
            typer.echo(f"admint: not in {out.resolve().name}_eval_results.json: {left_out}", err=True)
    return 3 if any(row.score is None for row in rows) else 0


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="The --out folder of an `admint score`.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same prompts or file names.")],
    form: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="table, json or csv.")] = "table",
) -> int:
    """Say by how much B differs from A in each metric: over pairs of one prompt and number, with a 95 % interval."""
    from serving.scores.comparison import differences, read_rows
    from serving.scores.rows import csv_of

    found = differences(read_rows(before), read_rows(after))
    rows = [one.model_dump(mode="json") for one in found]
    if form == "json":
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif form == "csv":
        typer.echo(csv_of(rows, tuple(rows[0])), nl=False)
    else:
        typer.echo(compared_table(found), nl=False)
    return 0


# --- what was asked for ---


def _formats(form: str | None, out: Path | None, list_them: bool) -> tuple[str, ...]:
    from pipelines.errors import BadInput

    if list_them and out is not None:
        raise BadInput("--list prints the dimensions: leave --out away, or redirect it to a file")
    known = ON_STDOUT if out is None else IN_FOLDER
    given = tuple(dict.fromkeys((form or ("table" if out is None else USUAL)).split(",")))
    for name in given:
        if name not in known:
            hint = "; it is written into a folder: add --out DIR" if out is None and name in IN_FOLDER else ""
            raise BadInput(f"--format {name!r}: choose from {', '.join(known)}{hint}")
    if out is None and len(given) > 1:
        raise BadInput(f"--format {form!r}: one format goes to stdout; add --out DIR for several")
    return given


def _check_flags(
    prompt: str | None,
    prompts: Path | None,
    dimensions: str | None,
    suite: str | None,
    out: Path | None,
    resume: bool,
    jobs: int,
    ray: str | None,
) -> None:
    from pipelines.errors import BadInput

    refused = (
        (prompt is not None and prompts is not None, "--prompt is one text for all, and --prompts one for each file"),
        (dimensions is not None and suite is not None, "--suite names the dimensions, and so does --dimensions"),
        (jobs > 1 and ray is not None, "--jobs are processes of this machine, and --ray has its own"),
    )
    for both, why in refused:
        if both:
            raise BadInput(f"{why}: give one of them")
    if resume and out is None:
        raise BadInput("--resume needs the --out folder of the run that was broken off")


def chosen_dimensions(dimensions: str | None, suite: str | None, profile: Profile) -> tuple[str, ...]:
    """The dimensions that --dimensions or --suite names; without either, all that can be measured. Raises BadInput."""
    from pipelines.errors import BadInput
    from quality.registry import SUITES
    from serving.scores.local import catalogue_of
    from serving.scores.work import OF_FILES

    if suite is not None:
        if suite not in SUITES:
            raise BadInput(f"--suite {suite!r} is unknown: choose from {', '.join(SUITES)}")
        return SUITES[suite]
    if dimensions is not None:
        if not (named := tuple(filter(None, map(str.strip, dimensions.split(","))))):
            raise BadInput(
                f"--dimensions {dimensions!r} names none: give names with commas between, as --list has them"
            )
        return named
    return tuple(entry.name for entry in catalogue_of(profile) if entry.missing is None and OF_FILES & {*entry.media})


def _items(
    paths: Sequence[str],
    dimensions: tuple[str, ...],
    asked: Asked,
    prompts: Path | None,
    references: list[str],
    protocol: AskedProtocol,
) -> list[WorkItem]:
    from pipelines.errors import BadInput
    from quality.score import UnknownDimension
    from serving.reference_files import bound_references
    from serving.scores.work import files_of, named_apart, read_prompts, work_items

    if not paths:
        raise BadInput("no file to score: give MP4 files, pictures or folders, or --list for the dimensions")
    files: list[Found] = []
    own: list[Path] = []
    for path in dict.fromkeys(paths):
        if GENERATION.fullmatch(path) is not None and not Path(path).exists():
            files += _of_generation(path)
        else:
            own.append(Path(path))
    files += files_of(own)
    try:
        return work_items(
            named_apart(files),
            dimensions,
            asked=asked,
            prompts=None if prompts is None else read_prompts(prompts),
            references=bound_references(references),
            protocol=protocol,
        )
    except UnknownDimension as error:
        raise BadInput(str(error)) from None


def _of_generation(generation_id: str) -> list[Found]:
    """Stills, clips and finished video of a generation as they are now, each with what it was asked to be."""
    import asyncio

    from pipelines.errors import BadInput
    from serving.scores.stored import files_of_generation
    from serving.server.store import open_server_store

    async def found() -> list[Found]:
        server = await open_server_store()
        try:
            return await files_of_generation(server.store, server.artifacts, generation_id)
        finally:
            await server.close()

    if not (files := asyncio.run(found())):
        raise BadInput(
            f"{generation_id!r} is no file here and no generation of this machine's store with a picture or a clip:"
            " correct the id, or set ADMINT_HOME to that server's"
        )
    return files


# --- measured ---


def _check_out(out: Path, resume: bool, formats: Sequence[str]) -> None:
    from pipelines.errors import BadInput

    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {str(out)!r} is a file: name a folder")
    if not resume and out.exists() and any(out.iterdir()):
        raise BadInput(f"--out {str(out)!r} is not empty: name a new folder, or go on with it by --resume")
    if "parquet" in formats:
        from serving.scores.rows import parquet_libraries

        parquet_libraries()


def scored_on_ray(
    address: str, items: Sequence[WorkItem], profile: Profile, series: bool
) -> Iterator[tuple[WorkItem, FileScores]]:
    """What comes of each item on the Ray cluster at `address`, in any order. Raises BadInput, StartFailed."""
    from pipelines.errors import BadInput
    from serving.scores.work import FileScores

    try:
        from serving.deployments.score_batch import score_batch_on_ray
    except ImportError:
        raise BadInput("--ray needs Ray: pip install 'admint[server]'") from None
    by_name = {item.name: item for item in items}
    with closing(score_batch_on_ray(address, items, profile, series=series)) as rows:
        for row in rows:
            yield by_name[row.name], FileScores(scores=row.scores, reason=row.reason, source_sha256=row.sha256)


# --- shown and written ---


def _shown(rows: Sequence[Row], form: str) -> str:
    from serving.scores.rows import as_csv, as_json

    if form == "json":
        return as_json(rows)
    if form == "csv":
        return as_csv(rows)
    lines = []
    for row in rows:
        one = row.score
        if one is None:
            lines.append((row.file, "", "", row.reason or ""))
            continue
        value = one.reason or "" if one.raw is None else f"{one.raw:.4f} ({one.fidelity})"
        lines.append((row.file, one.metric_id, one.protocol, value + (f"; {one.note}" if one.note else "")))
    return printed_table(("file", "metric", "protocol", "value"), lines)


def compared_table(found: Iterable[Difference]) -> str:
    """Paired differences as a table for the screen."""
    lines = []
    for one in found:
        metric = one.metric_id if one.metric_id.endswith(one.dimension) else f"{one.metric_id} ({one.dimension})"
        if one.difference is None:
            lines.append((metric, "", "", "", "", one.reason))
            continue
        interval = "" if one.low is None else f"[{one.low:+.4f}, {one.high:+.4f}]"
        told = f"{one.pairs} pairs of {one.prompts} prompts" + (f", {one.left_out} left out" if one.left_out else "")
        why = "" if one.low is not None else "; no interval below 6 prompts"
        lines.append((metric, f"{one.before:.4f}", f"{one.after:.4f}", f"{one.difference:+.4f}", interval, told + why))
    return printed_table(("metric", "A", "B", "B - A", "95 % interval", "of"), lines)


def _listed(listed: Iterable[Entry], form: str) -> str:
    from serving.scores.rows import csv_of

    rows = [entry.model_dump(mode="json") for entry in listed]
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        joined = [{key: " ".join(map(str, v)) if isinstance(v, list) else v for key, v in row.items()} for row in rows]
        return csv_of(joined, tuple(rows[0]))
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
    return printed_table(("dimension", "label", "models", "licences", "cost of a 5 s clip at 480p", "missing"), lines)


def _cost(row: dict[str, Any]) -> str:
    if row["tflop"] is not None:
        return f"{row['tflop']:g} TFLOP"
    return f"{row['cpu_seconds']:g} s of one core" if row["cpu_seconds"] is not None else row["questions"] or ""


def printed_table(headings: tuple[str, ...], lines: Iterable[tuple[str | None, ...]]) -> str:
    """A table for the screen, as wide as it needs to be up to 180 columns."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*headings)
    for line in lines:
        table.add_row(*(escape(cell or "") for cell in line))
    console = Console(record=True, file=io.StringIO(), width=180)
    console.print(table)
    return console.export_text()
