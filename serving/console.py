"""Progress of a run on the terminal, read from its event log: a live bar on a terminal, plain lines elsewhere.

It writes to stderr only, so that stdout stays free for results.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipelines.errors import StorageFailed
from pipelines.records import Event

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.2
PLAIN_KINDS = frozenset(
    {
        "stage_started",
        "step_completed",
        "step_reused",
        "notice",
        "approval_needed",
        "generation_failed",
        "generation_completed",
        "generation_cancelled",
        "generation_interrupted",
    }
)


class EventSource(Protocol):
    """The event log of a store."""

    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]: ...


class Follower:
    """Shows the events of one generation after `after`, each once, as they come."""

    def __init__(self, source: EventSource, generation_id: str, after: int, show: Callable[[Event], None]) -> None:
        self._source = source
        self._generation_id = generation_id
        self._after = after
        self._show = show

    async def follow(self) -> None:
        """Show new events until cancelled. What cannot be read at one look is shown at the next."""
        while True:
            try:
                await self.catch_up()
            except StorageFailed as error:
                logger.warning("the run's events could not be read, and are asked for again: %s", error)
            await asyncio.sleep(POLL_SECONDS)

    async def catch_up(self) -> None:
        """Show the events that are there now."""
        for event in await self._source.events(self._generation_id, self._after):
            self._show(event)
            self._after = event.seq


class EventDisplay(Protocol):
    """Whatever is shown the events of a run while it is open."""

    def __enter__(self) -> EventDisplay: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, event: Event) -> None: ...


class HandedOn:
    """Shows the events of a run to a program instead of on the terminal."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self.show = show

    def __enter__(self) -> HandedOn:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class PlainDisplay:
    """One line per finished step: for logs, pipes and CI."""

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: Event) -> None:
        if event.kind in PLAIN_KINDS:
            self.say(line(event))

    def say(self, text: str) -> None:
        """Show a line that is no event."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class LiveDisplay:
    """A bar for the generation and one per running step."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._whole = self._progress.add_task("ad", total=100, detail="")
        self._steps: dict[str, TaskID] = {}

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        step = event.step or ""
        if event.kind == "stage_started":
            self._progress.update(self._whole, completed=event.data["progress"], detail=event.message)
        elif event.kind == "step_started":
            self._steps[step] = self._progress.add_task(f"  {step}", total=None, detail="")
        elif event.kind == "step_progress" and step in self._steps:
            counts = {"completed": event.data["done"], "total": event.data["total"]}
            self._progress.update(self._steps[step], **counts, detail=event.message)
        elif event.kind == "step_completed" and step in self._steps:
            self._progress.remove_task(self._steps.pop(step))
        elif event.kind == "generation_completed":
            self._progress.update(self._whole, completed=100, detail="finished")
        elif event.severity != "info":
            self.say(line(event))

    def say(self, text: str) -> None:
        """Show a line that is no event above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)


def display() -> LiveDisplay | PlainDisplay:
    """The display that suits stderr."""
    return LiveDisplay() if sys.stderr.isatty() else PlainDisplay()


def line(event: Event) -> str:
    """An event as one line of text."""
    mark = "" if event.severity == "info" else f"{event.severity}: "
    text = " ".join(event.message.split())
    place = f"{event.step}: " if event.step and not text.startswith(f"{event.step}:") else ""
    return f"{mark}{place}{text}"


class StepLines:
    """A watcher of denoising steps: a line for every tenth of them."""

    def __init__(self, task: str) -> None:
        """`task`: what is made, the beginning of every line."""
        self._task = task
        self._shown = -1

    def step(self, done: int, total: int) -> None:
        tenth = 10 * done // total
        if tenth != self._shown:
            self._shown = tenth
            typer.echo(f"{self._task}: step {done} of {total}", err=True)
