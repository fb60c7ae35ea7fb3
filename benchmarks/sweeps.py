"""What a sweep costs beside its engines: short runs on the sketch family, and reading a thousand of them.

    python -m benchmarks.sweeps [--runs 100] [--json FILE]

The base is the time in which a call of the image model or of a scorer is open, which is what the same pictures and
scores cost by themselves. Both are of one run, so that a busy machine stretches them alike. On top comes everything
else: planning, the engine's steps, files, rows, the table. Loading the models is in neither: it happens once for each
process, whatever it makes. The estimate is that of a dry run after a tenth of the runs, against what the others then
took.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.lab.runs import Run, RunScore, read_runs, write_plan, write_run
from pipelines.lab.spec import SweepSpec, parse_spec
from pipelines.lab.suite import Story, Suite, SuiteScene
from serving.backends.in_process import LocalModels
from serving.lab.sweep import estimate_sweep, run_sweep

OVERHEAD_LIMIT, READ_LIMIT, ESTIMATE_LIMIT = 0.10, 5.0, 0.25
SHAPES = ("mug", "bottle", "box", "lamp", "jar")
SETTINGS = ("on a wooden table", "in the snow", "on the beach", "in the city")
ARMS = 5


@dataclass
class Inside:
    """Seconds in which at least one call of an engine is open."""

    wall: float = 0.0
    began: float = 0.0
    open: int = 0

    def enter(self) -> None:
        """A call begins."""
        if self.open == 0:
            self.began = time.perf_counter()
        self.open += 1

    def leave(self) -> None:
        """A call ends."""
        self.open -= 1
        if self.open == 0:
            self.wall += time.perf_counter() - self.began


@contextmanager
def counted() -> Iterator[Inside]:
    """Counts what the calls of models take, without loading."""
    inside = Inside()
    originals = {name: getattr(LocalModels, name) for name in ("image", "video", "score")}

    def counting(original: Any) -> Any:
        async def call(self: Any, request: Any, watcher: Any = None) -> Any:
            inside.enter()
            try:
                return await original(self, request, watcher)
            finally:
                inside.leave()

        return call

    for name, original in originals.items():
        setattr(LocalModels, name, counting(original))
    try:
        yield inside
    finally:
        for name, original in originals.items():
            setattr(LocalModels, name, original)


def spec_of(arms: int) -> SweepSpec:
    strengths = [round(0.1 + 0.8 * number / ARMS, 3) for number in range(1, arms)]
    return parse_spec(
        {
            "profile": "sketch",
            "until": "stills",
            "arms": {"list": {f"blend {a}": {"coherence.blend_strength": a} for a in strengths}},
            "outcomes": ["keyframe_alignment", "technical.sharpness"],
        },
        "benchmark",
    )


def suite_of(stories: int) -> Suite:
    return Suite(
        stories=tuple(
            Story(
                id=f"story-{number:03d}",
                scenes=tuple(
                    SuiteScene(prompt=f"a red {SHAPES[number % len(SHAPES)]} {SETTINGS[(number + k) % len(SETTINGS)]}")
                    for k in range(2)
                ),
            )
            for number in range(stories)
        )
    )


def short_runs(runs: int) -> dict[str, float]:
    """`runs` runs of two stills each, in this process."""
    stories = runs // ARMS
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "sweep"
        tenth = suite_of(max(1, stories // 10))
        run_sweep(spec_of(ARMS), out, suite=tenth)
        suite = suite_of(stories)
        with counted() as inside:
            estimated = estimate_sweep(spec_of(ARMS), out, suite=suite).seconds or 0.0
            started = time.perf_counter()
            table = run_sweep(spec_of(ARMS), out, suite=suite)
            wall = time.perf_counter() - started
        loads = loading_of(out)
        if table.missing or any(run.failed for run in table):
            raise RuntimeError("runs of the benchmark failed")
    return {
        "runs": len(table) - ARMS * len(tenth.stories),
        "wall_seconds": wall - loads,
        "engine_wall_seconds": inside.wall,
        "overhead_wall": (wall - loads) / inside.wall - 1,
        "estimated_seconds": estimated,
        "estimate_off": estimated / wall - 1,
    }


def loading_of(out: Path) -> float:
    """Seconds of loading models in the last process of a sweep."""
    from pipelines.lab.cache import all_records

    return sum(record.seconds for record in all_records(out) if record.step.startswith("load/"))


def reading(runs: int = 1000) -> float:
    """Seconds to read a table of so many rows with twenty outcomes each."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        scores = {f"outcome-{k}": RunScore(value=k / 7, impl_id="outcome@1", label="toy") for k in range(20)}
        takes = {f"scene-{k}/keyframe": "0" * 64 for k in range(4)}
        names = [f"{number:020x}" for number in range(runs)]
        for number, run_id in enumerate(names):
            write_run(out, Run(run_id=run_id, arm=f"arm {number % 10}", story=f"story-{number // 10}", seed=1,
                               takes=takes, scores=scores))  # fmt: skip
        write_plan(out, {"runs": names})
        started = time.perf_counter()
        found = read_runs(out)
        seconds = time.perf_counter() - started
        if len(found) != runs:
            raise RuntimeError(f"{len(found)} of {runs} runs were read")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = short_runs(arguments.runs + arguments.runs // 10)
    read = reading()
    rows = [
        (f"overhead of {measured['runs']:.0f} short runs", measured["overhead_wall"], OVERHEAD_LIMIT, "{:.1%}"),
        ("estimate of a dry run, off by", abs(measured["estimate_off"]), ESTIMATE_LIMIT, "{:.1%}"),
        ("1,000 finished runs are read in, s", read, READ_LIMIT, "{:.2f}"),
    ]
    for name, value, limit, form in rows:
        print(f"{name:40} {form.format(value):>8}  bar {form.format(limit):>6}  {'ok' if value <= limit else 'MISSED'}")
    print(
        f"  in all {measured['wall_seconds']:.1f} s, {measured['engine_wall_seconds']:.1f} s of it inside the engines"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({**measured, "read_seconds": read}, indent=2) + "\n")


if __name__ == "__main__":
    main()
