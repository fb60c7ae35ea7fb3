"""How a command ends: what it prints, and how Ctrl-C stops it."""

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
    """What a command says when its work does not finish."""

    def stopped(self) -> str:
        """The line after Ctrl-C."""
        ...

    def failed(self, error: Exception) -> str | None:
        """What is added to the line of an error; None: nothing."""
        ...


class NothingKept:
    """Work that cannot be resumed."""

    def stopped(self) -> str:
        return "stopped"

    def failed(self, error: Exception) -> str | None:
        return None


@dataclass(frozen=True)
class Resumable:
    """A run in a folder of this machine, which can be resumed."""

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
    """Run `work`. Ctrl-C or SIGTERM stops it within one denoising step, and `ending` says how to continue."""
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
    """Await `work`; SIGTERM stops it as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def print_result(result: Mapping[str, Any], notes: tuple[str, ...], as_json: bool) -> None:
    """Print one JSON object, or a line per note and per value."""
    if as_json:
        typer.echo(json.dumps({**result, "notes": list(notes)}, ensure_ascii=False))
        return
    for note in notes:
        typer.echo(f"note: {note}")
    for name, value in result.items():
        if value is not None:
            typer.echo(f"{name}: {value}")
