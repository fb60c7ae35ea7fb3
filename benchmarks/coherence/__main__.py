"""Makes the coherence table: `python -m benchmarks.coherence --out FOLDER` (`make coherence`).

What each knob of coherence does to the sketch family, by the registered plan (`plan.yaml`): a sweep of stills and one
of clips on the first 24 stories, the arms whose interval excludes 0 again on the other 24, and the controls. Then the
table in `benchmarks/results/coherence.md` and `.json`, and a `report.html` in each sweep's folder. Started again with
the same FOLDER it goes on where it was stopped; FOLDER/log.txt says when each part began and ended.

`--knobs a,b` and `--stories N` make a part of it, which is not written among the results unless `--results` says where.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.coherence.controls import Control, base_again, made_of_takes
from benchmarks.coherence.outcomes import extra_outcomes
from benchmarks.coherence.plan import UNTIL, Plan, plan_sha256, read_plan, suite
from benchmarks.coherence.table import agreement, as_json, as_markdown, choose, to_replicate
from pipelines.lab.analysis import Answer, analyse, columns
from pipelines.lab.report import write_page
from pipelines.lab.runs import Runs
from pipelines.lab.spec import Until
from serving.lab.sweep import run_sweep

RESULTS = Path("benchmarks/results")
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")


class Table:
    """The parts of the table, each in a folder of its own below `out`."""

    def __init__(self, plan: Plan, knobs: tuple[str, ...], out: Path, stories: int, jobs: int) -> None:
        self.plan = plan
        self.knobs = knobs
        self.out = out
        self.stories = stories
        self.jobs = jobs
        self.seconds: dict[str, float] = {}
        """Of each part, in this process."""
        self.refused = plan.refused(knobs)
        """Arms that the family cannot make, and why."""
        out.mkdir(parents=True, exist_ok=True)
        for arm, reason in self.refused.items():
            self.log(f"{arm} cannot be made: {reason}")

    def sweep(self, part: str, stories: str, until: Until, arms: dict[str, dict[str, Any]]) -> Runs:
        """Make one sweep, or what of it is missing."""
        started = time.monotonic()
        self.log(f"{part}: {len(arms) + 1} arms of {self.stories} stories until {until}")
        runs = run_sweep(
            self.plan.sweep(until, arms),
            self.out / part,
            suite=suite(stories, self.stories),
            extra_outcomes=extra_outcomes(until),
            jobs=self.jobs,
            told=lambda done, of: self.log(f"{part}: {done} of {of} runs") if done % 50 == 0 or done == of else None,
        )
        self.seconds[part] = time.monotonic() - started
        self.log(f"{part}: done after {self.seconds[part]:.0f} s, {sum(run.failed is not None for run in runs)} failed")
        return runs

    def asked(self, until: Until, only: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """The arms of the knobs that stop at `until`; of them those in `only`."""
        arms = {
            name: changes for name, changes in self.plan.arms(until, self.knobs).items() if name not in self.refused
        }
        return arms if only is None else {name: changes for name, changes in arms.items() if name in only}

    def answers(self, runs: Runs, until: Until, folder: Path, only: Sequence[str] | None = None) -> tuple[Answer, ...]:
        """Answers to the knobs that stop at `until`, and their page."""
        questions = []
        for name in self.knobs:
            question = self.plan.question(name)
            asked = self.asked(self.plan.knobs[name].until, only)
            arms = {arm: sign for arm, sign in question.arms.items() if arm in asked}
            if self.plan.knobs[name].until == until and arms:
                questions.append(question.model_copy(update={"arms": arms}))
        answers = analyse(runs, questions, self.plan.better(), self.plan.observers)
        write_page(
            folder,
            runs,
            answers,
            title=f"What keeps an ad coherent: {until}",
            command=lambda run: f"python -m benchmarks.coherence --out again --knobs {_knob(run.arm, self.knobs)}",
            better=self.plan.better(),
            meanings={name: one.means for name, one in self.plan.outcomes.items()},
        )
        return answers

    def log(self, line: str) -> None:
        """Say what is done, on the screen and in the log."""
        told = f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}"
        print(told, flush=True)
        with (self.out / "log.txt").open("a") as file:
            file.write(told + "\n")


def _knob(arm: str, knobs: Sequence[str]) -> str:
    return next((name for name in knobs if arm.startswith(f"{name} ")), ",".join(knobs))


def make(table: Table) -> dict[str, Any]:
    """All parts, and the results as JSON."""
    started = time.monotonic()
    answers: list[Answer] = []
    second: list[Answer] = []
    runs_of: dict[Until, Runs] = {}
    for until in UNTIL:
        arms = table.asked(until)
        if not arms:
            continue
        part = f"first-{until}"
        runs_of[until] = table.sweep(part, "first", until, arms)
        found = table.answers(runs_of[until], until, table.out / part)
        answers += found
        again = to_replicate(found)
        if again:
            part = f"{table.plan.replication}-{until}"
            runs = table.sweep(part, table.plan.replication, until, table.asked(until, again))
            second += table.answers(runs, until, table.out / part, again)
    controls = _controls(table, runs_of)
    agreed = agreement(answers, second)
    choices = {
        answer.question.name: choose(runs_of[table.plan.knobs[answer.question.name].until], answer, table.plan, agreed)
        for answer in answers
    }
    about = {
        "command": "python -m benchmarks.coherence",
        "plan_sha256": plan_sha256(),
        "stories": table.stories,
        "date": datetime.now(UTC).date().isoformat(),
        "device": f"{platform.machine()}, {table.jobs} processes",
        "minutes": round((time.monotonic() - started) / 60, 1),
        "seconds": {part: round(seconds, 1) for part, seconds in table.seconds.items()},
        "versions": {name: version(name) for name in PACKAGES},
        "measured_by": _measured_by(runs_of),
        "not_measured": _not_measured(table.plan, runs_of),
        "refused": table.refused,
        "failed": sum(run.failed is not None for runs in runs_of.values() for run in runs),
    }
    return as_json(table.plan, answers, agreed, choices, controls, about)


def _controls(table: Table, runs_of: dict[Until, Runs]) -> list[Control]:
    if "stills" not in runs_of:
        return []
    again = table.sweep("base-again", "first", "stills", {})
    controls = [base_again(runs_of["stills"], again)]
    controls += made_of_takes(runs_of["stills"], suite("first", table.stories), table.out / "first-stills")
    for control in controls:
        table.log(f"control {control.name}: {control.found}")
    return controls


def _not_measured(plan: Plan, runs_of: dict[Until, Runs]) -> dict[str, str]:
    """Outcomes of the plan that have no value at all, and why."""
    missing = plan.unmeasurable()
    for name, outcome in plan.outcomes.items():
        meant = [runs for until, runs in runs_of.items() if outcome.until in (None, until)]
        if not meant:
            missing[name] = f"no knob that was asked for stops at the {outcome.until}"
        if name in missing or any(name in columns(runs) for runs in meant):
            continue
        reasons = [run.scores[name].reason for runs in meant for run in runs if name in run.scores]
        missing[name] = next(filter(None, reasons), "no run measured it")
    return missing


def _measured_by(runs_of: dict[Until, Runs]) -> dict[str, str]:
    """What measured each outcome, and how near that is to a published metric: `gram@1, toy`."""
    found: dict[str, dict[str, None]] = {}
    for runs in runs_of.values():
        for run in runs:
            for name, score in run.scores.items():
                if score.value is not None:
                    found.setdefault(name, {})[f"{score.impl_id}, {score.label}"] = None
    return {name: "; ".join(ways) for name, ways in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--knobs", default="")
    parser.add_argument("--stories", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    plan = read_plan()
    knobs = tuple(args.knobs.split(",")) if args.knobs else tuple(plan.knobs)
    if unknown := [name for name in knobs if name not in plan.knobs]:
        parser.error(f"the plan has no knob {unknown[0]!r}: it has {', '.join(plan.knobs)}")
    whole = knobs == tuple(plan.knobs) and args.stories in (None, plan.stories)
    folder = args.results or (RESULTS if whole else args.out)
    results = make(Table(plan, knobs, args.out, args.stories or plan.stories, args.jobs))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coherence.json").write_text(json.dumps(results, separators=(",", ":"), ensure_ascii=False) + "\n")
    (folder / "coherence.md").write_text(as_markdown(results, plan))
    print(f"{folder}/coherence.md")
    if any(control["passed"] is False for control in results["controls"]):
        raise SystemExit("a control did not come out as it must: the table is not to be believed")


if __name__ == "__main__":
    main()
