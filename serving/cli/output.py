"""How a command ends: what it prints, and how Ctrl-C stops it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import typer

from serving.server.stopping import Stop

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
    """Run `work`. Ctrl-C, SIGTERM or a closed terminal stops it within one denoising step, and `ending` says how to
    continue. A second Ctrl-C ends the process at once.
    """
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
    """Await `work`, which the first signal cancels."""
    loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), Stop()
    if task is not None:
        stop.listen(lambda: loop.call_soon_threadsafe(task.cancel))
    try:
        return await work
    finally:
        stop.leave()


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
