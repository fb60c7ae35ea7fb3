"""`admint compare`: finished ads, or arms of sweeps, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.lab.comparison import Compared

WIDEST = 60
"""Characters of a setting that are shown."""


def compare(
    things: Annotated[list[str], typer.Argument(help="Output folders of ads, or FOLDER:ARM of sweeps.")],
    out: Annotated[Path | None, typer.Option(help="Write report.html into this folder, clips beside it.")] = None,
) -> int:
    """Set two or more side by side: what differs in their scores and settings, against the first one."""
    from pipelines.lab.comparison import compared

    found = compared(things)
    if out is not None:
        from pipelines.lab.report import PAGE, render
        from pipelines.store.artifacts import write_durably

        page = render("Side by side", found.runs, found.answers(), found.shown(out))
        write_durably(out / PAGE, page.encode())
    for line in lines_of(found):
        typer.echo(line)
    if out is not None:
        typer.echo(f"side by side, clips in step: {out / PAGE}")
    return 0


def lines_of(found: Compared) -> list[str]:
    """Differences of the scores, what could not be compared, and the settings that differ."""
    from pipelines.lab.analysis import difference_text

    lines = [f"against {found.base}"]
    for answer in found.answers():
        for arm in answer.question.arms:
            own = [one for one in answer.findings if one.arm == arm]
            lines += ["", f"{arm}:"]
            lines += [
                f"  {one.outcome}: {answer.means[one.outcome][found.base]:.4g} → {answer.means[one.outcome][arm]:.4g}, "
                f"{difference_text(one.compared)}"
                for one in own
            ]
            lines += [] if own else ["  no outcome was measured in both in the same way"]
    different = found.settings_that_differ()
    lines += ["", "settings that differ:" if different else "no setting differs"]
    for path, values in different.items():
        lines += [f"  {path}", *(f"    {arm}: {_short(value)}" for arm, value in values.items())]
    return lines


def _short(value: object) -> str:
    text = "none" if value is None else " ".join(str(value).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
