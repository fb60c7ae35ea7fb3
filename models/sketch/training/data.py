"""Rendered training data, cached once: pictures by aspect bucket with their specs and product masks.

`python -m models.sketch.training.data --images 48000` renders with worker processes. Knows nothing of models.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world.render import render_layers
from models.sketch.training.world.spec import ASPECTS, SceneSpec, Split, frame_size, sample_spec

CACHE = Path.home() / ".cache/admint/train"
SHARES = {"1:1": 0.5, "9:16": 0.25, "16:9": 0.25}
SEEDS = {"train": 1, "heldout": 2}
CELL = 4
"""Pixels per side of a mask's cell: the masks weigh latents, and drawing them afresh took a tenth of each step."""


def _stem(split: Split, aspect: str) -> Path:
    return CACHE / "data" / f"{split}-{aspect.replace(':', 'x')}"


Pixels = NDArray[np.uint8]


def _render_chunk(task: tuple[int, int, Split, str]) -> tuple[list[SceneSpec], Pixels, Pixels]:
    seed, count, split, aspect = task
    rng = np.random.default_rng(seed)
    specs = [sample_spec(rng, split, aspect) for _ in range(count)]
    pictures, masks = [], []
    for spec in specs:
        picture, cover = render_layers(spec)
        height, width = picture.shape[:2]
        pictures.append(picture)
        masks.append(cv2.resize(cover[..., 0], (width // CELL, height // CELL), interpolation=cv2.INTER_AREA))
    return specs, np.stack(pictures), np.rint(255 * np.stack(masks)).astype(np.uint8)


def build(split: Split, images: int, workers: int) -> None:
    """Render and write every bucket of one split."""
    (CACHE / "data").mkdir(parents=True, exist_ok=True)
    for index, aspect in enumerate(ASPECTS):
        chunks = max(1, round(images * SHARES[aspect] / 200))
        tasks = [((SEEDS[split] * 10 + index) * 10**6 + k, 200, split, aspect) for k in range(chunks)]
        with multiprocessing.Pool(workers) as pool:
            done = pool.map(_render_chunk, tasks, chunksize=4)
        np.save(_stem(split, aspect).with_suffix(".npy"), np.concatenate([pixels for _, pixels, _ in done]))
        np.save(_stem(split, aspect).with_suffix(".mask.npy"), np.concatenate([masks for _, _, masks in done]))
        lines = [json.dumps(asdict(spec)) for specs, _, _ in done for spec in specs]
        _stem(split, aspect).with_suffix(".jsonl").write_text("\n".join(lines))
        print(split, aspect, len(lines), flush=True)


def pictures(split: Split, aspect: str) -> Pixels:
    """Cached pictures of one bucket, mapped from disk: n x height x width x 3."""
    array: Pixels = np.load(_stem(split, aspect).with_suffix(".npy"), mmap_mode="r")
    if array.shape[1:3] != frame_size(aspect):
        raise ValueError(f"{aspect}: the cache holds {array.shape[1:3]}; render it again")
    return array


def masks(split: Split, aspect: str) -> Pixels:
    """Product coverage of those pictures, 0 to 255 per cell: n x height/4 x width/4."""
    array: Pixels = np.load(_stem(split, aspect).with_suffix(".mask.npy"), mmap_mode="r")
    return array


def specs(split: Split, aspect: str) -> list[SceneSpec]:
    lines = _stem(split, aspect).with_suffix(".jsonl").read_text().splitlines()
    return [SceneSpec(**json.loads(line)) for line in lines]


def bucket(rng: np.random.Generator) -> str:
    """An aspect drawn by its share."""
    return str(rng.choice(ASPECTS, p=[SHARES[a] for a in ASPECTS]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=48000)
    parser.add_argument("--heldout", type=int, default=800)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    build("heldout", args.heldout, args.workers)
    build("train", args.images, args.workers)


if __name__ == "__main__":
    main()
