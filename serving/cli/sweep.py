"""`admint sweep`: the runs of a spec, resumed where they were stopped, and their table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.lab.estimate import Estimate
    from pipelines.lab.runs import Runs


def sweep(
    spec: Annotated[Path, typer.Argument(help="YAML: suite, arms, seeds, outcomes (docs/lab.md).")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; an earlier one of it is continued.")],
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes of this machine that share the runs.")] = 1,
    ray: Annotated[str | None, typer.Option(help="HOST:PORT of a Ray cluster whose nodes all see --out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do, and do nothing.")] = False,
    max_runs: Annotated[int | None, typer.Option(min=1, help="Refuse a sweep of more runs.")] = None,
    run: Annotated[str | None, typer.Option(help="Make this run alone, by its id, as in runs.csv.")] = None,
) -> int:
    """Make every run of a sweep, each once; write runs.csv, runs.parquet and report.html. Exit code 3: runs failed."""
    from serving.lab.sweep import estimate_sweep, run_sweep

    if ray is not None and jobs > 1:
        from pipelines.errors import BadInput

        raise BadInput("--jobs are processes of this machine, --ray tasks of a cluster: keep one of them")
    if dry_run:
        for line in estimate_lines(estimate_sweep(spec, out, jobs=jobs, max_runs=max_runs)):
            typer.echo(line)
        return 0

    def told(done: int, of: int) -> None:
        typer.echo(f"{done} of {of} runs", err=True)

    elsewhere = None
    if ray is not None:
        from serving.deployments.sweep_runs import runs_on_ray

        elsewhere = partial(runs_on_ray, ray)
    runs = run_sweep(spec, out, jobs=jobs, elsewhere=elsewhere, max_runs=max_runs, told=told, only=run)
    for line in [*result_lines(runs, out), *found_lines(spec, out, runs)]:
        typer.echo(line)
    return 3 if any(run.failed for run in runs) else 0


def found_lines(spec: Path, out: Path, runs: Runs) -> list[str]:
    """What the arms do to the first outcome, in sentences; the page is written by the way."""
    import shlex

    from pipelines.lab.analysis import analyse, columns, questions_of, sentence
    from pipelines.lab.report import write_page
    from pipelines.lab.runs import Run
    from pipelines.lab.spec import BASE, read_spec

    asked = read_spec(spec)
    better = {outcome.name: outcome.better for outcome in asked.outcomes if outcome.better == "lower"}
    measured = columns(runs, better)
    primary = next(
        (name for outcome in asked.outcomes for name in measured if name.split(" [")[0] == outcome.name), None
    )
    guards = {name: bound for name, bound in asked.guards.items() if name in measured}
    questions = questions_of(runs, BASE, primary, guards) if primary is not None and BASE in runs.arms else ()
    answers = analyse(runs, questions, better)

    def command(one: Run) -> str:
        return f"admint sweep {shlex.quote(str(spec))} --run {one.run_id} --out again"

    page = write_page(out, runs, answers, title=asked.asks or f"Sweep {spec.stem}", command=command, better=better)
    lines = [sentence(answer, arm) for answer in answers for arm in answer.question.arms]
    return [*lines, f"the figures: {page}"]


def estimate_lines(estimate: Estimate) -> list[str]:
    """What there is to do, in words."""
    lines = [f"{estimate.runs} runs, {estimate.finished} finished"]
    for stage, work in estimate.stages.items():
        known = f"about {work.seconds:.0f} s" if not work.unknown else f"{work.unknown} of a kind not measured yet"
        lines.append(f"{stage}: {work.todo} steps to do ({known if work.todo else 'nothing'}), {work.cached} cached")
    if estimate.unplanned:
        lines.append(f"{estimate.unplanned} runs whose stories agents write: their steps are not known before")
    if estimate.finished == estimate.runs:
        return [*lines, "nothing to do"]
    if estimate.seconds is None:
        return [*lines, "how long it takes is unknown: no step of some kind has been measured in this folder yet"]
    share = f" in {estimate.jobs} processes" if estimate.jobs > 1 else ""
    loading = f", {estimate.loading:.0f} s of it to load the models" if estimate.loading else ""
    return [*lines, f"about {estimate.seconds:.0f} s{share}{loading}, retakes of a quality gate not counted"]


def result_lines(runs: Runs, out: Path) -> list[str]:
    """What became of the runs, in words."""
    failed = [run for run in runs if run.failed]
    lines = [
        f"{len(runs)} runs of {len(runs.arms)} arms in {out}: runs.csv"
        + (", runs.parquet" if (out / "runs.parquet").exists() else " (runs.parquet needs pip install 'admint[lab]')")
    ]
    lines += [f"failed: arm {run.arm!r}, story {run.story!r}, seed {run.seed}: {run.failed}" for run in failed]
    if failed:
        lines.append(f"to try a failed run again, delete its row rows/RUN_ID.json in {out} and start the sweep again")
    return lines
