"""What scoring costs beside the networks: CPU time over their forward passes, and memory over their weights.

    python -m benchmarks.quality.speed [--part time|memory]... [--json FILE]

Time: each group of dimensions on a clip of 480p, by networks of the published sizes with random weights, one thread.
All CPU time of the process against what is spent in the networks' own passes in the same run; both are CPU time, so
that other work on the machine moves neither much. Of several runs, the one in the middle. What counts as a network's
own pass: what its authors publish as one, from the tensor that it takes to its answer. So finding points is XFeat's
(`detectAndCompute`, which brings the sides to multiples of 32), and so is matching them (`match`), which has its own
figure; the homography and all other resizing are not, nor is what CLIP's own processor does.

Two figures: `overhead` holds everything, `overhead_without_decoding` not what decoding the clip takes by itself, which
all groups measured together share and which falls on every frame, also where a network looks at two in a second.
The bar of 10 % is on the second; `kept_with_decoding` says whether the first is below it too.

Memory: the peak of a process over what it holds when its networks are loaded, in a process of its own each. The
networks are tiny there, because 1,000 frames through the published ones take hours on a CPU, but for CLIP B/32,
EfficientNet and one pair through RAFT; what stands between decoder and network is of the real size. A clip of 250
frames is decoded over and over until the frames are there.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.quality.gpu import FPS, moving
from models.interfaces import Pixels
from pipelines.media import encode_clip, stream_clip
from quality.dimensions import product_keypoints
from quality.engine import measure
from quality.registry import DIMENSIONS, of_name
from quality.score import Score
from quality.stream import Reference, Shot
from tests.support.random_scorers import NETWORKS, scorers

MOST_TIME = 0.10
RUNS, ENOUGH = 5, 60.0
"""Runs of a group, and CPU seconds after which no further one is begun."""
SIZES = {"480p": (480, 832), "1080p": (1080, 1920)}
MOST_MB = {"480p": 300, "1080p": 600}
KEPT = 250
"""Frames of the clip that is decoded over and over."""
FOUR = ("subject_consistency", "background_consistency", "aesthetic_quality", "dynamic_degree")
GROUPS: dict[str, tuple[tuple[str, ...], int]] = {
    "subject, background, aesthetic, dynamic": (FOUR, 24),
    "clip": (("clip_consistency", "text_alignment"), 48),
    "efficientnet": (("imagenet_consistency",), 48),
    "xfeat": (("product_keypoints", "copy_paste"), 48),
    "viclip": (("overall_consistency", "temporal_style"), 24),
    "musiq": (("imaging_quality", "musiq.spaq", "musiq.koniq"), 16),
    "transnetv2": (("unwanted_cuts.transnetv2",), 120),
    "dover": (("dover.technical", "dover.aesthetic", "dover.fused"), 192),
}
"""Dimensions that share networks, and how many frames they are timed on."""


class Case(NamedTuple):
    """One row of the table of memory."""

    size: str
    frames: int
    group: str


LONG = ("no networks", "pictures")
WHOLE = ("clip", "efficientnet")
"""Groups whose networks have their published size here too: those that a CPU gets through 1,000 frames with."""
CASES = (
    *(Case("480p", 1000, group) for group in WHOLE),
    Case("480p", 5000, "clip"),
    *(Case("1080p", 1000, group) for group in WHOLE),
    Case("1080p", 100, "clip"),
    Case("1080p", 100, "efficientnet"),
    *(Case("480p", 1000, group) for group in LONG),
    *(Case("1080p", 1000, group) for group in LONG),
    *(Case("480p", 5000, group) for group in LONG),
    Case("480p", 4, "raft pair"),
    Case("480p", 240, "raft"),
    Case("1080p", 24, "raft"),
    Case("480p", 64, "musiq"),
    Case("1080p", 32, "musiq"),
)


class Timed:
    """A backbone that counts the CPU seconds of its own passes, without those of its processor."""

    def __init__(self, backbone: Any) -> None:
        self.seconds = 0.0
        self._backbone = backbone
        if hasattr(backbone, "_processor"):
            backbone._processor = _Beside(self, backbone._processor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def features(self, batch: Any) -> Any:
        began = time.process_time()
        found = self._backbone.features(batch)
        self.seconds += time.process_time() - began
        return found

    def text(self, text: str) -> Any:
        began = time.process_time()
        found = self._backbone.text(text)
        self.seconds += time.process_time() - began
        return found


class _Beside:
    """A processor whose CPU seconds are taken off those of the backbone that calls it."""

    def __init__(self, timed: Timed, processor: Any) -> None:
        self._timed = timed
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        made = self._processor(*arguments, **options)
        self._timed.seconds -= time.process_time() - began
        return made


def names_of(group: str) -> tuple[str, ...]:
    """The dimensions of a group of either table."""
    clips = [name for name, dimension in DIMENSIONS.items() if "clip" in dimension.media]
    if group == "no networks":
        return tuple(name for name in clips if not of_name(name).NEEDS)
    if group == "pictures":
        apart = {"raft", "musiq_spaq", "musiq_koniq"}
        known = {*NETWORKS, "dover"} - apart
        needs = {name: {stream.backbone for stream in of_name(name).NEEDS} for name in clips}
        return tuple(name for name in clips if needs[name] and needs[name] <= known)
    if group in ("raft", "raft pair"):
        return ("dynamic_degree", "raft_dynamics")
    return GROUPS[group][0]


def backbones_of(names: Sequence[str]) -> tuple[str, ...]:
    """What the dimensions need."""
    return tuple(dict.fromkeys(stream.backbone for name in names for stream in of_name(name).NEEDS))


def shot_of(size: str, frames: int, backbones: dict[str, Any]) -> Shot:
    """A clip with all that its dimensions may ask for."""
    reference = Reference(moving(256, 256, 1, seed=7)[0])
    return Shot(
        fps=FPS,
        frame_count=frames,
        prompt="a red cup",
        references=(reference,),
        start=moving(*SIZES[size], 1, seed=0)[0],
        backbones=backbones,
    )


def over_and_over(data: bytes, frames: int) -> Iterator[Pixels]:
    """So many frames from a clip that may be shorter."""
    left = frames
    while left:
        for frame in stream_clip(data):
            yield frame
            left -= 1
            if not left:
                return


def timed(group: str, data: bytes) -> dict[str, Any]:
    """A row of the table of time: the run in the middle by its overhead, of as many as ENOUGH allows."""
    names, frames = GROUPS[group]
    with tempfile.TemporaryDirectory() as root:
        backbones = {name: Timed(each) for name, each in scorers(backbones_of(names), Path(root), whole=True).items()}
    # What is imported and computed once is no part of a clip; a cut is looked for in windows, so a few frames will do.
    measure(names, over_and_over(data, 2), shot_of("480p", 2, dict(backbones)))
    runs: list[dict[str, Any]] = []
    spent = 0.0
    while len(runs) < RUNS and spent < ENOUGH:
        runs.append(_timed_once(names, frames, backbones, data))
        spent += runs[-1]["total_cpu_seconds"]
    runs.sort(key=lambda row: float(row["overhead_without_decoding"]))
    return {"group": group, "frames": frames, "runs": len(runs), **runs[len(runs) // 2]}


def _matches(spent: list[float], match: Callable[..., Any], *points: Any) -> Any:
    """What `match` finds; the CPU seconds that it takes go to `spent`."""
    began = time.process_time()
    pairs = match(*points)
    spent.append(time.process_time() - began)
    return pairs


def _timed_once(names: Sequence[str], frames: int, backbones: dict[str, Timed], data: bytes) -> dict[str, Any]:
    for each in backbones.values():
        each.seconds = 0.0
    matching: list[float] = []

    began = time.process_time()
    with patch("quality.dimensions.product_keypoints.matches", partial(_matches, matching, product_keypoints.matches)):
        scores = measure(names, over_and_over(data, frames), shot_of("480p", frames, dict(backbones)))
    total = time.process_time() - began
    spent = {name: each.seconds for name, each in backbones.items()} | {"matching": sum(matching)}
    forward = sum(spent.values())
    began = time.process_time()
    for _ in over_and_over(data, frames):
        pass
    decoding = time.process_time() - began
    overhead, without = (total - forward) / forward, (total - forward - decoding) / forward
    return {
        "total_cpu_seconds": round(total, 3),
        "forward_cpu_seconds": {name: round(seconds, 3) for name, seconds in spent.items() if seconds},
        "beside_cpu_seconds": round(total - forward, 3),
        "of_that_decoding": round(decoding, 3),
        "overhead": round(overhead, 4),
        "overhead_without_decoding": round(without, 4),
        "kept": without <= MOST_TIME,
        "kept_with_decoding": overhead <= MOST_TIME,
        "without_a_value": _reasons(scores),
    }


def held(case: Case, data: bytes) -> dict[str, Any]:
    """A row of the table of memory; in a process of its own."""
    torch.set_num_threads(1)
    names = names_of(case.group)
    with tempfile.TemporaryDirectory() as root:
        backbones = scorers(backbones_of(names), Path(root), whole=case.group in (*WHOLE, "raft pair"))
    shot = shot_of(case.size, case.frames, backbones)
    for name in names:
        of_name(name)  # what is imported is no part of a clip
    import cv2  # noqa: F401

    # Weights that are mapped into memory are there when they were used once: one small frame, or two for RAFT.
    measure(names, moving(128, 128, 2, seed=0), shot_of(case.size, 2, backbones))
    ctypes.CDLL(None).malloc_trim(0)  # else what loading left free would hide as much of the peak
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _status("VmRSS")
    began = time.process_time()
    scores = measure(names, over_and_over(data, case.frames), shot)
    return {
        **case._asdict(),
        "dimensions": len(names),
        "peak_mb_above_models": round(_status("VmHWM") - before, 1),
        "cpu_seconds": round(time.process_time() - began, 1),
        "peak_of_process_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "without_a_value": _reasons(scores),
    }


def apart(case: Case) -> dict[str, Any]:
    """The row of a case, measured in a process of its own."""
    data = encode_clip(moving(*SIZES[case.size], KEPT, seed=0), FPS)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        row = pool.apply(held, (case, data))
    return {**row, "kept": row["peak_mb_above_models"] <= MOST_MB[case.size]}


def _reasons(scores: Sequence[Score]) -> dict[str, str]:
    return {score.metric_id: score.reason for score in scores if score.reason is not None}


def _status(what: str) -> float:
    """Megabytes of this process, as the kernel counts them."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(what))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("time", "memory"), action="append")
    parser.add_argument("--only", nargs="+", default=[], help="groups of the parts")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores ({platform.machine()}), one torch thread",
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "weights": "random",
    }
    if chosen.json and chosen.json.exists():  # a part at a time
        result = json.loads(chosen.json.read_text()) | result

    def keep(part: str, row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)
        keys = ("group",) if part == "time" else Case._fields
        others = [each for each in result.get(part, []) if any(each[key] != row[key] for key in keys)]
        result[part] = [*others, row]
        if chosen.json:
            chosen.json.write_text(json.dumps(result, indent=1) + "\n")

    parts = chosen.part or ["time", "memory"]
    if "time" in parts:
        data = encode_clip(moving(*SIZES["480p"], 48, seed=0), FPS)
        for group in GROUPS:
            if not chosen.only or group in chosen.only:
                keep("time", timed(group, data))
    if "memory" in parts:
        for case in CASES:
            if not chosen.only or case.group in chosen.only:
                keep("memory", apart(case))


if __name__ == "__main__":
    main()
