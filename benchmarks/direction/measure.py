"""How often an owner's words change what they say, and whether anything else changes: a table per kind of message.

    python -m benchmarks.direction.measure [--write]

Rules only, as for the sketch family; no model runs. `--write` puts the table into `benchmarks/results/direction.md`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

from benchmarks.direction.cases import CASES, PRODUCT, SETTINGS, Case
from configs.settings import load_model
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.agents.direction_changes import Scope
from pipelines.agents.direction_reader import read_direction
from pipelines.direction import DirectionEdit

RESULT = Path(__file__).parents[1] / "results" / "direction.md"


def scope_of(case: Case) -> Scope:
    """The plan that every case is said of, drawn by the sketch family."""
    return Scope(
        stage=case.stage,
        settings=SETTINGS,
        product=PRODUCT,
        domain=load_model("sketch-image", ImageModelSpec).domain,
        camera_moves=load_model("sketch-video", VideoModelSpec).camera_moves,
    )


def asked(edits: Iterable[DirectionEdit]) -> list[tuple[tuple[int, ...], dict[str, object]]]:
    """The changes that are really made, by scene."""
    return [
        (edit.scenes, edit.changes.model_dump(exclude_defaults=True))
        for edit in edits
        if edit.intent == "change" and edit.question is None
    ]


def wanted(case: Case) -> list[tuple[tuple[int, ...], dict[str, object]]]:
    if case.both:
        return list(case.both)
    return [] if case.changes is None else [(case.scenes, case.changes)]


def judge(case: Case) -> tuple[bool, bool]:
    """Whether a case came out right, and whether it changed anything that was not asked for."""
    edits = read_direction(case.text, scope_of(case))
    got, want = asked(edits), wanted(case)
    other = any(one not in want for one in got) or (edits[0].intent == "approve") != (case.intent == "approve")
    intents = {edit.intent for edit in edits}
    right_intent = case.intent in intents or (
        case.intent != "approve" and case.changes is None and not got and not case.both
    )
    if case.intent in ("approve", "reject", "ask"):
        right_intent = intents == {case.intent}
    return sorted(got, key=str) == sorted(want, key=str) and right_intent, other


def table() -> str:
    rows: dict[str, list[int]] = {}
    started = perf_counter()
    for case in CASES:
        right, other = judge(case)
        total = rows.setdefault(case.kind, [0, 0, 0])
        total[0] += 1
        total[1] += right
        total[2] += other
    seconds = perf_counter() - started
    lines = ["| kind | messages | right target and right change | something else changed |", "|---|---|---|---|"]
    lines += [f"| {kind} | {count} | {right} | {other} |" for kind, (count, right, other) in rows.items()]
    count, right, other = (sum(column) for column in zip(*rows.values(), strict=True))
    lines.append(f"| all | {count} | {right} ({100 * right / count:.1f} %) | {other} |")
    lines.append("")
    lines.append(f"Rules only; {1000 * seconds / count:.1f} ms a message.")
    return "\n".join(lines)


def main() -> None:
    from benchmarks.direction.plans import applied

    text = f"{table()}\n\n{asyncio.run(applied(20, 1))}"
    print(text)
    for case in CASES:
        if not judge(case)[0]:
            print(
                "WRONG",
                repr(case.text),
                "->",
                *(edit.model_dump(exclude_defaults=True) for edit in read_direction(case.text, scope_of(case))),
            )
    if "--write" in sys.argv:
        heading = "# What was said and what was changed\n\n`python -m benchmarks.direction.measure --write`\n\n"
        RESULT.write_text(heading + text + "\n")


if __name__ == "__main__":
    main()
