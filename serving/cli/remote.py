"""`admint login` and `logout`; `admint list`, `attach` and `cancel` for the user's generations on a server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.options import AsJson, KnownServer, Overwrite, check_free

if TYPE_CHECKING:
    from pipelines.report.record import RunRecord
    from serving.client.run import Job
    from serving.gateway.generations.answers import GenerationObject

PROMPT_SHOWN = 60
"""Characters of a prompt in the table."""
PIPED_WIDTH = 160
"""Columns of the table where there is no terminal: enough for whole ids."""
ON_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
GenerationId = Annotated[
    str, typer.Argument(metavar="ID", help="As `admint pipeline` printed it, or `admint list` shows it.")
]


def login(
    server: KnownServer = None,
    username: Annotated[str | None, typer.Option("--username", help="Asked for when left out.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Keep an API key, read from standard input, instead of a login.")
    ] = False,
) -> None:
    """Log in to a server, for every command with --server."""
    from pipelines.errors import BadInput
    from serving.client.http import known_server
    from serving.client.login import Credentials, credentials_file, key_login, password_login

    if api_key_stdin and (username is not None or password_stdin):
        raise BadInput("--api-key-stdin needs neither a username nor a password: leave them out")
    address = known_server(server)
    _warn_of_plain_text(address)
    file = Credentials(credentials_file())
    file.read()  # a file that others can read is refused before the user types a password
    if api_key_stdin:
        entry = key_login(address, _piped("API key"))
    else:
        name = username or typer.prompt("Username")
        password = _piped("password") if password_stdin else typer.prompt("Password", hide_input=True)
        entry = password_login(address, name, password)
    file.begin(address, entry)
    typer.echo(f"{address}: logged in {f'as {entry.username}' if entry.username else 'with an API key'}")


def logout(server: KnownServer = None) -> None:
    """End the login on its server and delete it here. An API key is only deleted here: it may be in use elsewhere."""
    from serving.client.http import known_server
    from serving.client.login import Credentials, credentials_file
    from serving.errors import ServingError

    file, address = Credentials(credentials_file()), known_server(server)
    entry = file.read().servers.get(address)
    if entry is None:
        typer.echo(f"{address}: nobody is logged in")
        return
    try:
        if entry.api_key is None:
            asyncio.run(_end(address))
    except ServingError as error:
        typer.echo(f"warning: the server did not end the login ({error})", err=True)
    with file.locked():
        file.forget(address)
    typer.echo(f"{address}: logged out")


def attach(
    generation_id: GenerationId,
    server: KnownServer = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="A folder for all files; FILE.mp4 for the video; FILE.json for the storyboard."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Follow a generation on a server to its end, whatever became of the command that started it."""
    from serving.cli.output import print_result, run_to_end
    from serving.client.http import known_server
    from serving.client.run import STORYBOARD, VIDEO, Job

    if output is not None and output.suffix in (VIDEO, STORYBOARD):
        check_free(overwrite, output)
    job = Job(known_server(server), output, generation_id)
    result, notes = run_to_end(_attach(job, generation_id), job)
    print_result(result, notes, as_json)


def cancel(generation_id: GenerationId, server: KnownServer = None, as_json: AsJson = False) -> None:
    """Stop a generation on a server: at once while it waits, within one denoising step while it runs."""
    from serving.cli.output import print_result
    from serving.client.events import ENDED
    from serving.client.http import known_server

    stopped = asyncio.run(_cancel(known_server(server), generation_id))
    notes: tuple[str, ...] = ()
    if stopped.status not in ENDED:
        notes = ("it stops within one denoising step",)
    elif stopped.status != "cancelled":
        notes = ("it had already ended: nothing was stopped",)
    print_result({"generation_id": stopped.id, "status": stopped.status}, notes, as_json)


def list_jobs(
    server: KnownServer = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="pending, processing, awaiting_approval, completed, failed or cancelled; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Your generations on a server, newest first."""
    import json

    from serving.client.http import known_server

    rows, total = asyncio.run(_page(known_server(server), limit, tuple(status or ())))
    if as_json:
        items = [row.model_dump(mode="json") for row in rows]
        typer.echo(json.dumps({"items": items, "total": total}, ensure_ascii=False))
        return
    _print_table(rows)
    if total > len(rows):
        typer.echo(f"{len(rows)} of {total}: more with --limit")


async def _attach(job: Job, generation_id: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What to print, and notes."""
    from serving.client.http import connect
    from serving.client.run import check_output, fetch_output, watch

    check_output(job, generation_id)
    async with connect(job.server) as connection:
        now = await watch(connection, generation_id)
        record = None if job.output is None else await fetch_output(connection, job, generation_id)
    return _summary(now, record, job.output), _advice(now)


def _summary(now: GenerationObject, record: RunRecord | None, output: Path | None) -> dict[str, Any]:
    from serving.cli.ads import summary

    if record is not None and output is not None:
        return summary(output, record)
    return {"generation_id": now.id, "status": now.status, "output": output and str(output)}


def _advice(now: GenerationObject) -> tuple[str, ...]:
    if now.status != "awaiting_approval":
        return ()
    return (f"the generation waits for approval of its stage {now.current_stage!r}",)


async def _cancel(server: str, generation_id: str) -> GenerationObject:
    from serving.client.ads import cancel_generation
    from serving.client.http import connect

    async with connect(server) as connection:
        return await cancel_generation(generation_id)(connection)


async def _page(server: str, limit: int, statuses: tuple[str, ...]) -> tuple[list[GenerationObject], int]:
    from serving.client.ads import list_generations
    from serving.client.http import connect

    async with connect(server) as connection:
        page = await list_generations(limit=limit, status=statuses)(connection)
        return page.items, page.total


def _print_table(rows: list[GenerationObject]) -> None:
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


async def _end(server: str) -> None:
    from serving.client.http import connect
    from serving.client.login import Credentials, LoginTokens, credentials_file

    async with connect(server, LoginTokens(server, Credentials(credentials_file()))) as connection:
        await connection.call("POST", "/api/auth/logout")


def _piped(what: str) -> str:
    from pipelines.errors import BadInput

    text = sys.stdin.readline().strip("\r\n")
    if not text:
        raise BadInput(f"standard input holds no {what}: pipe it in, as one line")
    return text


def _warn_of_plain_text(address: str) -> None:
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in ON_THIS_MACHINE:
        typer.echo(f"warning: {address} is not encrypted: others on the network can read what is sent there", err=True)
