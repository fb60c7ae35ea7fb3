"""What a tool prints at its end, and how Ctrl-C ends it: one place for all tools."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import typer

Result = TypeVar("Result")


class Ending(Protocol):
    """What is said when work does not come to its end."""

    def stopped(self) -> str:
        """After Ctrl-C: one line."""
        ...

    def failed(self, error: Exception) -> str | None:
        """Added to the line of an error; None: nothing."""
        ...


class NothingKept:
    """Work that leaves nothing to go on with."""

    def stopped(self) -> str:
        return "stopped"

    def failed(self, error: Exception) -> str | None:
        return None


@dataclass(frozen=True)
class Resumable:
    """A run in a folder of this machine."""

    folder: Path

    @property
    def _hint(self) -> str:
        return f"continue with: admint pipeline --resume {shlex.quote(str(self.folder))}"

    def stopped(self) -> str:
        return f"stopped; {self._hint}"

    def failed(self, error: Exception) -> str | None:
        if not (self.folder / ".admint" / "store.sqlite").exists():
            return None
        return f"finished steps are kept; {self._hint}"


def run_to_end(work: Coroutine[Any, Any, Result], ending: Ending) -> Result:
    """Run `work`. Ctrl-C or SIGTERM stops it within one denoising step, and `ending` says how to go on."""
    try:
        return asyncio.run(_interruptible(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo(ending.stopped(), err=True)
        raise typer.Abort from None
    except Exception as error:
        if hint := ending.failed(error):
            error.add_note(f"({hint})")
        raise


async def _interruptible(work: Coroutine[Any, Any, Result]) -> Result:
    """`work`, which SIGTERM stops as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


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
