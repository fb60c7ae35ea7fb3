"""Progress of one model call on stderr: a line a tenth of the way, for tools without a generation to follow."""

from __future__ import annotations

import typer


class StepLines:
    """Enough to see that it moves, short enough for a log. Satisfies `models.interfaces.Watcher`."""

    def __init__(self, task: str) -> None:
        """`task`: what the lines are about."""
        self._task = task
        self._shown = -1

    def step(self, done: int, total: int) -> None:
        tenth = 10 * done // total
        if tenth != self._shown:
            self._shown = tenth
            typer.echo(f"{self._task}: step {done} of {total}", err=True)
