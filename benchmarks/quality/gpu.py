"""How near scoring on a GPU comes to what the networks alone would take: four dimensions, 20 clips of 5 s at 480p.

    python -m benchmarks.quality.gpu [--minutes 4] [--out FOLDER]
    python -m benchmarks.quality.gpu --tiny    rehearsal on a CPU with tiny networks: its numbers say nothing

Subject, background, aesthetic and dynamic, through the engine that every way in uses, by networks of the published
sizes in float32 with random weights. The bound is the same batches through the same networks again, with nothing
else. Clips come through the project's decoder where PyAV is installed, else from arrays: `source` says which.
Every figure is printed and written to `gpu.json` as soon as it is known; what no longer fits the minutes is left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import about
from models.interfaces import Frames, Pixels
from quality.catalogue import entries
from quality.engine import CLIPS_TOGETHER, Clip, measure_clips
from quality.registry import of_name
from quality.stream import Shot
from tests.support.random_scorers import scorers

DIMENSIONS = ("subject_consistency", "background_consistency", "aesthetic_quality", "dynamic_degree")
CLIPS = 20
DIFFERENT = 4
"""Clips that are made; they come round until there are `CLIPS`."""
FPS = 24
SIZES = {False: (480, 832, 5 * FPS), True: (128, 160, FPS)}
"""Height, width and frames of a clip; of the rehearsal, True."""
SHARE_FOR_CLIPS = 0.4
"""Of the minutes, for the clips through the engine: the bound takes about as long."""


class Recorded:
    """A backbone that also keeps what it is asked."""

    def __init__(self, backbone: Any) -> None:
        self._batches: list[Any] = []
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def features(self, batch: Any) -> Any:
        self._batches.append(batch)
        return self._backbone.features(batch)

    def again(self, times: int) -> None:
        """Answer all of it so many times."""
        for _ in range(times):
            for batch in self._batches:
                self._backbone.features(batch)


def moving(height: int, width: int, frames: int, seed: int) -> Frames:
    """A window that pans over a smooth random picture: uint8 (frames, height, width, 3)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 16, (width + 4 * frames) // 16, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, (height, width + 4 * frames), mode="bicubic").clamp(0, 1)
    picture = (255 * wide[0]).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.stack([picture[:, (2 + seed % 3) * number :][:, :width] for number in range(frames)])


def seconds(work: Callable[[], object]) -> float:
    """Of `work`, to the end of what it started on the device."""
    _wait()
    began = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Sources:
    """The clips, as the engine takes them."""

    def __init__(self, tiny: bool) -> None:
        self.height, self.width, self.count = SIZES[tiny]
        self.is_decoded = find_spec("av") is not None
        self._arrays = [moving(self.height, self.width, self.count, seed) for seed in range(DIFFERENT)]
        if self.is_decoded:
            from pipelines.media import encode_clip

            self._files = [encode_clip(frames, FPS) for frames in self._arrays]

    def frames(self, number: int) -> Iterable[Pixels]:
        """Of one clip: decoded anew where there is a decoder."""
        if not self.is_decoded:
            return iter(self._arrays[number % DIFFERENT])
        from pipelines.media import stream_clip

        return stream_clip(self._files[number % DIFFERENT])

    def clips(self, count: int, backbones: Mapping[str, Any]) -> Iterator[Clip]:
        shot = Shot(fps=FPS, frame_count=self.count, backbones=backbones)
        return (Clip(DIMENSIONS, self.frames(number), shot) for number in range(count))


def scored(clips: Iterable[Clip], together: int = CLIPS_TOGETHER) -> list[Any]:
    """The scores of each; an error or a score without a value ends the benchmark."""
    outcomes = list(measure_clips(clips, together=together))
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        for score in outcome:
            if score.raw is None:
                raise RuntimeError(f"{score.metric_id} has no value: {score.reason}")
    return outcomes


def forwards(recorded: Mapping[str, Recorded], times: int) -> dict[str, float]:
    """Seconds of each backbone for its batches, `times` over."""
    return {name: seconds(partial(each.again, times)) for name, each in recorded.items()}


def run(tiny: bool, minutes: float, keep: Callable[[dict[str, Any]], None]) -> None:
    """Measure in the order of worth; `keep` takes each part of the result."""
    began = time.monotonic()
    device = "cpu" if tiny else "cuda"

    def left() -> float:
        return 60 * minutes - (time.monotonic() - began)

    sources = Sources(tiny)
    keep({
        "clip": {"height": sources.height, "width": sources.width, "frames": sources.count, "fps": FPS},
        "source": "H.264 through the project's decoder" if sources.is_decoded else "arrays: no decoder is installed",
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "convolution": torch.backends.cudnn.allow_tf32},
        "tflop_per_clip": None if tiny else sum(e.tflop or 0 for e in entries({}, ()) if e.name in DIMENSIONS),
    })  # fmt: skip
    names = tuple(dict.fromkeys(stream.backbone for name in DIMENSIONS for stream in of_name(name).NEEDS))
    with tempfile.TemporaryDirectory() as root:
        backbones = scorers(names, Path(root), whole=not tiny, device=device)
    models = torch.cuda.memory_allocated() if device == "cuda" else 0
    keep({"seconds_to_load": time.monotonic() - began, "models_mb": models / 1e6 if models else None})

    scored(sources.clips(1, backbones))  # what is compiled and chosen at first use
    one = seconds(lambda: scored(sources.clips(1, backbones)))
    count = CLIPS if not tiny else DIFFERENT
    count = max(DIFFERENT, min(count, int(SHARE_FOR_CLIPS * left() / one)))
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken = seconds(lambda: scored(sources.clips(count, backbones)))
    keep({
        "clips": count,
        "seconds_alone": one,
        "seconds_per_clip": taken / count,
        "clips_per_minute": 60 * count / taken,
        "peak_gpu_mb": torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None,
        "peak_gpu_above_models_mb": (torch.cuda.max_memory_allocated() - models) / 1e6 if device == "cuda" else None,
        "peak_host_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    })  # fmt: skip

    recorded = {name: Recorded(backbone) for name, backbone in backbones.items()}
    scored(sources.clips(DIFFERENT, recorded))
    times = max(1, min(count // DIFFERENT, int(left() / (2 * taken / count * DIFFERENT))))
    forward = forwards(recorded, times)
    per_clip = {name: spent / (times * DIFFERENT) for name, spent in forward.items()}
    bound = sum(per_clip.values())
    keep({
        "forward_seconds_per_clip": per_clip,
        "bound_seconds_per_clip": bound,
        "bound_clips_per_minute": 60 / bound,
        "share_of_bound": bound / (taken / count),
    })  # fmt: skip
    keep({"decode_seconds_per_clip": seconds(lambda: [list(sources.frames(n)) for n in range(DIFFERENT)]) / DIFFERENT})
    if left() > DIFFERENT * one:
        alone = seconds(lambda: scored(sources.clips(DIFFERENT, backbones), together=1)) / DIFFERENT
        keep({"seconds_per_clip_one_at_a_time": alone, "share_of_bound_one_at_a_time": bound / alone})
    if device == "cuda" and left() > 2 * DIFFERENT * bound:
        torch.backends.cudnn.allow_tf32 = False
        exact = sum(forwards(recorded, 1).values()) / DIFFERENT
        keep({"bound_seconds_per_clip_without_tf32": exact})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0, help="from now until the last figure")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of gpu.json")
    parser.add_argument("--tiny", action="store_true")
    chosen = parser.parse_args(arguments)
    if not (chosen.tiny or torch.cuda.is_available()):
        print("nothing was measured: torch sees no CUDA device (--tiny rehearses on the CPU)", file=sys.stderr)
        return 1
    chosen.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = about(chosen.tiny)

    def keep(part: dict[str, Any]) -> None:
        result.update(part)
        print(json.dumps(part), flush=True)
        (chosen.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")

    run(chosen.tiny, chosen.minutes, keep)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
