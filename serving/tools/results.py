"""What a tool prints at its end, and how Ctrl-C ends it: one place for all tools."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer

Result = TypeVar("Result")


def run_to_end(work: Coroutine[Any, Any, Result], resumable: Path | None) -> Result:
    """Run `work`. Ctrl-C or SIGTERM stops it within one denoising step, and says how to go on from `resumable`."""
    hint = f"continue with: admint pipeline --resume {shlex.quote(str(resumable))}"
    try:
        return asyncio.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("stopped" if resumable is None else f"stopped; {hint}", err=True)
        raise typer.Abort from None
    except Exception as error:
        if resumable is not None and (resumable / ".admint" / "store.sqlite").exists():
            error.add_note(f"(finished steps are kept; {hint})")
        raise


def print_result(result: Mapping[str, Any], notes: tuple[str, ...], as_json: bool) -> None:
    """One JSON object on stdout, or a line per value; notes go to the reader in plain words."""
    if as_json:
        typer.echo(json.dumps({**result, "notes": list(notes)}, ensure_ascii=False))
        return
    for note in notes:
        typer.echo(f"note: {note}")
    for name, value in result.items():
        if value is not None:
            typer.echo(f"{name}: {value}")
