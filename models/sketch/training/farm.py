"""Worker processes that render the world into memory shared with whoever started them.

Started before anything heavy is imported, so that pictures exist by the time that models do. Each job fills its own
rows of its kind's arrays and then raises its flag; rows are written once and read once.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.sketch.training.world import (
    CAMERAS,
    COLOURS,
    MATERIALS,
    SETTINGS,
    SHAPES,
    TIMES,
    SceneSpec,
    caption,
    frame_size,
    plain_caption,
    reference_array,
    render_array,
    render_clip,
    render_layers,
    sample_spec,
)
from models.video.camera import followed

TOKENIZER = Path(__file__).parents[1] / "weights" / "image" / "tokenizer"
"""The family's tokenizer, where it ships."""
CELL = 8
"""Pixels per side of a latent cell and of a patch of the vision tower."""
SIDE = 128
TOKENS = 48
CAPTIONS = 4
UNNAMED = 2
"""Further captions that mostly leave colour and shape to a reference."""
NAMED = 0.15
CHOICES = 10
JOB = 32
CLIP_JOB = 4
PRODUCTS = [(s, c, m) for s in SHAPES for c in COLOURS for m in MATERIALS]
PRODUCT_JOB = 24
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "setting": SETTINGS,
    "time": TIMES,
    "material": MATERIALS,
}
NAMES_PRODUCT = tuple(list(ATTRIBUTES).index(name) for name in ("shape", "colour", "material"))
"""Columns of the attributes that make a product."""
SHARES = {"1:1": 0.5, "9:16": 0.25, "16:9": 0.25}
Array = NDArray[Any]
Fields = dict[str, tuple[tuple[int, ...], type]]


@dataclass(frozen=True)
class Amounts:
    """How many of each are rendered at most, and how many stills come first."""

    stills: int = 144_000
    clips: int = 8_000
    views: int = 64
    """Reference photographs of each product."""
    first: int = 6_000
    """Stills before any clip or photograph: what the autoencoder begins with."""
    spread: int = 60_000
    """Stills among which half of the clips and photographs are spread; the others are spread among the rest."""
    frames: int = 16
    seed: int = 1


TINY = Amounts(stills=192, clips=12, views=2, first=64, spread=128, frames=4)


@dataclass(frozen=True)
class Kind:
    """One sort of rendered rows: `still`, `clip` or `photo`, and its aspect."""

    what: str
    aspect: str = "1:1"

    def fields(self, frames: int) -> Fields:
        height, width = frame_size(self.aspect)
        cells = (height // CELL, width // CELL)
        words = {"captions": ((CAPTIONS, TOKENS), np.int16), "attributes": ((len(ATTRIBUTES),), np.uint8)}
        if self.what == "still":
            return {
                "pixels": ((height, width, 3), np.uint8),
                "cover": (cells, np.uint8),
                "unnamed": ((UNNAMED, TOKENS), np.int16),
                "choices": ((CHOICES, TOKENS), np.int16),
                **words,
            }
        if self.what == "clip":
            return {
                "pixels": ((frames, height, width, 3), np.uint8),
                "told": ((frames, height, width, 3), np.uint8),
                "known": ((frames, *cells), np.uint8),
                **words,
            }
        return {"pixels": ((SIDE, SIDE, 3), np.uint8), "product": ((), np.int16), "view": ((), np.int16)}


@dataclass(frozen=True)
class Job:
    kind: Kind
    start: int
    """The first row."""
    count: int
    seed: int


def kinds() -> list[Kind]:
    return [*(Kind(what, a) for a in SHARES for what in ("still", "clip")), Kind("photo")]


def capacity(kind: Kind, amounts: Amounts) -> int:
    if kind.what == "photo":
        return amounts.views * len(PRODUCTS)
    whole = amounts.stills if kind.what == "still" else amounts.clips
    job = JOB if kind.what == "still" else CLIP_JOB
    return max(job, round(whole * SHARES[kind.aspect] / job) * job)


def _jobs_of(what: str, amounts: Amounts) -> list[Job]:
    """All jobs of one sort, aspects mixed by their shares."""
    found: list[tuple[float, Job]] = []
    for number, kind in enumerate(k for k in kinds() if k.what == what):
        size = {"still": JOB, "clip": CLIP_JOB, "photo": PRODUCT_JOB}[what]
        total = capacity(kind, amounts)
        for start in range(0, total, size):
            seed = ((amounts.seed * 10 + number) * 10 + len(what)) * 10**6 + start
            found.append(((start + 0.5) / total, Job(kind, start, min(size, total - start), seed)))
    return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def plan(amounts: Amounts) -> list[Job]:
    """Jobs in the order in which they are taken: early stills alone, then everything mixed."""
    stills = _jobs_of("still", amounts)
    first, spread = amounts.first // JOB, amounts.spread // JOB
    order = [(float(k), job) for k, job in enumerate(stills)]
    for what in ("clip", "photo"):
        jobs = _jobs_of(what, amounts)
        half = (len(jobs) + 1) // 2
        for k, job in enumerate(jobs):
            if k < half:
                place = first + (spread - first) * (k + 0.5) / half
            else:
                place = spread + (len(stills) - spread) * (k - half + 0.5) / (len(jobs) - half)
            order.append((place, job))
    return [job for _, job in sorted(order, key=lambda pair: pair[0])]


class Farm:
    """The shared arrays, the flags, and the processes that fill them."""

    def __init__(self, amounts: Amounts, workers: int, tokenizer: Path, kept: Path | None = None) -> None:
        """`kept` is where views of products are kept between runs on one machine."""
        self.amounts, self.tokenizer, self._kept = amounts, tokenizer, kept
        self.jobs = plan(amounts)
        self.arrays = {
            kind: {
                name: _shared((capacity(kind, amounts), *shape), dtype)
                for name, (shape, dtype) in kind.fields(amounts.frames).items()
            }
            for kind in kinds()
        }
        self._flags = _shared((len(self.jobs),), np.uint8)
        self._taken = 0
        self._open = list(range(len(self.jobs)))
        context = multiprocessing.get_context("fork")
        self._next: Any = context.Value("q", 0)
        self._stop = context.Event()
        self._workers = workers
        self._manager = context.Process(target=self._manage)
        self._manager.start()

    def stop(self) -> None:
        """No further job is begun; the workers are waited for."""
        self._stop.set()
        self._manager.join(timeout=20)

    def _manage(self) -> None:
        """In a process of its own, so that the one that trains can load its libraries meanwhile."""
        cv2.setNumThreads(1)
        try:
            from models.sketch.training import views

            views.prepare(self._workers, self._kept)
        except Exception:
            print(f"every worker marches its own views: {traceback.format_exc()}", flush=True)
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=self._work, args=(k,), daemon=True) for k in range(self._workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    def done(self) -> Iterator[Job]:
        """Jobs that were finished since the last call."""
        if self._taken >= len(self.jobs):
            return
        # Workers take jobs in order, so finished ones lie close together.
        horizon = self._open[: 64 + 4 * self._workers]
        for index in horizon:
            if self._flags[index]:
                self._taken += 1
                self._open.remove(index)
                if self._flags[index] == 1:
                    yield self.jobs[index]

    def counts(self) -> dict[str, int]:
        made = [job for job, flag in zip(self.jobs, self._flags, strict=True) if flag == 1]
        return {what: sum(job.count for job in made if job.kind.what == what) for what in ("still", "clip", "photo")}

    def _work(self, number: int) -> None:
        os.nice(2)
        write = Writer(self.tokenizer)
        while not self._stop.is_set():
            with self._next.get_lock():
                index = int(self._next.value)
                self._next.value = index + 1
            if index >= len(self.jobs):
                return
            job = self.jobs[index]
            try:
                write.job(job, self.arrays[job.kind], self.amounts.frames)
                self._flags[index] = 1
            except Exception:
                self._flags[index] = 2
                print(f"worker {number}, {job}: {traceback.format_exc()}", flush=True)


def _shared(shape: tuple[int, ...], dtype: type) -> Array:
    """An array in memory that child processes share; its pages exist once they are written."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype=dtype, count=int(np.prod(shape, dtype=np.int64))).reshape(
        shape
    )


class Writer:
    """Renders jobs into rows."""

    def __init__(self, tokenizer: Path) -> None:
        from tokenizers import Tokenizer  # light, unlike transformers

        self._tokenizer = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        self._pad = self._tokenizer.token_to_id("<|endoftext|>") or 0

    def job(self, job: Job, rows: dict[str, Array], frames: int) -> None:
        rng = np.random.default_rng(job.seed)
        for k in range(job.count):
            row = job.start + k
            made = getattr(self, f"_{job.kind.what}")(job.kind, row, rng, frames)
            for name, value in made.items():
                rows[name][row] = value

    def ids(self, texts: list[str]) -> Array:
        """Token ids padded as the pipelines pad them, begin and end included."""
        out = np.full((len(texts), TOKENS), self._pad, np.int16)
        for k, encoded in enumerate(self._tokenizer.encode_batch(texts)):
            ids = encoded.ids[:TOKENS]
            out[k, : len(ids)] = ids
            out[k, TOKENS - 1] = self._pad
        return out

    def _still(self, kind: Kind, row: int, rng: np.random.Generator, frames: int) -> dict[str, Any]:
        spec = sample_spec(rng, "train", kind.aspect)
        picture, cover = render_layers(spec)
        size = (picture.shape[1] // CELL, picture.shape[0] // CELL)
        share = cv2.resize(np.asarray(cover[..., 0], np.float32), size, interpolation=cv2.INTER_AREA)
        return {
            "pixels": picture,
            "cover": np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8),
            "captions": self.ids([caption(spec, rng) for _ in range(CAPTIONS)]),
            "unnamed": self.ids([caption(spec, rng, named=NAMED) for _ in range(UNNAMED)]),
            "choices": self.ids(choices(spec, rng)),
            "attributes": attributes(spec),
        }

    def _clip(self, kind: Kind, row: int, rng: np.random.Generator, frames: int) -> dict[str, Any]:
        spec = replace(sample_spec(rng, "train", kind.aspect), moment=0.0, camera=CAMERAS[row % len(CAMERAS)])
        pixels = render_clip(spec, frames)
        told, known = followed(pixels[0], spec.camera, frames)
        height, width = pixels.shape[1:3]
        size = (width // CELL, height // CELL)
        cells = np.stack([cv2.resize(k, size, interpolation=cv2.INTER_AREA) for k in known.astype(np.float32)])
        return {
            "pixels": pixels,
            "told": told,
            "known": np.rint(255 * cells).astype(np.uint8),
            "captions": self.ids([caption(spec, rng, clip=rng.random() < 0.7) for _ in range(CAPTIONS)]),
            "attributes": attributes(spec),
        }

    def _photo(self, kind: Kind, row: int, rng: np.random.Generator, frames: int) -> dict[str, Any]:
        product = row % len(PRODUCTS)
        shape, colour, material = PRODUCTS[product]
        spec = replace(sample_spec(rng, "train"), shape=shape, colour=colour, material=material)
        view = row // len(PRODUCTS)
        # Every third is no photograph but a scene: users take either, and so does a chain of scenes.
        picture = render_array(spec) if view % 3 == 2 else reference_array(spec, rng)
        return {"pixels": squeezed(picture), "product": product, "view": view}


def squeezed(picture: Array) -> Array:
    """The whole picture on the square that the vision tower sees, as the image processor does it."""
    from PIL import Image

    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def attributes(spec: SceneSpec) -> Array:
    return np.array([values.index(getattr(spec, name)) for name, values in ATTRIBUTES.items()], np.uint8)


def choices(spec: SceneSpec, rng: np.random.Generator) -> list[str]:
    """The scene's own caption and nine of scenes that differ in one attribute; half of them in varied wording."""
    scenes = [spec, *distractors(spec, rng)]
    if rng.random() < 0.5:
        return [plain_caption(s) for s in scenes]
    return [caption(replace(s, moment=0.0), rng, named=1.0) for s in scenes]


def distractors(spec: SceneSpec, rng: np.random.Generator, names: tuple[str, ...] = ()) -> list[SceneSpec]:
    """Nine scenes that differ in one attribute: three each in three of shape, colour, setting and time."""
    if not names:
        names = ("shape", "colour", "setting")
        if rng.random() < 0.3:
            names = ("shape", "colour", "time")
    out = []
    for name in names:
        others = [v for v in ATTRIBUTES[name] if v != getattr(spec, name)]
        changes: list[dict[str, Any]] = [{name: str(v)} for v in rng.choice(others, 3, replace=False)]
        out += [replace(spec, **change) for change in changes]
    return out


def wait_for(farm: Farm, jobs: int, seconds: float) -> None:
    """Until so many jobs are done or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and int((farm._flags > 0).sum()) < jobs:
        time.sleep(0.05)
