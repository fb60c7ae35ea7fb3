"""The products' views, marched once by all cores and shared, before the workers that draw with them are forked.

Each of a few hundred views takes a quarter of a second; sixteen workers that each march their own would render nothing
else for the first half minute.
"""

from __future__ import annotations

import mmap
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world import SHAPES
from models.sketch.training.world.products import catalogue
from models.sketch.training.world.products.solids import View
from models.sketch.training.world.reference import TURN

LAYERS = 8
"""Coverage, normal, occlusion and place."""
STEPS = round(TURN / catalogue.TURN_STEP)
KEYS = [(shape, step) for shape in SHAPES for step in range(-STEPS, STEPS + 1)]
_march = catalogue._viewed.__wrapped__


def prepare(workers: int, kept: Path | None = None) -> None:
    """March all views and let the catalogue of products look them up. `kept` is a file that saves doing it again."""
    shape = (len(KEYS), LAYERS, catalogue.SIDE, catalogue.SIDE)
    size = int(np.prod(shape)) * 4
    if kept and kept.exists() and kept.stat().st_size == size:
        rows: NDArray[np.float32] = np.memmap(kept, np.float32, "r", shape=shape)
    else:
        rows = np.frombuffer(mmap.mmap(-1, size), np.float32).reshape(shape)
        context = multiprocessing.get_context("fork")
        tasks = [context.Process(target=_fill, args=(rows, range(k, len(KEYS), workers))) for k in range(workers)]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            rows.tofile(kept)
    places = {key: k for k, key in enumerate(KEYS)}

    def found(shape: str, step: int) -> View:
        at = places.get((shape, step))
        return _march(shape, step) if at is None else _view(rows[at])

    catalogue._viewed = found  # type: ignore[assignment]


def _fill(rows: NDArray[np.float32], which: range) -> None:
    for k in which:
        view: Any = _march(*KEYS[k])
        rows[k, 0], rows[k, 4] = view.cover, view.occlusion
        rows[k, 1:4] = np.moveaxis(view.normal, -1, 0)
        for layer, place in enumerate(view.at):
            rows[k, 5 + layer] = place


def _view(row: NDArray[np.float32]) -> View:
    normal = np.ascontiguousarray(np.moveaxis(row[1:4], 0, -1))
    return View(row[0].copy(), normal, row[4].copy(), (row[5].copy(), row[6].copy(), row[7].copy()))
