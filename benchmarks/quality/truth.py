"""Whether the numbers of product identity tell another product: rendered pairs, of which the truth is known.

`python -m benchmarks.quality.truth [--pairs 200]` prints and writes `benchmarks/results/quality_truth.json`; about two
minutes of CPU time. A product stands in two scenes, the second one in a place where training never saw it; then the
second scene is rendered again with another shape, and with another colour, and with nothing else changed. Another
shape has to lower `product_similarity` of the two scenes and a photograph of the product, and another colour has to
raise `product_colour`. Both are measured as the quality stage does in the profile `sketch`, all scenes counting as what
was asked for: the alignment, which would leave some out, is not what is looked at here.

Intervals are Wilson's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import numpy as np

from configs.settings import library_root, load_model, load_profile
from models.interfaces import Pixels
from models.sketch.training.world import COLOURS, SETTINGS, SHAPES, reference_array, render_array, sample_spec
from models.spec import ScorerModelSpec
from models.weights import Library
from quality.cross_scene import Ad, AdScene, measure_ad
from quality.registry import of_name
from quality.score import NoValue
from quality.stream import Reference, Shot
from serving.profile_models import LibraryLoader

RESULTS = Path(__file__).parents[1] / "results" / "quality_truth.json"
SEED = 7
BAR = 0.95
CHECKS: Mapping[str, tuple[str, int]] = {
    "product_similarity": ("shape", -1),
    "product_colour": ("colour", 1),
}
"""What is changed for each, and the sign of the change that it should make."""
USED = ("clip", "dinov2_base")
"""Scorers of the profile: the first gives a product's vector, the second finds it."""


@dataclass(frozen=True)
class Pair:
    """One product in two scenes, and the second scene with another."""

    name: str
    photograph: Pixels
    before: Pixels
    """The first scene."""
    right: Pixels
    """The second scene."""
    shape: Pixels
    """The same with a product of another shape."""
    colour: Pixels


@dataclass(frozen=True)
class Told:
    """What one check made of one pair."""

    pair: str
    right: float
    wrong: float
    told: bool
    """Whether the value changed as it should."""


def pairs(count: int, seed: int = SEED) -> Iterator[Pair]:
    """`count` pairs, rendered as they are asked for."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        spec = sample_spec(rng, "heldout")
        place = str(rng.choice([setting for setting in SETTINGS if setting != spec.setting]))
        first = replace(
            sample_spec(rng, aspect=spec.aspect),
            shape=spec.shape, colour=spec.colour, material=spec.material, setting=place,
        )  # fmt: skip
        shape = str(rng.choice([shape for shape in SHAPES if shape != spec.shape]))
        colour = str(rng.choice([colour for colour in COLOURS if colour != spec.colour]))
        yield Pair(
            f"{spec.colour} {spec.shape} -> {colour}, {shape}; {spec.setting}, {spec.time}, {spec.aspect}",
            reference_array(spec, rng),
            render_array(first),
            render_array(spec),
            render_array(replace(spec, shape=shape)),
            render_array(replace(spec, colour=colour)),
        )


def backbones() -> dict[str, Any]:
    """The shipped scorers that are needed, by the names that dimensions know them by."""
    named, loader = load_profile("sketch").backbones(), LibraryLoader(Library(library_root()), "cpu")
    return {name: loader.scorer(load_model(named[name], ScorerModelSpec)) for name in USED}


def told(given: Iterable[Pair], networks: Mapping[str, Any]) -> dict[str, list[Told]]:
    """What each check made of each pair."""
    found: dict[str, list[Told]] = {check: [] for check in CHECKS}
    for pair in given:
        shot = Shot(medium="scenes", references=(Reference(pair.photograph),), backbones=networks)
        right = _values(pair.before, pair.right, shot)
        wrong = {"shape": _values(pair.before, pair.shape, shot), "colour": _values(pair.before, pair.colour, shot)}
        for check, (changed, sign) in CHECKS.items():
            one, two = right[check], wrong[changed][check]
            found[check].append(Told(pair.name, one, two, sign * (two - one) > 0))
    return found


def _values(first: Pixels, second: Pixels, shot: Shot) -> dict[str, float]:
    """Of two scenes. Raises NoValue where one has none, which does not happen with a photograph on a plain ground."""
    ad = Ad((AdScene(1, (first,), 1.0), AdScene(2, (second,), 1.0)), shot, minimum=0.0)
    values = {}
    for name, score in zip(CHECKS, measure_ad(tuple(CHECKS), ad), strict=True):
        if score.raw is None:
            raise NoValue(f"{name}: {score.reason}")
        values[name] = score.raw
    return values


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 1927), which holds for shares near 1 too."""
    z = NormalDist().inv_cdf(0.975)
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z * (share * (1 - share) / count + weight / (4 * count)) ** 0.5 / (1 + weight)
    return middle - half, middle + half


def row(check: str, found: Sequence[Told]) -> dict[str, Any]:
    """The share of the pairs that were told, and each one that was not."""
    hits = sum(one.told for one in found)
    share, low, high = hits / len(found), *wilson(hits, len(found))
    return {
        "check": check,
        "implementation": of_name(check).METRIC.impl_id,
        "another": CHECKS[check][0],
        "pairs": len(found),
        "told": hits,
        "share": [round(share, 4), round(low, 4), round(high, 4)],
        "bar": BAR,
        "kept": share >= BAR,
        "median_right": round(median(one.right for one in found), 4),
        "median_wrong": round(median(one.wrong for one in found), 4),
        "not_told": [one.pair for one in found if not one.told],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    given = parser.parse_args()
    started = time.monotonic()
    networks = backbones()
    rows = [row(check, found) for check, found in told(pairs(given.pairs), networks).items()]
    for one in rows:
        print(one, flush=True)
    made = {
        "rows": rows,
        "scorers": {name: network.name for name, network in networks.items()},
        "weights": {name: network.weights_sha256 for name, network in networks.items()},
        "seed": SEED,
        "seconds": round(time.monotonic() - started, 1),
        "device": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    RESULTS.write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
