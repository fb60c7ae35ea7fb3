"""The minimums of the recipes' gates: a low bound of a percentile of what good takes score, by the scorer.

`python -m benchmarks.quality.calibrate_gates [--stories 64] [--clips 256]` has the agents write stories of products in
places that no training saw, draws and films them, keeps the takes that the classical judge finds right, prints a table
and writes `benchmarks/results/gate_minimums.json`; about twenty minutes on one core. The recipes repeat these numbers,
and a test holds the two together.

Products differ in what a good picture of them scores (a black lamp 0.70, a teal jar 0.87), so the percentile of 64
stories' products is not that of the next 64: at 0.74, the plain percentile, 8.6 % of the good stills of other stories
were below it, at 0.72 3.1 %. The minimum is therefore the value that the percentile stays above in 95 % of draws of the
same number of products (bootstrap over products). A colour's margin has a zero by what it is, and its row says how many
good takes are below it.

Only the sketch family has a judge that knows the truth: other scorers get a minimum when
somebody has good takes of theirs, and abstain until then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.toy_stories import Shown, Studio, settings, still_request, stories
from quality.registry import OF_A_COLOUR

RESULTS = Path(__file__).parents[1] / "results" / "gate_minimums.json"
PERCENTILES = {"keyframe_alignment": 5, "text_alignment": 1}
"""A clip begins with a still that has passed, and another colour is told by the margin: the alignment of a clip has to
catch only what has gone altogether, and its mean over frames loses a good product that a moving camera loses."""
SURE, DRAWS = 95, 2000
SEED = 1
"""Of the stories; `benchmarks.quality.choosing` uses others."""


def row(dimension: str, scores: list[tuple[str, float, bool]]) -> dict[str, Any]:
    """The minimum of a dimension from the product of each take, its score, and whether it is right. Rounded down."""
    good = [score for _, score, right in scores if right]
    by_product: dict[str, list[float]] = {}
    for product, score, right in scores:
        if right:
            by_product.setdefault(product, []).append(score)
    percentile = PERCENTILES[dimension]
    least = low_bound([*by_product.values()], percentile)
    return {
        "dimension": dimension,
        "minimum": math.floor(100 * least) / 100,
        "bound": round(least, 4),
        "percentile": percentile,
        "of_all": round(float(np.percentile(good, percentile)), 4),
        "products": len(by_product),
        "median": round(float(np.median(good)), 4),
        "lowest": round(min(good), 4),
        "good": len(good),
        "takes": len(scores),
    }


def low_bound(by_product: list[list[float]], percentile: float) -> float:
    """What the percentile of the scores stays above in SURE % of draws of as many products, with replacement."""
    rng = np.random.default_rng(SEED)
    drawn = [
        np.percentile(
            np.concatenate([by_product[int(one)] for one in rng.integers(len(by_product), size=len(by_product))]),
            percentile,
        )
        for _ in range(DRAWS)
    ]
    return float(np.percentile(drawn, 100 - SURE))


def sign(dimension: str, scores: list[tuple[str, float, bool]]) -> dict[str, Any]:
    """The row of a dimension that has a zero of its own, and how many right takes are below it."""
    good = np.array([score for _, score, right in scores if right])
    return {
        "dimension": dimension,
        "minimum": 0.0,
        "good_below": round(float(np.mean(good < 0)), 4),
        "percentile_5": round(float(np.percentile(good, 5)), 4),
        "median": round(float(np.median(good)), 4),
        "lowest": round(float(good.min()), 4),
        "good": len(good),
        "takes": len(scores),
    }


def measure(studio: Studio, shown: list[Shown], clips: int) -> list[dict[str, Any]]:
    """The rows of stills, then those of clips."""
    stills = studio.stills([still_request(one) for one in shown])
    rows = _rows(
        studio, shown, stills, [one.right(studio.judge(still)) for one, still in zip(shown, stills, strict=True)]
    )
    some = [int(index) for index in np.random.default_rng(SEED).permutation(len(shown))[:clips]]
    filmed = [studio.clip(shown[index], stills[index]) for index in some]
    right = [shown[index].right(studio.judge(clip[len(clip) // 2])) for index, clip in zip(some, filmed, strict=True)]
    return rows + _rows(studio, [shown[index] for index in some], filmed, right)


def _rows(studio: Studio, shown: list[Shown], takes: Sequence[Any], right: list[bool]) -> list[dict[str, Any]]:
    found = [studio.gate_scores(one, take) for one, take in zip(shown, takes, strict=True)]
    made = []
    for name in found[0]:
        scores = [
            (f"{one.colour} {one.shape}", _value(of_one[name]), good)
            for one, of_one, good in zip(shown, found, right, strict=True)
        ]
        made.append(sign(name, scores) if name in OF_A_COLOUR else row(name, scores))
        print(made[-1], flush=True)
    return made


def _value(score: Any) -> float:
    if score.raw is None:
        raise RuntimeError(f"{score.metric_id} has no value: {score.reason}")
    return float(score.raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=64)
    parser.add_argument("--clips", type=int, default=256)
    given = parser.parse_args()
    started = time.monotonic()
    studio = Studio()
    rows = measure(studio, asyncio.run(stories(given.stories, SEED)), given.clips)
    found = {
        "what": f"what a percentile of the scores of right takes stays above, with {SURE} % certainty; of a margin 0",
        "implementation": studio.scorer,
        "rows": rows,
        "settings": {**settings(), "stories": given.stories, "clips": given.clips, "seed": SEED},
        "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print("quality_gate: minimums:")
    for each in rows:
        print(f"  {each['dimension']}: {{{studio.scorer}: {each['minimum']}}}")


if __name__ == "__main__":
    main()
