"""What AdMint costs beside its models: the main job against the bare library calls, and what a start costs.

    python -m benchmarks.overhead [--json FILE]

One ad is made with warm models and every model request is recorded. Then the same requests go to bare transformers and
diffusers calls with the same weights, settings and noise, in the same process: first all of
ours, then all of theirs. Bare chat is `generate` with xgrammar's own logits processor; it may write another number
of tokens, so its time is scaled to ours by tokens. Start-up is measured in fresh processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bare_models import BareModels
from configs.settings import load_profile, load_recipe
from models.interfaces import ChatRequest, ImageRequest, VideoRequest, Watcher
from pipelines.brief import Brief
from pipelines.report.folder import write_report
from pipelines.report.record import collect
from pipelines.runtime.engine import Engine
from pipelines.scoring import ScoreRequest
from serving.backends.in_process import LocalModels, local_models
from serving.reference_files import read_references
from serving.run_folder import OWNER, open_run_folder

EXAMPLE = Path(__file__).parents[1] / "examples" / "water-bottle"
HELP_LIMIT, COLD_LIMIT, RSS_LIMIT_GB, OVERHEAD_LIMIT = 0.5, 12.0, 3.0, 0.05


@dataclass
class Recorder:
    """Passes calls on to the models and keeps each request with its seconds and answer tokens."""

    models: LocalModels
    calls: list[tuple[str, Any, float, int]] = field(default_factory=list)

    @property
    def chat_model(self) -> Any:
        return self.models.chat_model

    @property
    def image_model(self) -> Any:
        return self.models.image_model

    @property
    def video_model(self) -> Any:
        return self.models.video_model

    async def chat(self, request: ChatRequest, watcher: Watcher | None = None) -> Any:
        result = await self.models.chat(request, watcher)
        self.calls.append(("chat", request, result.seconds, result.completion_tokens))
        return result

    async def image(self, request: ImageRequest, watcher: Watcher | None = None) -> Any:
        result = await self.models.image(request, watcher)
        self.calls.append(("image", request, result.seconds, 0))
        return result

    async def video(self, request: VideoRequest, watcher: Watcher | None = None) -> Any:
        result = await self.models.video(request, watcher)
        self.calls.append(("video", request, result.seconds, 0))
        return result

    async def score(self, request: ScoreRequest, watcher: Watcher | None = None) -> Any:
        """Not a call of the three models: what scoring takes counts as ours."""
        return await self.models.score(request, watcher)


async def make_ad(recorder: Recorder, folder: Path, seed: int) -> float:
    """Seconds of one whole ad: agents, pictures, clips, cut, scores, report."""
    profile, described = load_profile("sketch"), recorder.models.described
    files = read_references([str(EXAMPLE / "references")])
    brief = Brief(
        prompt=(EXAMPLE / "brief.txt").read_text().strip(),
        duration=15,
        references=tuple(file.reference for file in files),
        seed=seed,
    )
    started = time.perf_counter()
    async with open_run_folder(folder) as opened:
        for file in files:
            opened.artifacts.put(file.png, "image/png")
        manifest = {**described.manifest, "notes": []}
        generation = await opened.store.create(OWNER, brief, load_recipe("master"), {}, manifest)
        engine = Engine(
            opened.store,
            opened.artifacts,
            recorder,
            described.fingerprints,
            profile.fps,
            profile.delivery,
            "benchmark",
        )
        state = await engine.run(OWNER, generation)
        write_report(folder, await collect(opened.store, OWNER, generation, state), opened.artifacts)
    return time.perf_counter() - started


def compare(seed: int) -> dict[str, Any]:
    """Our wall time against the sum of the bare calls."""
    models = local_models(load_profile("sketch"))
    recorder = Recorder(models)
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(make_ad(recorder, Path(scratch) / "warm", seed))
        recorder.calls.clear()
        ours = asyncio.run(make_ad(recorder, Path(scratch) / "ad", seed + 1))
    models.close()
    bare = BareModels(models)
    bare.warm(recorder.calls)
    by_kind: dict[str, list[float]] = {"chat": [0.0, 0.0, 0], "image": [0.0, 0.0, 0], "video": [0.0, 0.0, 0]}
    for kind, request, seconds, tokens in recorder.calls:
        totals = by_kind[kind]
        totals[0] += seconds
        totals[1] += bare.seconds(kind, request, tokens)
        totals[2] += 1
    theirs = sum(totals[1] for totals in by_kind.values())
    return {
        "libraries": models.described.manifest["libraries"],
        "notes": list(models.described.notes),
        "ours_seconds": ours,
        "bare_seconds": theirs,
        "overhead": ours / theirs - 1,
        "outside_model_calls_seconds": ours - sum(totals[0] for totals in by_kind.values()),
        "by_kind": {
            kind: {"calls": int(count), "ours_seconds": mine, "bare_seconds": other}
            for kind, (mine, other, count) in by_kind.items()
        },
    }


def start_up() -> dict[str, float]:
    """Seconds of `--help`, and of a cold start up to the first denoising step; medians of three."""
    return {"help_seconds": median(help_seconds), "first_step_seconds": median(first_step_seconds)}


def median(measure: Callable[[], float]) -> float:
    return sorted(measure() for _ in range(3))[1]


def help_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "serving", "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def first_step_seconds() -> float:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "serving", "generate-images", "--prompt", "a red bottle", "--output", scratch]
        started = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            if process.stderr is None:
                raise RuntimeError("no stderr")
            for line in process.stderr:
                if ": step 1 of " in line or ": step 2 of " in line:
                    seconds = time.perf_counter() - started
                    process.communicate()
                    return seconds
    raise RuntimeError("no denoising step was seen")


def demo_peak_gb() -> float:
    """Peak resident memory of the demo's own process, in GB."""
    with tempfile.TemporaryDirectory() as scratch:
        flags = ["--prompt", f"@{EXAMPLE / 'brief.txt'}", "--reference-images", str(EXAMPLE / "references")]
        flags += ["--seed", "7", "--output", f"{scratch}/ad", "--full-pipeline"]
        subprocess.run([sys.executable, "-m", "serving", "pipeline", *flags], check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    started = start_up()
    peak = demo_peak_gb()
    compared = compare(arguments.seed)
    rows = [
        ("overhead of the main job", compared["overhead"], OVERHEAD_LIMIT, "{:.1%}"),
        ("peak memory of the demo, GB", peak, RSS_LIMIT_GB, "{:.2f}"),
        ("admint --help, s", started["help_seconds"], HELP_LIMIT, "{:.2f}"),
        ("cold start to the first denoising step, s", started["first_step_seconds"], COLD_LIMIT, "{:.1f}"),
    ]
    for name, value, limit, form in rows:
        verdict = "ok" if value <= limit else "MISSED"
        print(f"{name:45} {form.format(value):>8}  bar {form.format(limit):>6}  {verdict}")
    for kind, totals in compared["by_kind"].items():
        ours, bare = totals["ours_seconds"], totals["bare_seconds"]
        print(f"  {kind:6} {totals['calls']:3} calls  ours {ours:7.2f} s  bare {bare:7.2f} s")
    print(f"  outside of model calls {compared['outside_model_calls_seconds']:.2f} s")
    if arguments.json:
        result = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "peak_gb": peak, **started, **compared}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
