"""When the product comes in: `ad.first_product` on rendered films, of which the truth is known.

`python -m benchmarks.quality.entrances [--films 100]` prints and writes `benchmarks/results/entrances.json`; about six
minutes on one core. A film begins with a scene of a random length that does not show the product: an empty place, or
one with another product, or with one of which only the shape or only the colour is another. Then the product comes in,
in another place; or, in films that never show it, another scene of the same kind. The camera moves as it was drawn. The
scorers are those of the profile `sketch`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.quality.truth import backbones, wilson
from models.interfaces import Pixels
from models.sketch.training.world import COLOURS, SETTINGS, SHAPES, SceneSpec, reference_array, render_clip, sample_spec
from models.sketch.training.world.render import Scene
from models.video.camera import times
from quality.engine import measure
from quality.registry import of_name
from quality.score import Score
from quality.stream import Reference, Shot

RESULTS = Path(__file__).parents[1] / "results" / "entrances.json"
SEED = 21
FPS = 8
KINDS = ("empty place", "another product", "another shape", "another colour")
"""What stands in the first scene."""
STEP = 0.5
"""Seconds between two frames that are looked at: an exact answer is at most so late."""


@dataclass(frozen=True)
class Film:
    """A film and the photograph of the product that it is about."""

    kind: str
    name: str
    photograph: Pixels
    frames: list[Pixels]
    entrance: float | None
    """Second at which the product comes in; None: never."""


def films(count: int, seed: int = SEED) -> Iterator[Film]:
    """Of each of `count` products two films of each of KINDS, one of which never shows it."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        spec = sample_spec(rng, "heldout")
        photograph = reference_array(spec, rng)
        shape = str(rng.choice([shape for shape in SHAPES if shape != spec.shape]))
        colour = str(rng.choice([colour for colour in COLOURS if colour != spec.colour]))
        first, last = (_elsewhere(spec, rng) for _ in range(2))
        before, after = (int(length) for length in rng.integers(FPS, 3 * FPS + 1, 2))
        shown = list(render_clip(spec, after))
        for kind in KINDS:
            changed: dict[str, Any] | None = {
                "another product": {"shape": shape, "colour": colour},
                "another shape": {"shape": shape},
                "another colour": {"colour": colour},
            }.get(kind)
            opening, never = (
                _empty(place, length) if changed is None else list(render_clip(replace(place, **changed), length))
                for place, length in ((first, before), (last, after))
            )
            name = f"{spec.colour} {spec.shape} after {colour}, {shape}; {first.setting}, {spec.setting}"
            yield Film(kind, name, photograph, opening + shown, before / FPS)
            yield Film(kind, name, photograph, opening + never, None)


def _elsewhere(spec: SceneSpec, rng: np.random.Generator) -> SceneSpec:
    """A scene of the same product in another place."""
    place = str(rng.choice([setting for setting in SETTINGS if setting != spec.setting]))
    drawn = sample_spec(rng, aspect=spec.aspect)
    return replace(drawn, shape=spec.shape, colour=spec.colour, material=spec.material, setting=place)


def _empty(spec: SceneSpec, frames: int) -> list[Pixels]:
    """A clip of the place where the product would stand, without it."""
    scene = Scene(spec, times(frames))
    del scene.layers[scene.product_index]
    return [scene.picture(moment) for moment in times(frames)]


def measured(film: Film, networks: Mapping[str, Any]) -> Score:
    """`ad.first_product` of a film."""
    shot = Shot(medium="video", fps=FPS, references=(Reference(film.photograph),), backbones=networks)
    return measure(["ad.first_product"], film.frames, shot)[0]


def rows(given: Iterable[Film], networks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By kind: how far off the second is, and how often it is a wrong one."""
    found: dict[str, list[tuple[Film, float | None]]] = {kind: [] for kind in KINDS}
    for film in given:
        found[film.kind].append((film, measured(film, networks).raw))
    return [{"before": kind, **_row(own)} for kind, own in found.items()]


def _row(own: list[tuple[Film, float | None]]) -> dict[str, Any]:
    entering = [(film.entrance, value) for film, value in own if film.entrance is not None]
    never = [value for film, value in own if film.entrance is None]
    late = [value - entrance for entrance, value in entering if value is not None]
    right = [off for off in late if 0 <= off < STEP]
    return {
        "films": len(entering),
        "right": _share(len(right), len(entering)),
        "too_early": _share(sum(off < 0 for off in late), len(entering)),
        "late": _share(sum(off >= STEP for off in late), len(entering)),
        "no_second": _share(len(entering) - len(late), len(entering)),
        "median_error": round(median(map(abs, late)), 3),
        "mean_error": round(fmean(map(abs, late)), 3),
        "films_without_it": len(never),
        "false_second": _share(sum(value is not None for value in never), len(never)),
    }


def _share(hits: int, count: int) -> list[float]:
    """With its 95 % interval (Wilson)."""
    return [round(value, 4) for value in (hits / count, *wilson(hits, count))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=100, help="products; each has eight films")
    given = parser.parse_args()
    started = time.monotonic()
    networks = backbones()
    made = {
        "rows": rows(films(given.films), networks),
        "implementation": of_name("ad.first_product").METRIC.impl_id,
        "scorer": networks["dinov2_base"].name,
        "weights": networks["dinov2_base"].weights_sha256,
        "seed": SEED,
        "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    print(*made["rows"], sep="\n")
    RESULTS.write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
