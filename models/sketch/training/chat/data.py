"""Rendered pictures that the chat model learns to look at, cached once, by aspect bucket with their specs.

`python -m models.sketch.training.chat.data --images 12000` renders with worker processes. The other models render
while they train (`models.sketch.training.farm`); the dialogues name pictures by bucket and index, and so need a cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.render import render_array
from models.sketch.training.world.spec import ASPECTS, SceneSpec, Split, frame_size, sample_spec

CACHE = Path.home() / ".cache/admint/train"
SHARES = {"1:1": 0.5, "9:16": 0.25, "16:9": 0.25}
SEEDS = {"train": 1, "heldout": 2}
CHUNK = 200
Pixels = NDArray[np.uint8]


def build(split: Split, images: int, workers: int) -> None:
    """Render and write every bucket of one split."""
    (CACHE / "pictures").mkdir(parents=True, exist_ok=True)
    for index, aspect in enumerate(ASPECTS):
        chunks = max(1, round(images * SHARES[aspect] / CHUNK))
        tasks = [((SEEDS[split] * 10 + index) * 10**6 + k, split, aspect) for k in range(chunks)]
        with multiprocessing.Pool(workers) as pool:
            done = pool.map(_render_chunk, tasks, chunksize=4)
        np.save(_stem(split, aspect).with_suffix(".npy"), np.concatenate([pixels for _, pixels in done]))
        lines = [json.dumps(asdict(spec)) for specs, _ in done for spec in specs]
        _stem(split, aspect).with_suffix(".jsonl").write_text("\n".join(lines))
        print(split, aspect, len(lines), flush=True)


def _render_chunk(task: tuple[int, Split, str]) -> tuple[list[SceneSpec], Pixels]:
    seed, split, aspect = task
    rng = np.random.default_rng(seed)
    specs = [sample_spec(rng, split, aspect) for _ in range(CHUNK)]
    return specs, np.stack([render_array(spec) for spec in specs])


def pictures(split: Split, aspect: str) -> Pixels:
    """Cached pictures of one bucket, mapped from disk: n x height x width x 3.

    Raises ValueError for pictures of another size than the world's.
    """
    array: Pixels = np.load(_stem(split, aspect).with_suffix(".npy"), mmap_mode="r")
    if array.shape[1:3] != frame_size(aspect):
        raise ValueError(f"{aspect}: the cache holds {array.shape[1:3]}; render it again")
    return array


def specs(split: Split, aspect: str) -> list[SceneSpec]:
    """What is on those pictures."""
    lines = _stem(split, aspect).with_suffix(".jsonl").read_text().splitlines()
    return [SceneSpec(**json.loads(line)) for line in lines]


def _stem(split: Split, aspect: str) -> Path:
    return CACHE / "pictures" / f"{split}-{aspect.replace(':', 'x')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12000)
    parser.add_argument("--heldout", type=int, default=800)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    build("heldout", args.heldout, args.workers)
    build("train", args.images, args.workers)


if __name__ == "__main__":
    main()
