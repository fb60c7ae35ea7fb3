"""The minimums of the recipes' gates: a low bound of the 5th percentile of what good takes score, by the scorer.

`python -m benchmarks.quality.calibrate_gates [--stories 64] [--clips 96]` has the agents write stories of products in
places that no training saw, draws and films them, keeps the takes that the classical judge finds right, prints a table
and writes `benchmarks/results/gate_minimums.json`; about ten minutes on one core. The recipes repeat these numbers, and
a test holds the two together.

Products differ in what a good picture of them scores (a black lamp 0.70, a teal jar 0.87), so the percentile of 64
stories' products is not that of the next 64: at 0.74, the plain percentile, 8.6 % of the good stills of other stories
were below it, at 0.72 3.1 %. The minimum is therefore the value that the percentile stays above in 95 % of draws of the
same number of products (bootstrap over products).

Only the sketch family has a judge that knows the truth: other scorers get a minimum when
somebody has good takes of theirs, and abstain until then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.toy_stories import Shown, Studio, settings, still_request, stories

RESULTS = Path(__file__).parents[1] / "results" / "gate_minimums.json"
PERCENTILE = 5
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
    least = low_bound([*by_product.values()])
    return {
        "dimension": dimension,
        "minimum": math.floor(100 * least) / 100,
        "bound": round(least, 4),
        "percentile_5": round(float(np.percentile(good, PERCENTILE)), 4),
        "products": len(by_product),
        "median": round(float(np.median(good)), 4),
        "lowest": round(min(good), 4),
        "good": len(good),
        "takes": len(scores),
    }


def low_bound(by_product: list[list[float]]) -> float:
    """What the percentile of the scores stays above in SURE % of draws of as many products, with replacement."""
    rng = np.random.default_rng(SEED)
    drawn = [
        np.percentile(
            np.concatenate([by_product[int(one)] for one in rng.integers(len(by_product), size=len(by_product))]),
            PERCENTILE,
        )
        for _ in range(DRAWS)
    ]
    return float(np.percentile(drawn, 100 - SURE))


def measure(studio: Studio, shown: list[Shown], clips: int) -> list[dict[str, Any]]:
    """A row for stills and one for clips."""
    stills = studio.stills([still_request(one) for one in shown])
    right = [one.right(studio.judge(still)) for one, still in zip(shown, stills, strict=True)]
    scored = [
        _value(studio.still_score(still, one.scene.image_prompt)) for one, still in zip(shown, stills, strict=True)
    ]
    products = [f"{one.colour} {one.shape}" for one in shown]
    rows = [row("keyframe_alignment", list(zip(products, scored, right, strict=True)))]
    print(rows[-1], flush=True)
    filmed: list[tuple[str, float, bool]] = []
    some = np.random.default_rng(SEED).permutation(len(shown))[:clips]
    for index in some:
        one = shown[int(index)]
        frames = studio.clip(one, stills[int(index)])
        middle = one.right(studio.judge(frames[len(frames) // 2]))
        score = _value(studio.clip_score(frames, one.scene.video_prompt))
        filmed.append((products[int(index)], score, middle))
    rows.append(row("text_alignment", filmed))
    print(rows[-1], flush=True)
    return rows


def _value(score: Any) -> float:
    if score.raw is None:
        raise RuntimeError(f"{score.metric_id} has no value: {score.reason}")
    return float(score.raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=64)
    parser.add_argument("--clips", type=int, default=96)
    given = parser.parse_args()
    started = time.monotonic()
    studio = Studio()
    rows = measure(studio, asyncio.run(stories(given.stories, SEED)), given.clips)
    found = {
        "what": f"what the {PERCENTILE}th percentile of the scores of right takes stays above, with {SURE} % certainty",
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
