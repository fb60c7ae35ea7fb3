"""`admint bench`: prompts through models, the clips in VBench's naming and scored; and two results compared."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.cli.options import ProfileName, UsualCommand
from serving.cli.score import compared_table, printed_table, scored_on_ray

if TYPE_CHECKING:
    from models.spec import ImageModelSpec, Size, VideoModelSpec
    from serving.lab.bench import Bench
    from serving.lab.bench_results import BenchResult, Conditions
    from serving.scores.rows import Mean

Form = Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="What is printed: table, json or csv.")]
MOST_WARNINGS = 5
"""Warnings of a result that are printed; all are in its file."""


class _BenchGroup(UsualCommand):
    usual = "run"


app = typer.Typer(cls=_BenchGroup, rich_markup_mode=None)


@app.command("run")
def bench(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Video or image models (admint models list).")],
    prompts: Annotated[
        Path | None,
        typer.Option(help="Text with a prompt on each line, or VBench_full_info.json; else six ads of our own."),
    ] = None,
    extended: Annotated[
        Path | None, typer.Option(help="What the models are asked in place of the prompts, line by line.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the bench; an earlier one of it is continued.")] = Path("bench"),
    samples: Annotated[int, typer.Option(min=1, max=100, help="Clips of each prompt; VBench takes 5.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Clip k of a prompt follows from this number + k.")] = 0,
    start: Annotated[
        Literal["keyframe", "text"] | None,
        typer.Option(help="What clips start from: text where the model can, else a keyframe of the image model."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=200, help="Denoising steps; else each model's own.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, max=30, help="Else each model's own.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip; else what the model makes, of at most 5 s.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Pixels; else each model's own.")] = None,
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"], typer.Option(help="Chooses the model's own size without --size.")
    ] = "16:9",
    protocol: Annotated[
        Literal["auto", "custom", "standard", "long2s"] | None,
        typer.Option(help="As of admint score; standard for VBench_full_info.json, else custom."),
    ] = None,
    dimensions: Annotated[str | None, typer.Option(help="Names with commas between (admint score --list).")] = None,
    suite: Annotated[str | None, typer.Option(help="Dimensions by a name, as of admint score.")] = None,
    profile: ProfileName = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes of this machine that share the work.")] = 1,
    ray: Annotated[str | None, typer.Option(help="HOST:PORT of a Ray cluster whose nodes all see --out.")] = None,
    form: Form = "table",
) -> int:
    """Make the clips of every prompt by every model, score them, and say what they cost. Exit code 3: clips failed.

    `admint bench compare A B` compares the results of two models.
    """
    from configs.settings import AD_PROMPTS, Settings, load_profile
    from pipelines.errors import BadInput
    from pipelines.lab.prompts import read_prompt_suite
    from pipelines.store.artifacts import write_durably
    from serving.cli.score import chosen_dimensions
    from serving.lab.bench import BenchSettings, checked_benches
    from serving.lab.bench_results import read_results

    if ray is not None and jobs > 1:
        raise BadInput("--jobs are processes of this machine, --ray tasks of a cluster: keep one of them")
    if dimensions is not None and suite is not None:
        raise BadInput("--suite names the dimensions, and so does --dimensions: give one of them")
    chosen = load_profile(profile or Settings().profile)
    given = read_prompt_suite(prompts or AD_PROMPTS, extended)
    asked = BenchSettings(
        samples=samples,
        seed=seed,
        start=start,
        steps=steps,
        guidance=guidance,
        frames=frames,
        size=None if size is None else _size(size),
        aspect_ratio=aspect_ratio,
        protocol=protocol,
        dimensions=None if dimensions is suite is None else chosen_dimensions(dimensions, suite, chosen),
    )
    specs = [_described(name) for name in models]
    benches = checked_benches(specs, chosen, given, asked, here=ray is None)
    results = [_run(one, out / one.model.name, jobs, ray) for one in benches]
    everything = read_results(out)
    write_durably(out / "bench.json", _json(everything).encode())
    write_durably(out / "bench.csv", _csv(everything).encode())
    typer.echo({"table": _tables, "json": _json, "csv": _csv}[form](results), nl=False)
    if form == "table":
        typer.echo(f"clips and scores: {out}/MODEL; all numbers with their conditions: {out}/bench.json and bench.csv")
    return 3 if any(result.failures for result in results) else 0


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Folder of a model in the --out of an admint bench.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same prompts and settings.")],
    form: Form = "table",
) -> int:
    """Say by how much B differs from A in each metric: in pairs of one prompt and number, with a 95 % interval.

    Refused where the two differ in prompts, prompt extension, sampler settings or protocol.
    """
    from pipelines.errors import BadInput
    from serving.lab.bench_results import differing, read_result, told_apart
    from serving.scores.comparison import differences, read_rows
    from serving.scores.rows import csv_of

    (first, at), (second, there) = read_result(before), read_result(after)
    if differ := differing(first.conditions, second.conditions):
        raise BadInput(
            f"{first.model} in {str(before)!r} and {second.model} in {str(after)!r} were not made under the same "
            f"conditions and do not stand in one table ({told_apart(differ)}): bench both with the same flags"
        )
    found = differences(read_rows(at), read_rows(there))
    if form == "table":
        typer.echo(f"A: {first.model}   B: {second.model}\n{_conditions(first)}")
        typer.echo(compared_table(found), nl=False)
        for name, result in (("A", first), ("B", second)):
            typer.echo(f"{name}: {_speed(result)}")
        return 0
    beside = {"A": first.model, "B": second.model, **first.conditions.model_dump()}
    rows = [{**one.model_dump(mode="json"), **beside} for one in found]
    as_json = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    typer.echo(as_json if form == "json" else csv_of(rows, tuple(rows[0])), nl=False)
    return 0


# --- what was asked for ---


def _described(name: str) -> ImageModelSpec | VideoModelSpec:
    """The description of a model. Raises BadInput with near names, and for one that makes no pictures."""
    from configs.settings import load_model_specs
    from models.spec import ImageModelSpec, VideoModelSpec
    from pipelines.errors import BadInput
    from serving.model_names import unknown_model

    specs = load_model_specs()
    able = {each.name: each for each in specs.values() if isinstance(each, ImageModelSpec | VideoModelSpec)}
    if name in able:
        return able[name]
    if name in specs:
        raise BadInput(f"{name!r} is a {specs[name].kind} model: a bench takes models that make clips or pictures")
    raise BadInput(unknown_model(name, None, sorted(able)))


def _size(text: str) -> Size:
    from pipelines.errors import BadInput

    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise BadInput(f"--size {text!r}: write width and height in pixels as 832x480")
    return int(found[1]), int(found[2])


def _run(one: Bench, out: Path, jobs: int, ray: str | None) -> BenchResult:
    from serving.lab.bench import run_bench

    def told(done: int, of: int) -> None:
        typer.echo(f"{one.model.name}: {done} of {of}", err=True)

    runs_elsewhere = scores_elsewhere = None
    if ray is not None:
        from serving.deployments.sweep_runs import runs_on_ray

        runs_elsewhere, scores_elsewhere = partial(runs_on_ray, ray), partial(scored_on_ray, ray)
    try:
        return run_bench(
            one, out, jobs=jobs, runs_elsewhere=runs_elsewhere, scores_elsewhere=scores_elsewhere, told=told
        )
    except KeyboardInterrupt:
        typer.echo(f"stopped; {str(out)!r} keeps what is finished: give the same command again", err=True)
        raise typer.Abort from None


# --- shown ---


def _json(results: Sequence[BenchResult]) -> str:
    document = [result.model_dump(mode="json") for result in results]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _csv(results: Sequence[BenchResult]) -> str:
    from serving.lab.bench_results import flat
    from serving.scores.rows import csv_of

    lines = [line for result in results for line in flat(result)]
    return csv_of(lines, tuple(dict.fromkeys(name for line in lines for name in line)))


def _tables(results: Sequence[BenchResult]) -> str:
    """A table for each set of results of one set of conditions, and what is to be said of each result."""
    from serving.lab.bench_results import differing, tables, told_apart

    together = tables(results)
    text = []
    for each in together:
        text += [_conditions(each[0]), _numbers(each).rstrip("\n")]
        for result in each:
            text += [f"{result.model}: {_speed(result)}", *_said(result)]
        text.append("")
    for each in together[1:]:
        apart = told_apart(differing(together[0][0].conditions, each[0].conditions))
        text.append(f"{each[0].model} stands in a table of its own, unlike {together[0][0].model} ({apart})")
    return "\n".join(text).rstrip("\n") + "\n"


def _numbers(results: Sequence[BenchResult]) -> str:
    speeds = [result.speed for result in results]
    by_model = [{mean.metric_id: mean for mean in result.means} for result in results]
    metrics = dict.fromkeys(metric for means in by_model for metric, mean in means.items() if mean.mean is not None)
    lines: list[tuple[str, ...]] = [(metric, *(_cell(means.get(metric)) for means in by_model)) for metric in metrics]
    lines += [
        ("clips", *(f"{result.made} of {result.wanted}" for result in results)),
        ("clips a minute", *(f"{speed.clips_a_minute:.1f}" if speed else "" for speed in speeds)),
        ("device seconds a clip", *(f"{speed.device_seconds:.2f}" if speed else "" for speed in speeds)),
    ]
    return printed_table(("metric", *(result.model for result in results)), lines)


def _cell(mean: Mean | None) -> str:
    if mean is None or mean.mean is None:
        return ""
    without = f", {mean.without} without" if mean.without else ""
    return f"{mean.mean:.4f} ({mean.label}{without})"


def _conditions(result: BenchResult) -> str:
    asked: Conditions = result.conditions
    clips = f"{asked.frames} frames at {asked.fps} a second" if asked.fps else "stills"
    extension = asked.prompt_extension if asked.prompt_extension == "off" else f"on ({asked.prompt_extension[:12]}…)"
    return (
        f"{asked.prompts} prompts of {result.prompts_file} (sha256 {asked.prompts_sha256[:12]}…), {asked.samples} of "
        f"each; prompt extension {extension}; from {asked.start}; {asked.steps} steps, guidance {asked.guidance:g}, "
        f"{clips}, {asked.width}x{asked.height}; seed {asked.seed} ({asked.seed_rule}); protocol {asked.protocol}"
    )


def _speed(result: BenchResult) -> str:
    speed = result.speed
    if speed is None:
        return f"none of {result.wanted} was made"
    stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in speed.by_stage.items())
    return (
        f"{result.made} of {result.wanted}, {speed.clips_a_minute:.1f} a minute, {speed.device_seconds:.2f} s each "
        f"({stages}), {speed.at_once:.1f} at once, on {speed.device}"
    )


def _said(result: BenchResult) -> list[str]:
    """What failed, what was not measured, and what was done in another way than asked."""
    lines = [f"  failed: {one.prompt!r}, {one.sample}: {one.reason}" for one in result.failures]
    if result.failures:
        lines.append(f"  to try again, delete the rows that {result.model}/results.json names, and start it again")
    lines += [f"  not measured: {mean.metric_id}: {mean.reason}" for mean in result.means if mean.mean is None]
    lines += [f"  note: {text}" for text in result.warnings[:MOST_WARNINGS]]
    if len(result.warnings) > MOST_WARNINGS:
        lines.append(f"  … {len(result.warnings) - MOST_WARNINGS} further notes in {result.model}/results.json")
    return lines
