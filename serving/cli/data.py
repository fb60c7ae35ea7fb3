"""`admint backup`, `restore`, `gc` and `disk`: what a server on this machine has stored, while it runs.

They work on the database and the artifact folder that the environment names, as the server does. Errors go up to
`serving.cli.main`, which maps them to exit codes.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from serving.server.store import ServerStore

Result = TypeVar("Result")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

Age = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Such as 30d, 12h or 8w: delete what ended before that, too."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")]


def backup(file: Annotated[Path, typer.Argument(help="A new file; it holds password hashes and all ads.")]) -> None:
    """Write all that the server has stored into one file, while it runs. `admint restore` reads it."""
    from configs.settings import server_artifacts, server_database
    from pipelines.errors import BadInput
    from pipelines.store.artifacts import LocalArtifacts, storage_failure
    from pipelines.store.backup import back_up

    if file.exists():
        raise BadInput(f"{str(file)!r} is there already: name a new file")
    part = file.with_name(f".{file.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as archive:
            kept = back_up(server_database(), LocalArtifacts(server_artifacts()), archive)
            archive.flush()
            os.fsync(archive.fileno())
        part.rename(file)
    except OSError as error:
        raise storage_failure(file, error) from error
    finally:
        part.unlink(missing_ok=True)
    typer.echo(f"{file}: {kept.rows.get('generations', 0)} generations, {kept.files} files, {_size(kept.bytes)}")
    if kept.lost:
        lost = f"{len(kept.lost)} files are damaged or gone and not in it"
        typer.echo(f"admint: {lost}: `admint disk --verify` names their generations; resume those", err=True)


def restore(
    file: Annotated[Path, typer.Argument(help="What `admint backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Delete what the database holds now.")] = False,
) -> None:
    """Put a backup into the database and the artifact folder, also into others than it came from. Stop the server."""
    from configs.settings import server_artifacts, server_database
    from pipelines.errors import BadInput
    from pipelines.store.artifacts import LocalArtifacts
    from pipelines.store.backup import restore as put_back
    from serving.server.store import make_folders

    make_folders()
    try:
        with file.open("rb") as archive:
            kept = put_back(server_database(), LocalArtifacts(server_artifacts()), archive, replace)
    except OSError as error:
        failure = f"{str(file)!r} cannot be read ({error.strerror}): give a file that `admint backup` wrote"
        raise BadInput(failure) from None
    typer.echo(f"{kept.rows.get('generations', 0)} generations, {kept.files} files, {_size(kept.bytes)}: restored")


def gc(older_than: Age = None, dry_run: DryRun = False) -> None:
    """Delete files that nothing names; with --older-than also ended generations and single files of that age."""
    from pipelines.store.sweep import GRACE, Disposal, sweep

    before = None if older_than is None else datetime.now(UTC) - _age(older_than)

    async def collect(store: ServerStore) -> None:
        disposal, now = Disposal(store.database), datetime.now(UTC)
        ended = () if before is None else await disposal.ended_before(before)
        single = () if before is None else await disposal.single_files_before(before)
        freed: set[str] = set()
        if not dry_run:
            for user_id, generation_id in ended:
                freed |= await disposal.forget(user_id, generation_id)
            for user_id, sha256 in single:
                freed |= {sha256} if await disposal.forget_file(user_id, sha256) else set()
            for sha256 in freed:
                await asyncio.to_thread(store.artifacts.remove, sha256, now)
        unnamed = await sweep(store.artifacts, disposal, now - GRACE, dry_run)
        verb = "would go" if dry_run else "deleted"
        what = f"{len(ended)} ended generations, {len(single)} single files, {unnamed} files that nothing names"
        typer.echo(f"{verb}: {what}")

    _with_store(collect)


def disk(verify: Annotated[bool, typer.Option("--verify", help="Read every file; name damaged ones.")] = False) -> None:
    """Show who has stored how much. Exit code 4 when --verify finds a damaged file."""
    from rich.console import Console
    from rich.table import Table

    from pipelines.errors import StorageFailed
    from pipelines.store.sweep import Disposal

    async def look(store: ServerStore) -> None:
        disposal = Disposal(store.database)
        table = Table("owner", "generations", "their files", "their rows", "single files", "size")
        for one in await disposal.usage():
            sizes = (_size(one.generation_bytes), _size(one.row_bytes), str(one.single_files), _size(one.single_bytes))
            table.add_row(one.owner, str(one.generations), *sizes)
        Console().print(table)
        if not verify:
            return
        damaged = 0
        for sha256, generation_ids in (await disposal.named_by()).items():
            if not await asyncio.to_thread(store.artifacts.is_whole, sha256):
                damaged += 1
                places = ", ".join(generation_ids) or "no generation: a single file"
                typer.echo(f"{sha256} is damaged or gone: {places}")
        if damaged:
            raise StorageFailed(f"{damaged} files are damaged or gone: resume their generations to make them again")
        typer.echo("every file is whole")

    _with_store(look)


def _age(text: str) -> timedelta:
    from pipelines.errors import BadInput

    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if found is None:
        raise BadInput(f"--older-than {text!r} is no age: write it as 30d, 12h or 8w")
    return int(found[1]) * _UNITS[found[2]]


def _size(count: int) -> str:
    """`1.5 GB`, in units of 1000."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _with_store(work: Callable[[ServerStore], Awaitable[Result]]) -> Result:
    from serving.server.store import open_server_store

    async def opened() -> Result:
        store = await open_server_store()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())
