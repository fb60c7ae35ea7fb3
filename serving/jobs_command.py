"""`admint attach`, `cancel` and `list`: the generations that a server keeps, whoever ordered them and from where."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.tools.options import AsJson, KnownServer

if TYPE_CHECKING:
    from pipelines.report.record import RunRecord
    from serving.client.generations import ServedGeneration
    from serving.client.job import Job

PROMPT_SHOWN = 60
"""Characters of a prompt in the table."""
PIPED_WIDTH = 160
"""Columns of the table where there is no terminal: enough for whole ids."""
GenerationId = Annotated[str, typer.Argument(metavar="ID", help="As the tool said it, or `admint list` shows it.")]


def attach(
    generation_id: GenerationId,
    server: KnownServer = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for all there is; FILE.mp4: the video; FILE.json: the storyboard."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a generation on a server to its end, whatever became of the command that ordered it."""
    from serving.client.connection import known_server
    from serving.client.job import Job
    from serving.tools.results import print_result, run_to_end

    job = Job(known_server(server), output, generation_id)
    result, notes = run_to_end(_attach(job, generation_id), job)
    print_result(result, notes, as_json)


def cancel(generation_id: GenerationId, server: KnownServer = None, as_json: AsJson = False) -> None:
    """Stop a generation on a server: at once while it waits, within one denoising step while it runs."""
    from serving.client.connection import known_server
    from serving.client.generations import ENDED
    from serving.tools.results import print_result

    stopped = asyncio.run(_cancel(known_server(server), generation_id))
    notes: tuple[str, ...] = ()
    if stopped.status not in ENDED:
        notes = ("it stops within one denoising step",)
    elif stopped.status != "cancelled":
        notes = ("it had ended before: nothing was stopped",)
    print_result({"generation_id": stopped.id, "status": stopped.status}, notes, as_json)


def list_jobs(
    server: KnownServer = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="pending, processing, awaiting_approval, completed, failed or cancelled; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="The newest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Your generations on a server, newest first."""
    import json

    from serving.client.connection import known_server

    rows, total = asyncio.run(_page(known_server(server), limit, tuple(status or ())))
    if as_json:
        items = [row.model_dump(mode="json", exclude={"last_seq"}) for row in rows]
        typer.echo(json.dumps({"items": items, "total": total}, ensure_ascii=False))
        return
    _print_table(rows)
    if total > len(rows):
        typer.echo(f"{len(rows)} of {total}: more with --limit")


async def _attach(job: Job, generation_id: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What to print, and notes."""
    from serving.client.attach import check_output, fetch_output
    from serving.client.connection import connect
    from serving.client.generations import Generations
    from serving.client.remote_run import watch

    check_output(job, generation_id)
    async with connect(job.server) as connection:
        generations = Generations(connection)
        now = await watch(generations, generation_id)
        record = None if job.output is None else await fetch_output(generations, job, generation_id)
    return _told(now, record, job.output), _advice(now)


def _told(now: ServedGeneration, record: RunRecord | None, output: Path | None) -> dict[str, Any]:
    from serving.tools.pipeline import summary

    if record is not None and output is not None:
        return summary(output, record)
    return {"generation_id": now.id, "status": now.status, "output": output and str(output)}


def _advice(now: ServedGeneration) -> tuple[str, ...]:
    if now.status != "awaiting_approval":
        return ()
    return (f"it waits for its owner after the stage {now.current_stage!r}",)


async def _cancel(server: str, generation_id: str) -> ServedGeneration:
    from serving.client.connection import connect
    from serving.client.generations import Generations

    async with connect(server) as connection:
        return await Generations(connection).cancel(generation_id)


async def _page(server: str, limit: int, statuses: tuple[str, ...]) -> tuple[tuple[ServedGeneration, ...], int]:
    from serving.client.connection import connect
    from serving.client.generations import Generations

    async with connect(server) as connection:
        return await Generations(connection).page(limit, statuses)


def _print_table(rows: tuple[ServedGeneration, ...]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("id", no_wrap=True, min_width=36), "status", "progress", "recipe", "since", "prompt")
    for row in rows:
        prompt = row.title or row.prompt
        shown = prompt if len(prompt) <= PROMPT_SHOWN else f"{prompt[: PROMPT_SHOWN - 1]}…"
        since = f"{row.created_at:%Y-%m-%d %H:%M}"
        table.add_row(row.id, row.status, f"{row.progress} %", row.recipe, since, Text(shown))
    console = Console()
    (console if console.is_terminal else Console(width=PIPED_WIDTH)).print(table)
