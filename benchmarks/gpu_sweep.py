"""A sweep on a full-size architecture: SDXL with random weights runs a spec to its end, killed on its way and resumed.

    python -m benchmarks.gpu_sweep [--json FILE]
    python -m benchmarks.gpu_sweep --tiny    rehearsal on a CPU with small configurations: its seconds say nothing

Three arms of two stories of two scenes, stills of 1024 x 1024, scored by the sketch world's CLIP on the device: about
a minute on one H200. The process that makes it is killed after some of its steps; another goes on, and a third
finds nothing to do. The pictures mean nothing, so nothing is said of what an arm does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import gpu_architectures as architectures
from benchmarks.gpu import about
from configs.settings import library_root
from models.registry import load
from models.weights import Library
from pipelines.lab.cache import all_records
from pipelines.lab.runs import Runs
from pipelines.lab.spec import SweepSpec, parse_spec
from pipelines.lab.suite import Story, Suite, SuiteScene
from serving.lab.sweep import run_sweep
from serving.profile_models import LibraryLoader

NAME = "random-sdxl"
STEPS_OF_A_STILL = 20
KILLED_AFTER = 4
"""Finished steps, of thirty: stills, their scores and the summaries."""
PATIENCE_SECONDS = 240.0


@dataclass(frozen=True)
class Made(LibraryLoader):
    """The image model from a folder of random weights; all others from the weights library."""

    folder: Path = Path()

    def image(self, spec: Any) -> Any:
        loader: Any = load
        return loader(spec, {"main": self.folder}, self.device)


def described(folder: Path, tiny: bool) -> None:
    """A profile of that name with the model, as somebody's own descriptions."""
    device, side = ("cpu", 64) if tiny else ("cuda", 1024)
    pixels = 2 * side * side
    model = {
        "name": NAME, "kind": "image", "family": "stable-diffusion-xl", "licence": "none", "commercial": "yes",
        "vram_gb": 0, "dtype": "float32" if tiny else "float16", "sizes": {"1:1": [side, side]},
        "num_inference_steps": STEPS_OF_A_STILL, "guidance_scale": 5.0, "references": 0, "batch_pixels": pixels,
    }  # fmt: skip
    profile = {
        "description": "SDXL with random weights", "chat": "sketch-author", "image": NAME, "video": "sketch-video",
        "scorer": "sketch-clip", "device": device, "fps": 24, "delivery": {"1:1": [480, 480]},
        "lanes": {"chat": device, "image": device, "video": device},
    }  # fmt: skip
    for kind, text in (("models", model), ("profiles", profile)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{NAME}.yaml").write_text(yaml.safe_dump(text))
    os.environ["ADMINT_CONFIGS"] = str(folder)


def spec_of() -> SweepSpec:
    arms = {"independent": {"coherence.seed_policy": "derived"}, "few": {"image.num_inference_steps": 10}}
    # No gate: noise would be made anew for failing it.
    return parse_spec(
        {
            "asks": "Does a sweep end and resume on a full-size model?",
            "profile": NAME,
            "until": "stills",
            "base": {"quality_gate.minimums": {}},
            "arms": {"list": arms},
            "outcomes": ["keyframe_alignment", "technical.sharpness"],
        },
        "gpu",
    )


def suite_of() -> Suite:
    places = ("on a wooden table", "in the snow")
    return Suite(
        stories=tuple(
            Story(id=thing, scenes=tuple(SuiteScene(prompt=f"a red {thing} {place}") for place in places))
            for thing in ("mug", "bottle")
        )
    )


def sweep(out: Path, weights: Path, device: str) -> Runs:
    return run_sweep(spec_of(), out, suite=suite_of(), loader=Made(Library(library_root()), device, weights))


def killed(out: Path, weights: Path, device: str) -> dict[str, str]:
    """Start the sweep in a process, kill it, and say which steps it finished: its record by key."""
    process = multiprocessing.get_context("spawn").Process(target=sweep, args=(out, weights, device))
    process.start()
    until = time.monotonic() + PATIENCE_SECONDS
    while process.is_alive() and time.monotonic() < until:
        if len(made(out)) >= KILLED_AFTER:
            break
        time.sleep(0.05)
    if not process.is_alive():
        raise RuntimeError("the process ended before it could be killed")
    process.kill()
    process.join()
    return made(out)


def made(out: Path) -> dict[str, str]:
    """When each finished step was made, by key; of a model that was loaded nothing."""
    return {
        record.key: record.created_at.isoformat() for record in all_records(out) if not record.step.startswith("load/")
    }


def measured(folder: Path, tiny: bool) -> Mapping[str, Any]:
    """The whole rehearsal in `folder`. Raises RuntimeError when something is not as it must be."""
    device, dtype = ("cpu", torch.float32) if tiny else ("cuda", torch.float16)
    described(folder / "descriptions", tiny)
    started = time.perf_counter()
    size = architectures.TINY_SDXL if tiny else architectures.SDXL()
    architectures.save_sdxl(folder / "weights", size, device, dtype)
    if not tiny:
        torch.cuda.empty_cache()
    saved = time.perf_counter()
    out = folder / "sweep"
    before = killed(out, folder / "weights", device)
    resumed_at = time.perf_counter()
    runs = sweep(out, folder / "weights", device)
    ended = time.perf_counter()
    after = made(out)
    again = sweep(out, folder / "weights", device)
    checks = {
        "all_runs_finished": len(runs) == 6 and not runs.missing and not any(run.failed for run in runs),
        "finished_steps_were_kept": before.items() <= after.items() and len(before) >= KILLED_AFTER,
        "something_was_left_to_do": len(after) > len(before),
        "nothing_is_made_again": list(again) == list(runs) and made(out) == after,
        "arms_differ": len({run.takes["scene-1/keyframe"] for run in runs}) == len(runs),
        "every_outcome_has_a_value": all(score.value is not None for run in runs for score in run.scores.values()),
    }
    return {
        "checks": checks,
        "steps_before_the_kill": len(before),
        "steps": len(after),
        "seconds": {"saving": saved - started, "killed": resumed_at - saved, "resumed": ended - resumed_at},
        "seconds_per_still": sum(run.seconds["storyboard"] for run in runs) / sum(len(run.takes) for run in runs),
        "peak_memory_mb": max(run.peak_memory_mb or 0.0 for run in runs),
        "failed": [run.failed for run in runs if run.failed],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.tiny or torch.cuda.is_available()):
        print("nothing was measured: torch sees no CUDA device (--tiny rehearses on the CPU)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        found = {**about(arguments.tiny), **measured(Path(scratch), arguments.tiny)}
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(found["checks"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
